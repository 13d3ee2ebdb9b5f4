/**
 * A queue as it crosses from ctl to the lcore that polls it, and what the lcore makes of it.
 *
 * ctl describes a queue by an image that can be posted to a worker; the worker imports the driver's burst module and
 * makes one burst function for this queue alone (specialise.ts).
 */

import { DATA_ROOM, HEADROOM, SLOT_STRIDE } from "../memory/slot.js";
import type { LcoreMemory } from "../mempool/lcore-memory.js";
import { HOLDER_MASK, HOLDER_SHIFT } from "../mempool/ledger.js";
import type { PoolCache } from "../mempool/pool-cache.js";
import {
  POOL_SHIFT,
  SHAPE_CHAINED,
  SHAPE_FLAGGED,
  SHAPE_MASK,
  type Table,
} from "../mempool/table.js";

/**
 * The burst contract. Receive: fills `handles[0 … count-1]` with at most `n` frames, which the caller holds from then on.
 * Send: takes frames from the front; the caller keeps `handles[count … n-1]`. Never throws; 0 once the port is not running.
 */
export type Burst = (handles: Uint32Array, n: number) => number;

export interface RxQueue {
  readonly port: number;
  readonly queue: number;
  readonly burst: Burst;
}

export interface TxQueue {
  readonly port: number;
  readonly queue: number;
  readonly burst: Burst;
  /** Sends what the queue takes and frees the rest, counted as dropped; returns how many were sent. */
  readonly burstOrFree: Burst;
}

/** Words of a port, in shared memory. */
export const PORT_STATE = 0;
/** Bursts move frames only while the port's state word says so. */
export const PORT_RUNNING = 1;
export const PORT_STOPPED = 0;

/** Words of a queue, in shared memory; one writer, the lcore that polls it. */
export const QUEUE_FINISHED = 0; // 1: a finite source has nothing more to give
export const QUEUE_ERRNO = 1; // why the queue gave up for good; 0: it did not
export const QUEUE_WORDS_BYTES = 64;

/** Statistics of a queue, doubles behind its words, one writer. Exact to 2^53. */
export const STAT_PACKETS = 0;
export const STAT_BYTES = 1;
/** Receive: no buffer to put a frame in. Send: frames that `burstOrFree` freed. */
export const STAT_DROPPED = 2;
/** Frames refused or broken: truncated, not held by the sender, an error of the device. */
export const STAT_ERRORS = 3;
export const STATS = 8;

export interface QueueImage {
  readonly port: number;
  readonly queue: number;
  readonly name: string;
  /** URL of the module that makes the burst function. */
  readonly module: string;
  /** Who holds what this queue holds. */
  readonly holder: number;
  /** Receive: the pool that frames are received into. */
  readonly pool: number;
  readonly portWords: SharedArrayBuffer;
  /** QUEUE_WORDS_BYTES of words, then STATS doubles. */
  readonly memory: SharedArrayBuffer;
  /** See DeviceQueue. */
  readonly drainedElsewhere: boolean;
  /** The driver's own, as `postMessage` can carry it. */
  readonly params: unknown;
}

/** What a driver's burst module exports. */
export interface BurstModule {
  readonly attachRx?: (queue: QueueImage, memory: LcoreMemory) => Burst;
  readonly attachTx?: (queue: QueueImage, memory: LcoreMemory) => Burst;
}

/** What every burst template starts from; drivers add their own constants beside these. */
export interface BurstConstants {
  readonly memory: LcoreMemory;
  readonly table: Table;
  readonly cache: PoolCache;
  readonly u8: Uint8Array;
  readonly clock: Int32Array;
  readonly row: Int32Array;
  readonly portWords: Int32Array;
  readonly words: Int32Array;
  readonly stats: Float64Array;
  readonly PORT: number;
  /** The lcore's holder id. */
  readonly LCORE: number;
  /** The queue's holder id. */
  readonly HOLDER: number;
  readonly HOLDER_SHIFT: number;
  readonly HOLDER_MASK: number;
  readonly KIND: number;
  readonly CHAINED: number;
  readonly FLAGGED: number;
  readonly SHAPE_MASK: number;
  readonly STRIDE: number;
  readonly HEADROOM: number;
  readonly DATA_ROOM: number;
  /** Where the port's state lies in `portWords`, and what it says while frames move. */
  readonly STATE: number;
  readonly RUNNING: number;
  /** Indices into `words`. */
  readonly FINISHED: number;
  readonly ERRNO: number;
  /** Indices into `stats`. */
  readonly PACKETS: number;
  readonly BYTES: number;
  readonly DROPPED: number;
  readonly ERRORS: number;
}

export function burstConstants(queue: QueueImage, memory: LcoreMemory): BurstConstants {
  return {
    memory,
    table: memory.table,
    cache: memory.cache(queue.pool),
    u8: memory.arena.u8,
    clock: memory.clock,
    row: memory.row,
    portWords: new Int32Array(queue.portWords),
    words: new Int32Array(queue.memory, 0, QUEUE_WORDS_BYTES / 4),
    stats: new Float64Array(queue.memory, QUEUE_WORDS_BYTES, STATS),
    PORT: queue.port,
    LCORE: memory.holder,
    HOLDER: queue.holder,
    HOLDER_SHIFT,
    HOLDER_MASK,
    KIND: queue.pool << POOL_SHIFT,
    CHAINED: SHAPE_CHAINED,
    FLAGGED: SHAPE_FLAGGED,
    SHAPE_MASK,
    STRIDE: SLOT_STRIDE,
    HEADROOM,
    DATA_ROOM,
    STATE: PORT_STATE,
    RUNNING: PORT_RUNNING,
    FINISHED: QUEUE_FINISHED,
    ERRNO: QUEUE_ERRNO,
    PACKETS: STAT_PACKETS,
    BYTES: STAT_BYTES,
    DROPPED: STAT_DROPPED,
    ERRORS: STAT_ERRORS,
  };
}

/** The receive queue of an image, for the calling thread. */
export async function attachRxQueue(image: QueueImage, memory: LcoreMemory): Promise<RxQueue> {
  const { attachRx } = (await import(image.module)) as BurstModule;
  if (attachRx === undefined) throw new TypeError(`${image.module} has no receive side`);
  return { port: image.port, queue: image.queue, burst: attachRx(image, memory) };
}

/** The send queue of an image, for the calling thread. */
export async function attachTxQueue(image: QueueImage, memory: LcoreMemory): Promise<TxQueue> {
  const { attachTx } = (await import(image.module)) as BurstModule;
  if (attachTx === undefined) throw new TypeError(`${image.module} has no send side`);
  const burst = attachTx(image, memory);
  const { cache, stats, LCORE } = burstConstants(image, memory);
  const burstOrFree: Burst = (handles, n) => {
    const sent = burst(handles, n);
    if (sent < n) {
      cache.put(handles, sent, n - sent, LCORE);
      stats[STAT_DROPPED] = stats[STAT_DROPPED] + n - sent;
    }
    return sent;
  };
  return { port: image.port, queue: image.queue, burst, burstOrFree };
}
