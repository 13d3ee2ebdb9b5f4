/**
 * Lifetime path: a mempool, buffers of one kind with a common ring of the free ones and a cache per thread.
 */
import { assert, usageError, WeirError } from "../errors.js";
import type { Arena, Chunk } from "../memory/arena.js";
import {
  attachMpmcRing,
  createMpmcRing,
  type MpmcRing,
  type MpmcRingImage,
} from "../ring/mpmc-ring.js";
import { HOLDER_FREE, type Holder, type Holders } from "./ledger.js";
import { cacheStackEntries } from "./pool-cache.js";
import { POOL_SHIFT, POOLS_MAX, type Table } from "./table.js";

export const POOL_NAME_BYTES_MAX = 26; // RTE_MEMPOOL_NAMESIZE less its prefix
/** As RTE_MEMPOOL_CACHE_MAX_SIZE. */
export const CACHE_SIZE_MAX = 512;

/** A pool as a thread attaches to it. */
export interface PoolImage {
  readonly id: number;
  readonly name: string;
  readonly cacheSize: number;
  readonly ring: MpmcRingImage;
  /** By thread row. Memory: a cache line with the depth, then the stack. */
  readonly caches: readonly { readonly holder: number; readonly memory: SharedArrayBuffer }[];
}

export interface PoolOptions {
  readonly name: string;
  /** Buffers; the pool may get a few more, as many as fit in whole pages. */
  readonly buffers: number;
  /** Buffers each thread keeps back from the common ring; at most 512. */
  readonly cacheSize: number;
}

export class Pool {
  readonly id: number;
  readonly name: string;
  readonly image: PoolImage;
  readonly #chunks: Chunk[] = [];
  readonly #holders: Holder[] = [];
  readonly #ring: MpmcRing;

  readonly #arena: Arena;
  readonly #table: Table;
  readonly #registry: Holders;

  /**
   * @param threads names of the threads, by row, that get a cache
   * @throws WeirError ENOMEM when the memory is not there, ERR_WEIR_LIMIT when there are too many holders; nothing is
   *   left behind then
   */
  constructor(
    id: number,
    options: PoolOptions,
    arena: Arena,
    table: Table,
    holders: Holders,
    threads: readonly string[],
  ) {
    const { name, buffers, cacheSize } = options;
    assert(id > 0 && id <= POOLS_MAX, `pool id ${id}`);
    if (name.length > POOL_NAME_BYTES_MAX)
      throw usageError(`the pool name "${name}" is longer than ${POOL_NAME_BYTES_MAX}`);
    if (!(buffers > 0))
      throw usageError(`a pool of ${buffers} buffers cannot be made; ask for 1 or more`);
    if (!(cacheSize >= 0 && cacheSize <= CACHE_SIZE_MAX)) {
      throw usageError(`a pool cache of ${cacheSize} is not between 0 and ${CACHE_SIZE_MAX}`);
    }
    this.id = id;
    this.name = name;
    this.#arena = arena;
    this.#table = table;
    this.#registry = holders;
    const chunk = arena.commitSlots(buffers);
    this.#chunks.push(chunk);
    let ring: MpmcRingImage;
    let caches: PoolImage["caches"];
    try {
      ring = createMpmcRing(powerOfTwoAtLeast(chunk.slots));
      caches = threads.map((thread) => {
        const holder = holders.add("cache", `${thread} cache of ${name}`);
        this.#holders.push(holder);
        return {
          holder: holder.id,
          memory: new SharedArrayBuffer(64 + cacheStackEntries(cacheSize) * 4),
        };
      });
    } catch (error) {
      for (const holder of this.#holders) holders.remove(holder);
      arena.decommit(chunk);
      throw error;
    }
    this.image = { id, name, cacheSize, ring, caches };
    this.#ring = attachMpmcRing(ring, `${name}.ring`);
    this.#adopt(chunk);
  }

  get chunks(): readonly Chunk[] {
    return this.#chunks;
  }

  /** Buffers in all. */
  get buffers(): number {
    return this.#chunks.reduce((sum, chunk) => sum + chunk.slots, 0);
  }

  /** Buffers in the common ring, as a reader outside of the data path sees it. */
  get ringCount(): number {
    return this.#ring.count();
  }

  /** Handles in the common ring and in every cache. Exact at quiescence. */
  freeHandles(): { ring: Uint32Array; caches: { holder: number; handles: Uint32Array }[] } {
    const caches = this.image.caches.map(({ holder, memory }) => {
      const depth = new Int32Array(memory, 0, 1)[0] as number;
      return { holder, handles: new Uint32Array(memory, 64, depth).slice() };
    });
    return { ring: this.#ring.snapshot(), caches };
  }

  /** Forgets what a dead thread's cache lists: its buffers were taken back by the ledger. */
  emptyCache(thread: number): void {
    const cache = this.image.caches[thread];
    if (cache !== undefined) new Int32Array(cache.memory, 0, 1)[0] = 0;
  }

  /**
   * Gives the memory back. Every buffer must be free and no thread attached.
   * @throws WeirError EBUSY when buffers are still held: they are named by the audit
   */
  close(): void {
    const { ring, caches } = this.freeHandles();
    const free = caches.reduce((sum, cache) => sum + cache.handles.length, ring.length);
    if (free !== this.buffers) {
      throw new WeirError(
        "EBUSY",
        `pool ${this.name} cannot go: ${this.buffers - free} of its buffers are still held`,
      );
    }
    for (const chunk of this.#chunks.splice(0)) {
      this.#table.kind.fill(0, chunk.firstSlot, chunk.firstSlot + chunk.slots);
      this.#table.ledger.fill(0, chunk.firstSlot, chunk.firstSlot + chunk.slots);
      this.#arena.decommit(chunk);
    }
    for (const holder of this.#holders) this.#registry.remove(holder);
  }

  /** Makes the slots of a chunk buffers of this pool, all free. */
  #adopt({ firstSlot, slots }: Chunk): void {
    const { kind, next, segments, refs, base, ledger } = this.#table;
    const end = firstSlot + slots;
    next.fill(0, firstSlot, end);
    segments.fill(1, firstSlot, end);
    refs.fill(1, firstSlot, end);
    base.fill(0, firstSlot, end);
    ledger.fill(HOLDER_FREE, firstSlot, end);
    kind.fill(this.id << POOL_SHIFT, firstSlot, end);
    const handles = Uint32Array.from({ length: slots }, (_, i) => firstSlot + i);
    const taken = this.#ring.enqueue(handles, 0, slots);
    assert(taken === slots, "the common ring of a pool has room for each of its buffers");
  }
}

function powerOfTwoAtLeast(n: number): number {
  return 2 ** Math.ceil(Math.log2(n));
}
