/**
 * Data path: one thread's stock of free buffers of one pool.
 *
 * Taking and giving back are stack moves in memory that only this thread writes; the pool's common ring is touched once
 * per `SIZE` buffers at most. A cached buffer's holder is the cache, so that ctl can tell whose it is if the thread dies.
 */
import type { MpmcRing } from "../ring/mpmc-ring.js";
import type { Table } from "./table.js";

export interface PoolCache {
  /** Takes up to `n` buffers for `holder` into `handles[at…]`; returns how many there were. They are plain: no chain, one reference. */
  get(handles: Uint32Array, at: number, n: number, holder: number): number;
  /**
   * Gives back `handles[at … at+n-1]`, which `holder` holds: frames of any shape, of any pool. What `holder` does not hold
   * is counted and left alone.
   */
  put(handles: Uint32Array, at: number, n: number, holder: number): void;
  /** Puts one buffer that is plain already, of this pool and leaving some other holder, on the stack. For the slow path of `put`. */
  push(handle: number): void;
  /** Moves everything to the common ring: before the thread stops, or sleeps. */
  flush(): void;
}

/** What a cache is built from; see specialise.ts. */
export interface PoolCacheConstants {
  readonly stack: Uint32Array;
  /** stack[0 … depth[0]-1] are the cached buffers. */
  readonly depth: Int32Array;
  readonly ring: MpmcRing;
  readonly table: Table;
  /** Tick of ctl's clock, word 0. */
  readonly clock: Int32Array;
  /** This thread's counters, by holder. */
  readonly row: Int32Array;
  /** Gives back one frame that is not plain, or not of this pool, or not the holder's. */
  readonly releaseSlow: (handle: number, holder: number) => void;
  readonly KIND: number;
  readonly HOLDER: number;
  readonly SIZE: number;
  /** Most buffers moved between two looks at the stack's depth. */
  readonly SLICE: number;
  readonly HOLDER_SHIFT: number;
  readonly HOLDER_MASK: number;
  readonly HOLDER_FREE: number;
}

/** Entries of the stack for a cache of `size`: full, a slice of `put`, and a slice of its slow path. */
export function cacheStackEntries(size: number): number {
  return 2 * size + 2 * CACHE_SLICE;
}

export const CACHE_SLICE = 64;

/** Template: see specialise.ts. */
export function poolCache(k: PoolCacheConstants): PoolCache {
  const { stack, depth, ring, clock, row, releaseSlow } = k;
  const { ledger, kind } = k.table;
  const { KIND, HOLDER, SIZE, SLICE, HOLDER_SHIFT, HOLDER_MASK, HOLDER_FREE } = k;
  const CACHED = HOLDER << HOLDER_SHIFT;

  /** Takes from the common ring until `want` are cached, as far as it has them. */
  function refill(have: number, want: number): number {
    const got = ring.dequeue(stack, have, want - have);
    const word = CACHED | clock[0];
    for (let i = 0; i < got; i++) ledger[stack[have + i]] = word;
    row[HOLDER_FREE] = row[HOLDER_FREE] - got;
    row[HOLDER] = row[HOLDER] + got;
    depth[0] = have + got;
    return have + got;
  }

  /** Gives the coldest `count` of the stack to the common ring. */
  function spill(have: number, count: number): number {
    const word = (HOLDER_FREE << HOLDER_SHIFT) | clock[0];
    for (let i = 0; i < count; i++) ledger[stack[i]] = word;
    ring.enqueue(stack, 0, count); // always fits: the ring has an entry for every buffer of the pool
    stack.copyWithin(0, count, have);
    row[HOLDER] = row[HOLDER] - count;
    row[HOLDER_FREE] = row[HOLDER_FREE] + count;
    depth[0] = have - count;
    return have - count;
  }

  /** At most SLICE buffers. No loop around the loop: with one, V8 spends twice the cycles per buffer (bench: pool). */
  function getSlice(handles: Uint32Array, at: number, n: number, holder: number): number {
    const word = (holder << HOLDER_SHIFT) | clock[0];
    let have = depth[0];
    if (have < n) have = refill(have, n + SIZE);
    const take = n < have ? n : have;
    for (let i = 0; i < take; i++) {
      const handle = stack[--have];
      handles[at + i] = handle;
      ledger[handle] = word;
    }
    depth[0] = have;
    row[HOLDER] = row[HOLDER] - take;
    row[holder] = row[holder] + take;
    return take;
  }

  /** At most SLICE frames. */
  function putSlice(handles: Uint32Array, at: number, n: number, holder: number): void {
    const expected = holder << HOLDER_SHIFT;
    const word = CACHED | clock[0];
    const end = at + n;
    let have = depth[0];
    if (have > 2 * SIZE) have = spill(have, have - SIZE);
    let slow = 0;
    for (let i = at; i < end; i++) {
      const handle = handles[i];
      if (kind[handle] === KIND && (ledger[handle] & HOLDER_MASK) === expected) {
        ledger[handle] = word;
        stack[have++] = handle;
      } else {
        depth[0] = have;
        releaseSlow(handle, holder);
        have = depth[0];
        slow++;
      }
    }
    depth[0] = have;
    row[holder] = row[holder] - (n - slow);
    row[HOLDER] = row[HOLDER] + (n - slow);
  }

  return {
    get(handles, at, n, holder) {
      if (n <= SLICE) return getSlice(handles, at, n, holder);
      let got = 0;
      while (got < n) {
        const ask = n - got < SLICE ? n - got : SLICE;
        const took = getSlice(handles, at + got, ask, holder);
        got += took;
        if (took < ask) break;
      }
      return got;
    },

    put(handles, at, n, holder) {
      let from = at;
      for (let left = n; left > SLICE; left -= SLICE) {
        putSlice(handles, from, SLICE, holder);
        from += SLICE;
      }
      putSlice(handles, from, at + n - from, holder);
    },

    push(handle) {
      let have = depth[0];
      // Leaves room for the plain buffers of the slice that `put` may be in the middle of.
      if (have >= 2 * SIZE + SLICE) have = spill(have, have - SIZE);
      ledger[handle] = CACHED | clock[0];
      stack[have] = handle;
      depth[0] = have + 1;
      row[HOLDER] = row[HOLDER] + 1;
    },

    flush() {
      const have = depth[0];
      if (have > 0) spill(have, have);
    },
  };
}
