/**
 * Lifetime path: a space is what one device (or a failover pair) can reach by DMA; a mapping is one chunk in one space.
 *
 * Where the device can address a window aligned to 4 GiB, a chunk is mapped at `window + arena offset`: the low word of
 * an IOVA is the arena offset and the high word a constant of the space, so the data path needs no table, no BigInt and no
 * address per buffer. Window 0 is never used: it holds the MSI range at 0xfee00000 (Intel SDM vol. 3, 11.11.1). Where no
 * such window fits, chunks are placed wherever the ranges have room and the data path goes through a table by granule.
 */
import { assert, WeirError } from "../errors.js";
import { type Arena, type Chunk, GRANULE_BYTES } from "../memory/arena.js";
import { ARENA_BYTES_MAX } from "../memory/slot.js";

/** Where a device's DMA goes through. */
export interface DmaTarget {
  /** IOVAs that the device and its IOMMU can use, first and last byte, ascending. */
  readonly ranges: readonly IovaRange[];
  /** False: nothing translates or limits the device's accesses, an IOVA is a physical address. Default: an IOMMU does. */
  readonly translated?: boolean;
  /** Lets the device reach `bytes` bytes of the arena, from `offset` on, at `iova`. Throws and leaves nothing when it cannot. */
  map(iova: bigint, arena: Arena, offset: number, bytes: number): void;
  /** Opposite of `map`; returns how many bytes were unmapped. No DMA reaches them once it has returned. */
  unmap(iova: bigint, bytes: number): number;
}

export interface IovaRange {
  readonly first: bigint;
  readonly last: bigint;
}

export interface Mapping {
  readonly chunk: Chunk;
  readonly iova: bigint;
}

/** How the data path turns an arena offset into an IOVA. */
export type Translation =
  | { readonly kind: "window"; readonly highWord: number }
  /** By granule of the arena: add the offset within the granule to `low`. A chunk never crosses a 4 GiB line. */
  | { readonly kind: "table"; readonly low: SharedArrayBuffer; readonly high: SharedArrayBuffer };

const WINDOW_BYTES = 1n << 32n;
const GRANULES: number = ARENA_BYTES_MAX / GRANULE_BYTES;
/** The MSI range of x86: an address in it raises an interrupt instead of reaching memory. */
const MSI: IovaRange = { first: 0xfee00000n, last: 0xfeefffffn };
/** The null page is never mapped, so that an address of 0 is always a fault. */
const NULL_GRANULE: IovaRange = { first: 0n, last: BigInt(GRANULE_BYTES) - 1n };

export class Space {
  readonly name: string;
  readonly translation: Translation;
  readonly #arena: Arena;
  readonly #target: DmaTarget | undefined;
  readonly #mappings = new Map<Chunk, Mapping>();
  #closed = false;

  /** @param target none for a software port, whose chunks need no mapping to be reached */
  constructor(name: string, arena: Arena, target?: DmaTarget) {
    this.name = name;
    this.#arena = arena;
    this.#target = target;
    const highWord = target === undefined ? 1 : findWindow(target.ranges);
    const table = (): SharedArrayBuffer => new SharedArrayBuffer(GRANULES * 4);
    this.translation =
      highWord === undefined
        ? { kind: "table", low: table(), high: table() }
        : { kind: "window", highWord };
  }

  get mappings(): ReadonlyMap<Chunk, Mapping> {
    return this.#mappings;
  }

  /** The IOVA of a byte of the arena that is mapped here. */
  iova(offset: number): bigint {
    for (const { chunk, iova } of this.#mappings.values()) {
      if (offset >= chunk.offset && offset < chunk.offset + chunk.bytes)
        return iova + BigInt(offset - chunk.offset);
    }
    throw new WeirError("ENOENT", `byte ${offset} of the arena is not mapped in ${this.name}`);
  }

  /**
   * Maps a chunk. Opposite: `unmap`. Recorded before the target is called, so that a mapping is never without a record.
   * @throws WeirError ENODEV on a closed space, EEXIST when it is mapped already, ENOSPC when no IOVA is left, or what the target throws
   */
  map(chunk: Chunk): Mapping {
    if (this.#closed)
      throw new WeirError(
        "ENODEV",
        `space ${this.name} is closed: nothing can be mapped in it any more`,
      );
    if (this.#mappings.has(chunk))
      throw new WeirError(
        "EEXIST",
        `the chunk at ${chunk.offset} is mapped in ${this.name} already`,
      );
    const mapping: Mapping = { chunk, iova: this.#place(chunk) };
    this.#mappings.set(chunk, mapping);
    try {
      this.#target?.map(mapping.iova, this.#arena, chunk.offset, chunk.bytes);
    } catch (error) {
      this.#mappings.delete(chunk);
      throw error;
    }
    this.#fillTable(chunk, mapping.iova);
    return mapping;
  }

  /**
   * The record goes last: what the target did not unmap stays on it.
   * @throws WeirError ENOENT when it is not mapped here, EIO when the target unmapped less than was mapped
   */
  unmap(mapping: Mapping): void {
    if (this.#mappings.get(mapping.chunk) !== mapping) {
      throw new WeirError(
        "ENOENT",
        `the chunk at ${mapping.chunk.offset} is not mapped in ${this.name}`,
      );
    }
    const unmapped = this.#target?.unmap(mapping.iova, mapping.chunk.bytes) ?? mapping.chunk.bytes;
    if (unmapped !== mapping.chunk.bytes) {
      throw new WeirError(
        "EIO",
        `${this.name} unmapped ${unmapped} of ${mapping.chunk.bytes} bytes at ${mapping.iova}`,
      );
    }
    this.#mappings.delete(mapping.chunk);
    this.#fillTable(mapping.chunk, 0n); // the null granule: a late use of the table is a fault, not somebody else's memory
  }

  /**
   * Unmaps everything, whatever fails on the way, and refuses new mappings. Again: tries what failed once more.
   * @throws AggregateError
   */
  close(): void {
    this.#closed = true;
    const errors: unknown[] = [];
    for (const mapping of [...this.#mappings.values()]) {
      try {
        this.unmap(mapping);
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0)
      throw new AggregateError(errors, `space ${this.name} could not unmap everything`);
  }

  #place(chunk: Chunk): bigint {
    if (this.translation.kind === "window")
      return (BigInt(this.translation.highWord) << 32n) + BigInt(chunk.offset);
    const bytes = BigInt(chunk.bytes);
    const taken = [
      NULL_GRANULE,
      MSI,
      ...[...this.#mappings.values()].map(({ iova, chunk: { bytes: size } }) => ({
        first: iova,
        last: iova + BigInt(size) - 1n,
      })),
    ];
    for (const { first, last } of this.#target?.ranges ?? []) {
      for (let at = roundUp(first); at + bytes - 1n <= last; ) {
        const end = at + bytes - 1n;
        const used = taken.find((each) => each.last >= at && each.first <= end);
        if (used !== undefined) at = roundUp(used.last + 1n);
        else if (at / WINDOW_BYTES !== end / WINDOW_BYTES) at = (end / WINDOW_BYTES) * WINDOW_BYTES;
        else return at;
      }
    }
    throw new WeirError(
      "ENOSPC",
      `${this.name} can address no more: ${chunk.bytes} bytes of packet memory do not fit into its IOVA ranges; use fewer buffers (-m)`,
    );
  }

  #fillTable(chunk: Chunk, iova: bigint): void {
    if (this.translation.kind !== "table") return;
    assert(
      chunk.offset % GRANULE_BYTES === 0 && chunk.bytes % GRANULE_BYTES === 0,
      "chunks consist of whole granules",
    );
    const low = new Uint32Array(this.translation.low);
    const high = new Uint32Array(this.translation.high);
    for (let offset = 0; offset < chunk.bytes; offset += GRANULE_BYTES) {
      const at = iova === 0n ? 0n : iova + BigInt(offset);
      const granule = (chunk.offset + offset) / GRANULE_BYTES;
      low[granule] = Number(at & 0xffffffffn);
      high[granule] = Number(at >> 32n);
    }
  }
}

/** The lowest window above the first that the ranges hold whole, as far as an arena reaches into it. */
function findWindow(ranges: readonly IovaRange[]): number | undefined {
  for (const { first, last } of ranges) {
    const floor = first < WINDOW_BYTES ? WINDOW_BYTES : first;
    const start = ((floor + WINDOW_BYTES - 1n) / WINDOW_BYTES) * WINDOW_BYTES;
    if (start + BigInt(ARENA_BYTES_MAX) - 1n <= last) return Number(start >> 32n);
  }
  return undefined;
}

function roundUp(iova: bigint): bigint {
  const granule = BigInt(GRANULE_BYTES);
  return ((iova + granule - 1n) / granule) * granule;
}
