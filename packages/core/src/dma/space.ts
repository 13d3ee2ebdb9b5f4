/**
 * Lifetime path: a space is what one device (or a failover pair) can reach by DMA; a mapping is one chunk in one space.
 *
 * A space maps a chunk at `window + arena offset`. The window is aligned to 4 GiB, so the low word of an IOVA is the
 * arena offset and the high word is a constant of the space: no table, no BigInt, no address per buffer on the data path.
 * Window 0 is never used: it holds the MSI range at 0xfee00000 (Intel SDM vol. 3, 11.11.1).
 */
import { assert, WeirError } from "../errors.js";
import type { Chunk } from "../memory/arena.js";

/** Who carries a mapping out: an IOMMU's container, a peer's memory table, or nobody for a software port. */
export interface DmaBackend {
  /** Lets the device reach `bytes` bytes of the arena from `arenaOffset` on at `iova`. Throws and leaves nothing when it cannot. */
  map(iova: bigint, arenaOffset: number, bytes: number): void;
  /** Opposite of `map`; returns how many bytes were unmapped. */
  unmap(iova: bigint, bytes: number): number;
}

export interface Mapping {
  readonly chunk: Chunk;
  readonly iova: bigint;
}

export class Space {
  readonly name: string;
  /** High word of every IOVA of this space. */
  readonly highWord: number;
  readonly #backend: DmaBackend | undefined;
  readonly #mappings = new Map<Chunk, Mapping>();
  #closed = false;

  /** @param backend none for a space of a software port, whose chunks need no mapping to be reached */
  constructor(name: string, highWord: number, backend?: DmaBackend) {
    assert(highWord >= 1 && highWord < 2 ** 31, `window ${highWord} of space ${name}`);
    this.name = name;
    this.highWord = highWord;
    this.#backend = backend;
  }

  get mappings(): ReadonlyMap<Chunk, Mapping> {
    return this.#mappings;
  }

  /**
   * Maps a chunk. Opposite: `unmap`. Recorded before the backend is called, so that a mapping is never without a record.
   * @throws WeirError ENODEV on a closed space, EEXIST when it is mapped already, or what the backend throws
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
    const iova = (BigInt(this.highWord) << 32n) + BigInt(chunk.offset);
    const mapping: Mapping = { chunk, iova };
    this.#mappings.set(chunk, mapping);
    try {
      this.#backend?.map(iova, chunk.offset, chunk.bytes);
    } catch (error) {
      this.#mappings.delete(chunk);
      throw error;
    }
    return mapping;
  }

  /** @throws WeirError ENOENT when it is not mapped here, EIO when the backend unmapped less than was mapped */
  unmap(mapping: Mapping): void {
    if (this.#mappings.get(mapping.chunk) !== mapping) {
      throw new WeirError(
        "ENOENT",
        `the chunk at ${mapping.chunk.offset} is not mapped in ${this.name}`,
      );
    }
    this.#mappings.delete(mapping.chunk);
    const unmapped = this.#backend?.unmap(mapping.iova, mapping.chunk.bytes) ?? mapping.chunk.bytes;
    if (unmapped !== mapping.chunk.bytes) {
      throw new WeirError(
        "EIO",
        `${this.name} unmapped ${unmapped} of ${mapping.chunk.bytes} bytes at ${mapping.iova}`,
      );
    }
  }

  /** Unmaps everything, whatever fails on the way, and refuses new mappings. Idempotent. @throws AggregateError */
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
}
