/**
 * Data path: what an application does with a frame. One object per thread; no method allocates or throws.
 *
 * A frame is named by the handle of its first segment. `position(h)` indexes `bytes`, which is the whole arena.
 */

import { DATA_ROOM, dataStart, HEADROOM, SLOT_STRIDE } from "../memory/slot.js";
import { specialise } from "../specialise.js";
import type { LcoreMemory } from "./lcore-memory.js";
import { FAULT_FOREIGN_CLONE, HOLDER_SHIFT } from "./ledger.js";
import {
  POOL_SHIFT,
  SEGMENTS_LIMIT,
  SHAPE_CHAINED,
  SHAPE_FLAGGED,
  SHAPE_INDIRECT,
  SHAPE_MASK,
  SHAPE_SHARED,
} from "./table.js";

/** The first 12 bytes of an Ethernet frame as three words: destination and source as they lie in memory. */
export interface MacWords {
  readonly w0: number;
  readonly w1: number;
  readonly w2: number;
}

export interface Frames {
  /** All packet memory of the process, indexed by `position`. */
  readonly bytes: Uint8Array;
  /** Index into `bytes` of the first byte of a segment. */
  position(handle: number): number;
  /** Bytes of the whole frame. */
  length(handle: number): number;
  /** Bytes of this segment alone. */
  segmentLength(handle: number): number;
  /** The next segment, 0 after the last. */
  next(handle: number): number;
  /** The port that received the frame. */
  port(handle: number): number;

  /** A new frame with no data yet; 0 when the pool is empty. The caller holds it. */
  alloc(): number;
  /** Up to `n` new frames with no data; returns how many. */
  allocBurst(handles: Uint32Array, n: number): number;
  /** Gives a frame back, all segments. Afterwards the handle is nobody's. */
  free(handle: number): void;
  freeBurst(handles: Uint32Array, n: number): void;

  /** Makes a frame of one segment `n` bytes long, at most 2,048, a clone at most as long as it is; false when it cannot. */
  setLength(handle: number, n: number): boolean;
  /**
   * Grows the frame by `n` bytes in front, in its headroom; returns the new position, or -1 when there is no room. A clone
   * or a fragment has none: put a header in front of it with a frame of its own, `chain(header, fragment)`.
   */
  prepend(handle: number, n: number): number;
  /** Drops `n` bytes in front, from the first segment; false when it has fewer. */
  trimFront(handle: number, n: number): boolean;
  /** Drops `n` bytes at the end, from the last segment; false when it has fewer. */
  trimEnd(handle: number, n: number): boolean;
  /**
   * Appends the frame `tail` to `head`; true: `tail` is part of `head` now; false: they are as before, because one is not the
   * caller's, `tail` is part of `head` already, or there would be more than 255 segments.
   */
  chain(head: number, tail: number): boolean;
  /** Fills the frame's segments with `count` bytes of `source` from `at`; returns the frame, or 0 when the pool is dry. */
  fromBytes(source: Uint8Array, at: number, count: number): number;
  /** Copies the whole frame into `out` from `at` on; returns its length, or -1 when it does not fit. */
  toBytes(handle: number, out: Uint8Array, at: number): number;

  /** Exchanges source and destination MAC address. */
  swapMacs(handle: number): void;
  /** Writes both MAC addresses: see `macWords`. */
  writeMacs(handle: number, w0: number, w1: number, w2: number): void;
  /** `writeMacs` of handles[0 … n-1]. */
  writeMacsBurst(handles: Uint32Array, n: number, w0: number, w1: number, w2: number): void;

  /**
   * A second frame that shows the same bytes; 0 when the pool is empty, or the frame is. Each of the two is given back on its own, in any
   * order, from any thread that holds it. What one writes the other sees.
   */
  clone(handle: number): number;
  /** As `clone`, but only `count` bytes from byte `offset` on; 0 also when that is outside of the frame. */
  fragment(handle: number, offset: number, count: number): number;
}

/** Destination and source address (six bytes each) as `writeMacs` takes them. Not for the data path. */
export function macWords(destination: Uint8Array, source: Uint8Array): MacWords {
  const bytes = new Uint8Array(12);
  bytes.set(destination.subarray(0, 6), 0);
  bytes.set(source.subarray(0, 6), 6);
  const view = new DataView(bytes.buffer);
  return { w0: view.getInt32(0, true), w1: view.getInt32(4, true), w2: view.getInt32(8, true) };
}

/** @param pool the pool that `alloc` and the clones take from */
export function attachFrames(memory: LcoreMemory, pool: number): Frames {
  const constants = {
    memory,
    cache: memory.cache(pool),
    table: memory.table,
    u8: memory.arena.u8,
    u32: memory.arena.u32,
    LCORE: memory.holder,
    STRIDE: SLOT_STRIDE,
    HEADROOM,
    DATA_ROOM,
    POOL_SHIFT,
    SEGMENTS_LIMIT,
    CHAINED: SHAPE_CHAINED,
    INDIRECT: SHAPE_INDIRECT,
    SHARED: SHAPE_SHARED,
    FLAGGED: SHAPE_FLAGGED,
    SHAPE_MASK,
    HOLDER_SHIFT,
    FOREIGN_CLONE: FAULT_FOREIGN_CLONE,
    faults: memory.faults,
    dataStart,
  };
  return specialise(framesTemplate, constants, `lcore${memory.thread}.frames`);
}

interface FramesConstants {
  memory: LcoreMemory;
  cache: ReturnType<LcoreMemory["cache"]>;
  table: LcoreMemory["table"];
  u8: Uint8Array;
  u32: Uint32Array;
  LCORE: number;
  STRIDE: number;
  HEADROOM: number;
  DATA_ROOM: number;
  POOL_SHIFT: number;
  SEGMENTS_LIMIT: number;
  CHAINED: number;
  INDIRECT: number;
  SHARED: number;
  FLAGGED: number;
  SHAPE_MASK: number;
  HOLDER_SHIFT: number;
  FOREIGN_CLONE: number;
  faults: Int32Array;
  dataStart: (handle: number) => number;
}

/** Template: see specialise.ts. */
function framesTemplate(k: FramesConstants): Frames {
  const {
    cache,
    u8,
    u32,
    LCORE,
    STRIDE,
    HEADROOM,
    DATA_ROOM,
    SEGMENTS_LIMIT,
    CHAINED,
    INDIRECT,
    SHARED,
    FLAGGED,
    HOLDER_SHIFT,
    FOREIGN_CLONE,
    faults,
    dataStart,
  } = k;
  const { settleChecksum } = k.memory;
  const {
    position,
    dataLength,
    packetLength,
    next,
    segments,
    kind,
    refs,
    base,
    port,
    csumStart,
    ledger,
  } = k.table;
  const one = new Uint32Array(1);

  function alloc(): number {
    if (cache.get(one, 0, 1, LCORE) === 0) return 0;
    const handle = one[0];
    position[handle] = handle * STRIDE + HEADROOM;
    dataLength[handle] = 0;
    packetLength[handle] = 0;
    return handle;
  }

  function free(handle: number): void {
    one[0] = handle;
    cache.put(one, 0, 1, LCORE);
  }

  function last(handle: number): number {
    let segment = handle;
    while (next[segment] !== 0) segment = next[segment];
    return segment;
  }

  function chain(head: number, tail: number): boolean {
    if (!isMine(head) || !isMine(tail)) return false;
    const count = segments[head] + segments[tail];
    if (count > SEGMENTS_LIMIT) return false;
    const end = last(head);
    if (end === last(tail)) return false; // a part of itself: the chain would have no end
    settle(head); // a checksum reaches to the end of the frame
    settle(tail); // a later segment has no flags
    next[end] = tail;
    kind[end] = kind[end] | CHAINED;
    segments[head] = count;
    segments[tail] = 1;
    packetLength[head] = packetLength[head] + packetLength[tail];
    return true;
  }

  function settle(handle: number): void {
    if ((kind[handle] & FLAGGED) !== 0) settleChecksum(handle);
  }

  /** The frame begins `n` bytes earlier (or, below 0, later), and what is counted from its first byte moves along. */
  function moveStart(handle: number, n: number): void {
    if ((kind[handle] & FLAGGED) === 0) return;
    if (csumStart[handle] + n < 0) settleChecksum(handle);
    else csumStart[handle] = csumStart[handle] + n;
  }

  /** Not somebody else's: that one may be giving it back at this moment, and its shape is not ours to change. */
  function mayClone(handle: number): boolean {
    if (isMine(handle)) return true;
    faults[FOREIGN_CLONE] = faults[FOREIGN_CLONE] + 1;
    return false;
  }

  /** A clone of `count` bytes from `offset` of one segment. */
  function indirect(segment: number, offset: number, count: number): number {
    if (!mayClone(segment)) return 0;
    const handle = alloc();
    if (handle === 0) return 0;
    const root = base[segment] === 0 ? segment : base[segment];
    // The root's shape has its bit already when `segment` is a clone itself, and only its holder may set it.
    if (root === segment) kind[root] = kind[root] | SHARED;
    Atomics.add(refs, root, 1);
    base[handle] = root;
    kind[handle] = kind[handle] | INDIRECT;
    position[handle] = position[segment] + offset;
    dataLength[handle] = count;
    packetLength[handle] = count;
    return handle;
  }

  function fragment(handle: number, offset: number, count: number): number {
    if (!(offset >= 0 && count > 0 && offset + count <= packetLength[handle])) return 0;
    if (!mayClone(handle)) return 0;
    settle(handle); // while its bytes are still shown by one frame alone
    let skip = offset;
    let left = count;
    let head = 0;
    for (let segment = handle; left > 0 && segment !== 0; segment = next[segment]) {
      const here = dataLength[segment];
      if (skip >= here) {
        skip -= here;
        continue;
      }
      const part = here - skip < left ? here - skip : left;
      const piece = indirect(segment, skip, part);
      if (piece === 0) {
        if (head !== 0) free(head);
        return 0;
      }
      port[piece] = port[handle];
      if (head === 0) head = piece;
      else chain(head, piece);
      left -= part;
      skip = 0;
    }
    return head;
  }

  function writeMacs(handle: number, w0: number, w1: number, w2: number): void {
    const at = position[handle];
    if ((at & 3) === 0) {
      const word = at >>> 2;
      u32[word] = w0;
      u32[word + 1] = w1;
      u32[word + 2] = w2;
      return;
    }
    for (let i = 0; i < 4; i++) {
      u8[at + i] = w0 >>> (8 * i);
      u8[at + 4 + i] = w1 >>> (8 * i);
      u8[at + 8 + i] = w2 >>> (8 * i);
    }
  }

  function isMine(handle: number): boolean {
    return handle !== 0 && ledger[handle] >>> HOLDER_SHIFT === LCORE;
  }

  return {
    bytes: u8,
    position: (handle) => position[handle],
    length: (handle) => packetLength[handle],
    segmentLength: (handle) => dataLength[handle],
    next: (handle) => next[handle],
    port: (handle) => port[handle],
    alloc,
    allocBurst(handles, n) {
      const got = cache.get(handles, 0, n, LCORE);
      for (let i = 0; i < got; i++) {
        const handle = handles[i];
        position[handle] = handle * STRIDE + HEADROOM;
        dataLength[handle] = 0;
        packetLength[handle] = 0;
      }
      return got;
    },
    free,
    freeBurst(handles, n) {
      cache.put(handles, 0, n, LCORE);
    },
    setLength(handle, n) {
      // What lies behind a clone's or a fragment's bytes belongs to other frames.
      const end =
        base[handle] === 0 ? dataStart(handle) + DATA_ROOM : position[handle] + dataLength[handle];
      if (!isMine(handle) || next[handle] !== 0 || n < 0 || position[handle] + n > end)
        return false;
      dataLength[handle] = n;
      packetLength[handle] = n;
      return true;
    },
    prepend(handle, n) {
      const at = position[handle] - n;
      // What lies in front of a clone's or a fragment's bytes belongs to other frames.
      const room = base[handle] === 0 ? dataStart(handle) - HEADROOM : position[handle];
      if (!isMine(handle) || n < 0 || at < room) return -1;
      moveStart(handle, n);
      position[handle] = at;
      dataLength[handle] = dataLength[handle] + n;
      packetLength[handle] = packetLength[handle] + n;
      return at;
    },
    trimFront(handle, n) {
      if (!isMine(handle) || n < 0 || n > dataLength[handle]) return false;
      moveStart(handle, -n);
      position[handle] = position[handle] + n;
      dataLength[handle] = dataLength[handle] - n;
      packetLength[handle] = packetLength[handle] - n;
      return true;
    },
    trimEnd(handle, n) {
      if (!isMine(handle)) return false;
      const end = last(handle);
      if (n < 0 || n > dataLength[end]) return false;
      dataLength[end] = dataLength[end] - n;
      packetLength[handle] = packetLength[handle] - n;
      return true;
    },
    chain,
    fromBytes(source, at, count) {
      if (!(count >= 0 && at >= 0 && at + count <= source.length)) return 0;
      const head = alloc();
      let segment = head;
      for (let done = 0; segment !== 0; ) {
        const part = count - done < DATA_ROOM ? count - done : DATA_ROOM;
        const to = position[segment];
        for (let i = 0; i < part; i++) u8[to + i] = source[at + done + i];
        dataLength[segment] = part;
        packetLength[segment] = part;
        done += part;
        if (segment !== head && !chain(head, segment)) {
          free(segment);
          break;
        }
        if (done === count) return head;
        segment = alloc();
      }
      if (head !== 0) free(head);
      return 0;
    },
    toBytes(handle, out, at) {
      const total = packetLength[handle];
      if (at + total > out.length) return -1;
      let done = at;
      for (let segment = handle; segment !== 0; segment = next[segment]) {
        const from = position[segment];
        const part = dataLength[segment];
        for (let i = 0; i < part; i++) out[done + i] = u8[from + i];
        done += part;
      }
      return total;
    },
    swapMacs(handle) {
      const at = position[handle];
      if ((at & 3) === 0) {
        const word = at >>> 2;
        const w0 = u32[word]; // destination 0-3
        const w1 = u32[word + 1]; // destination 4-5, source 0-1
        const w2 = u32[word + 2]; // source 2-5
        u32[word] = (w1 >>> 16) | (w2 << 16);
        u32[word + 1] = (w2 >>> 16) | (w0 << 16);
        u32[word + 2] = (w0 >>> 16) | (w1 << 16);
        return;
      }
      for (let i = at; i < at + 6; i++) {
        const destination = u8[i];
        u8[i] = u8[i + 6];
        u8[i + 6] = destination;
      }
    },
    writeMacs,
    writeMacsBurst(handles, n, w0, w1, w2) {
      for (let i = 0; i < n; i++) writeMacs(handles[i], w0, w1, w2);
    },
    clone: (handle) => fragment(handle, 0, packetLength[handle]),
    fragment,
  };
}
