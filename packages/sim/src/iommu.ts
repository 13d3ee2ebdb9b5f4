/**
 * The IOMMU of one function, as ctl sees it: which IOVAs lead where. It belongs to the platform, so it outlives the
 * device's death; the device only reaches memory through its side of it (dma.ts).
 */
import { type Arena, type ArenaImage, type DmaTarget, type IovaRange, WeirError } from "@weir/core";

/** The MSI range of x86 (Intel SDM vol. 3, 11.11.1): a write there is an interrupt, and nothing can be mapped there. */
const MSI_FIRST = 0xfee00000;
const MSI_LAST = 0xfeefffff;
/** The smallest page of an IOMMU. */
const PAGE_BYTES = 4096n;
/** Intel VT-d and AMD-Vi with four levels. */
const ADDRESS_BITS = 48n;

export function isMsi(address: number): boolean {
  return address >= MSI_FIRST && address <= MSI_LAST;
}

/** All IOVAs from `first` to `last` but the MSI range. */
export function usableRanges(
  first: bigint = 0n,
  last: bigint = (1n << ADDRESS_BITS) - 1n,
): IovaRange[] {
  const below = { first, last: last < MSI_FIRST ? last : BigInt(MSI_FIRST) - 1n };
  const above = { first: first > MSI_LAST ? first : BigInt(MSI_LAST) + 1n, last };
  return [below, above].filter((range) => range.first <= range.last);
}

/** The device's side of the IOMMU. Both calls return when they have taken effect there, or when there is no device any more. */
export interface DeviceMappings {
  map(iova: number, bytes: number, arena: ArenaImage, offset: number): void;
  unmap(iova: number, bytes: number): void;
}

interface Mapped {
  readonly iova: bigint;
  readonly bytes: bigint;
}

export class Iommu implements DmaTarget {
  readonly name: string;
  readonly ranges: readonly IovaRange[];
  readonly #device: DeviceMappings;
  readonly #mapped: Mapped[] = [];

  constructor(name: string, ranges: readonly IovaRange[], device: DeviceMappings) {
    this.name = name;
    this.ranges = ranges;
    this.#device = device;
  }

  /** What is mapped now: for the check that no mapping outlives its device. */
  get mapped(): readonly { readonly iova: bigint; readonly bytes: bigint }[] {
    return this.#mapped;
  }

  /** @throws WeirError EINVAL not whole pages, or outside of the ranges or of the arena; EEXIST overlaps a mapping */
  map(iova: bigint, arena: Arena, offset: number, bytes: number): void {
    const size = BigInt(bytes);
    const last = iova + size - 1n;
    const aligned = iova % PAGE_BYTES === 0n && size % PAGE_BYTES === 0n && offset % 4096 === 0;
    if (!aligned || bytes <= 0)
      throw this.#refuse("EINVAL", iova, bytes, "an IOMMU maps whole pages of 4096 bytes");
    if (!this.ranges.some((range) => iova >= range.first && last <= range.last))
      throw this.#refuse("EINVAL", iova, bytes, "outside of the ranges that it can use");
    if (offset < 0 || offset + bytes > arena.image.bytes)
      throw this.#refuse("EINVAL", iova, bytes, "outside of the arena");
    if (this.#mapped.some((other) => iova < other.iova + other.bytes && other.iova <= last))
      throw this.#refuse("EEXIST", iova, bytes, "something is mapped there already");
    this.#device.map(Number(iova), bytes, arena.image, offset);
    this.#mapped.push({ iova, bytes: size });
  }

  /** Unmaps every mapping that lies whole in the range, as VFIO type1 does: what reaches beyond it stays. */
  unmap(iova: bigint, bytes: number): number {
    const end = iova + BigInt(bytes);
    let sum = 0n;
    for (const mapping of [...this.#mapped]) {
      if (mapping.iova < iova || mapping.iova + mapping.bytes > end) continue;
      this.#device.unmap(Number(mapping.iova), Number(mapping.bytes));
      this.#mapped.splice(this.#mapped.indexOf(mapping), 1);
      sum += mapping.bytes;
    }
    return Number(sum);
  }

  #refuse(code: string, iova: bigint, bytes: number, why: string): WeirError {
    return new WeirError(
      code,
      `${this.name}: ${bytes} bytes cannot be mapped at 0x${iova.toString(16)}: ${why}`,
    );
  }
}
