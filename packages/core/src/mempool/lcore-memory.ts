/**
 * Everything a thread needs to touch packets: the arena, the buffer table, its caches, its counters.
 *
 * Made once per thread (lifetime path); what it holds is used by the data path. The slow half of giving a frame back,
 * for chains, clones and handles of other pools, is here: it is reached from `PoolCache.put` alone.
 */
import { type ArenaImage, type ArenaView, attachArena } from "../memory/arena.js";
import { attachMpmcRing } from "../ring/mpmc-ring.js";
import { specialise } from "../specialise.js";
import { settleChecksum } from "./checksum.js";
import {
  FAULT_BAD_HANDLE,
  FAULT_DOUBLE_RETURN,
  FAULT_FOREIGN_RETURN,
  FAULT_FOREIGN_SEND,
  FAULT_WORDS,
  HOLDER_FREE,
  HOLDER_MASK,
  HOLDER_SHARED,
  HOLDER_SHIFT,
  HOLDERS_MAX,
} from "./ledger.js";
import type { PoolImage } from "./pool.js";
import { CACHE_SLICE, cacheStackEntries, type PoolCache, poolCache } from "./pool-cache.js";
import {
  attachTable,
  POOL_SHIFT,
  SEGMENTS_LIMIT,
  SHAPE_CHAINED,
  SHAPE_FLAGGED,
  SHAPE_INDIRECT,
  SHAPE_MASK,
  SHAPE_SHARED,
  type Table,
  type TableImage,
} from "./table.js";

/** Packet memory as another thread can attach to it. */
export interface MemoryImage {
  readonly arena: ArenaImage;
  readonly table: TableImage;
  /** Word 0: the ledger's tick, written by ctl. */
  readonly clock: SharedArrayBuffer;
  /** One row of HOLDERS_MAX counters per thread. */
  readonly moves: SharedArrayBuffer;
  /** One row of FAULT_WORDS counters per thread. */
  readonly faults: SharedArrayBuffer;
  readonly pools: readonly PoolImage[];
}

export interface LcoreMemory {
  /** Row of this thread: 0 is ctl. */
  readonly thread: number;
  /** This thread's own holder id. */
  readonly holder: number;
  readonly arena: ArenaView;
  readonly table: Table;
  readonly clock: Int32Array;
  readonly row: Int32Array;
  readonly faults: Int32Array;
  /** The thread's cache of a pool. Attaches it at its first use: not for the data path. */
  cache(pool: number): PoolCache;
  /**
   * Moves a frame of any shape, which may be not plain, from one holder to another: every segment's ledger word.
   * False, with nothing changed but a counter, when it is not a frame that `from` holds. Data path.
   */
  moveFrame(handle: number, from: number, to: number): boolean;
  /**
   * Makes a frame whole before it goes where nobody completes checksums: what FLAG_NEEDS_CSUM left open is computed, and
   * the flags are cleared. The caller holds the frame, and its bytes alone. Data path.
   */
  readonly settleChecksum: (handle: number) => void;
  /** Moves every cached buffer to the common rings. */
  flush(): void;
}

/** @param thread row of the calling thread, which no other thread uses */
export function attachLcoreMemory(image: MemoryImage, thread: number, holder: number): LcoreMemory {
  const arena = attachArena(image.arena);
  const table = attachTable(image.table);
  const clock = new Int32Array(image.clock);
  const row = new Int32Array(image.moves, thread * HOLDERS_MAX * 4, HOLDERS_MAX);
  const faults = new Int32Array(image.faults, thread * FAULT_WORDS * 4, FAULT_WORDS);
  const caches: (PoolCache | undefined)[] = [];
  /** 1 for the holders whose buffers are free: the common rings and the caches. */
  const free = new Uint8Array(HOLDERS_MAX);
  free[HOLDER_FREE] = 1;
  for (const pool of image.pools) for (const { holder: id } of pool.caches) free[id] = 1;

  const { next, kind, refs, base, segments, flags, ledger } = table;

  function cache(pool: number): PoolCache {
    caches[pool] ??= attach(pool);
    return caches[pool];
  }

  function attach(pool: number): PoolCache {
    const poolImage = image.pools.find((candidate) => candidate.id === pool);
    const own = poolImage?.caches[thread];
    if (poolImage === undefined || own === undefined)
      throw new RangeError(`thread ${thread} has no cache of pool ${pool}`);
    const constants = {
      stack: new Uint32Array(own.memory, 64, cacheStackEntries(poolImage.cacheSize)),
      depth: new Int32Array(own.memory, 0, 1),
      ring: attachMpmcRing(poolImage.ring, `${poolImage.name}.ring`),
      table,
      clock,
      row,
      releaseSlow,
      KIND: pool << POOL_SHIFT,
      HOLDER: own.holder,
      SIZE: poolImage.cacheSize,
      SLICE: CACHE_SLICE,
      HOLDER_SHIFT,
      HOLDER_MASK,
      HOLDER_FREE,
    };
    return specialise(poolCache, constants, `${poolImage.name}.cache`);
  }

  function holderOf(handle: number): number {
    return ledger[handle] >>> HOLDER_SHIFT;
  }

  function isBuffer(handle: number): boolean {
    return handle > 0 && handle < kind.length && kind[handle] >>> POOL_SHIFT !== 0;
  }

  /** Gives back a frame segment by segment. A chain is cut first, so that a bad one costs what is left of it at most. */
  function releaseSlow(handle: number, holder: number): void {
    let segment = handle;
    let left = SEGMENTS_LIMIT;
    do {
      if (!isBuffer(segment)) {
        faults[FAULT_BAD_HANDLE] = faults[FAULT_BAD_HANDLE] + 1;
        return;
      }
      const found = holderOf(segment);
      if (found !== holder) {
        const fault = free[found] === 1 ? FAULT_DOUBLE_RETURN : FAULT_FOREIGN_RETURN;
        faults[fault] = faults[fault] + 1;
        return;
      }
      const following = next[segment];
      next[segment] = 0;
      segments[segment] = 1;
      kind[segment] = kind[segment] & ~SHAPE_CHAINED;
      row[holder] = row[holder] - 1;
      releaseSegment(segment);
      segment = following;
    } while (segment !== 0 && --left > 0);
  }

  /** Gives back one unchained buffer that its holder's counter no longer counts. */
  function releaseSegment(handle: number): void {
    const shape = kind[handle] & SHAPE_MASK;
    if (shape & SHAPE_FLAGGED) {
      flags[handle] = 0;
      kind[handle] = kind[handle] & ~SHAPE_FLAGGED;
    }
    if (shape & SHAPE_INDIRECT) {
      const root = base[handle];
      base[handle] = 0;
      makePlain(handle);
      dropReference(root);
    } else if (shape & SHAPE_SHARED) {
      // Before the reference is dropped: from then on a clone's last holder may free the buffer on another thread.
      ledger[handle] = (HOLDER_SHARED << HOLDER_SHIFT) | clock[0];
      row[HOLDER_SHARED] = row[HOLDER_SHARED] + 1;
      dropReference(handle);
    } else {
      makePlain(handle);
    }
  }

  /** The last reference to go finds the buffer with the holder "shared", and frees it. */
  function dropReference(root: number): void {
    if (Atomics.sub(refs, root, 1) !== 1) return;
    refs[root] = 1;
    row[HOLDER_SHARED] = row[HOLDER_SHARED] - 1;
    makePlain(root);
  }

  function makePlain(handle: number): void {
    const plain = kind[handle] & ~SHAPE_MASK;
    kind[handle] = plain;
    cache(plain >>> POOL_SHIFT).push(handle);
  }

  function moveFrame(handle: number, from: number, to: number): boolean {
    let count = 0;
    let last = handle;
    do {
      if (!isBuffer(last) || holderOf(last) !== from || ++count > SEGMENTS_LIMIT) {
        faults[FAULT_FOREIGN_SEND] = faults[FAULT_FOREIGN_SEND] + 1;
        return false;
      }
      last = next[last];
    } while (last !== 0);
    const word = (to << HOLDER_SHIFT) | clock[0];
    for (let segment = handle; segment !== 0; segment = next[segment]) ledger[segment] = word;
    row[from] = row[from] - count;
    row[to] = row[to] + count;
    return true;
  }

  return {
    thread,
    holder,
    arena,
    table,
    clock,
    row,
    faults,
    cache,
    moveFrame,
    settleChecksum: (handle) => settleChecksum(table, arena.u8, handle),
    flush() {
      for (const each of caches) each?.flush();
    },
  };
}
