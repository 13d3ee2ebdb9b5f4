/**
 * Lifetime path: the memory that a device's queues live in. One chunk of the arena, mapped in the port's space, so that
 * lcores see rings and frames through the same views and the device reaches both the same way.
 */
import { type ArenaView, type Chunk, type DeviceHost, type Mapping, WeirError } from "@weir/core";
import { availBytes, descTableBytes, usedBytes } from "./layout.js";
import type { QueueAddresses } from "./transport.js";

/** More than any part needs (2.7): two parts never share a line, nor the pair of lines that is fetched together. */
const PART_ALIGN = 128;
/** Bytes from one header to the next in a queue's header area: none crosses a line. */
export const HEADER_STRIDE = 16;

/** Where a queue's parts lie, in bytes from the start of the arena. */
export interface QueueRings {
  readonly size: number;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  /** `headers` times HEADER_STRIDE bytes that only the driver writes. */
  readonly extra: number;
}

export interface QueueWish {
  readonly size: number;
  /** Bytes of the driver's own beside the rings. */
  readonly extraBytes: number;
}

/** The parts of each queue, and the bytes they take together. */
export function placeQueues(
  start: number,
  wishes: readonly QueueWish[],
): { rings: QueueRings[]; bytes: number } {
  let at = start;
  const part = (bytes: number): number => {
    const place = at;
    at = Math.ceil((at + bytes) / PART_ALIGN) * PART_ALIGN;
    return place;
  };
  const rings = wishes.map(({ size, extraBytes }) => ({
    size,
    descriptors: part(descTableBytes(size)),
    available: part(availBytes(size)),
    used: part(usedBytes(size)),
    extra: part(extraBytes),
  }));
  return { rings, bytes: at - start };
}

export class QueueMemory {
  readonly rings: readonly QueueRings[];
  readonly #host: DeviceHost;
  readonly #chunk: Chunk;
  readonly #mapping: Mapping;
  readonly #view: ArenaView;
  #freed = false;

  /** Commits and maps. Opposite: `free`. @throws WeirError with nothing left behind */
  constructor(host: DeviceHost, wishes: readonly QueueWish[]) {
    const { arena } = host.memory;
    this.#host = host;
    this.#chunk = arena.commitBytes(placeQueues(0, wishes).bytes);
    try {
      this.#mapping = host.space.map(this.#chunk);
    } catch (error) {
      arena.decommit(this.#chunk);
      throw error;
    }
    this.rings = placeQueues(this.#chunk.offset, wishes).rings;
    this.#view = host.memory.ctl.arena;
  }

  /** The bytes of the arena, as ctl sees them. */
  get view(): ArenaView {
    return this.#view;
  }

  /** A queue's parts as the device addresses them. */
  addresses({ descriptors, available, used }: QueueRings): QueueAddresses {
    return {
      descriptors: this.iova(descriptors),
      available: this.iova(available),
      used: this.iova(used),
    };
  }

  iova(offset: number): bigint {
    return this.#mapping.iova + BigInt(offset - this.#chunk.offset);
  }

  /** 4.1.5.1.3: rings are zero when the device first sees them. */
  clear(): void {
    this.#view.u8.fill(0, this.#chunk.offset, this.#chunk.offset + this.#chunk.bytes);
  }

  /**
   * Unmaps, then decommits: the device must not use its queues any more. What cannot be unmapped is not decommitted
   * either. Idempotent once it worked. @throws WeirError
   */
  free(): void {
    if (this.#freed) return;
    if (this.#host.space.mappings.get(this.#chunk) === this.#mapping)
      this.#host.space.unmap(this.#mapping);
    this.#freed = true;
    if (!this.#host.memory.arena.chunks.has(this.#chunk))
      throw new WeirError(
        "ERR_WEIR_BUG",
        `${this.#host.space.name}: its queue memory is gone already`,
      );
    this.#host.memory.arena.decommit(this.#chunk);
  }
}
