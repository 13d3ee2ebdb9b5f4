/**
 * Data path: sending through a split virtqueue (VIRTIO 1.2, 2.7 and 5.1.6.2).
 *
 * A frame is held by the queue from its burst until the device has used it, which is looked at when there is enough to
 * give back. Its header goes right before its first byte, into the slot's headroom, so that one descriptor carries both;
 * where that is not the frame's own (a clone, a fragment) or has no room, a header beside the ring is sent before it.
 */
import {
  type Burst,
  type LcoreMemory,
  type QueueImage,
  SEGMENTS_LIMIT,
  specialise,
} from "@weir/core";
import { HEADER_STRIDE } from "./queue-memory.js";
import { type SplitConstants, type SplitParams, splitConstants } from "./split-queue.js";

interface TxConstants extends SplitConstants {
  /** The longest frame without a VLAN tag. */
  readonly FRAME_MAX: number;
  /** Descriptors in flight from which on a burst looks for used ones. */
  readonly REAP_AT: number;
  readonly CHECKSUMS: boolean;
  /** The header area: one header per descriptor, in bytes from the start of the arena. */
  readonly HEADERS: number;
  readonly HEADER_STRIDE: number;
  readonly SEGMENTS_LIMIT: number;
  /** The shadow: the frame at each first descriptor while the device has it, else 0. */
  readonly held: Uint32Array;
  /** Descriptors of that frame behind the first. */
  readonly extra: Uint8Array;
  /** The descriptor that follows each in a frame. Unused with IN_ORDER. */
  readonly follows: Uint16Array;
  /** Free descriptors, in the order they are used again. Unused with IN_ORDER. */
  readonly freeIds: Uint16Array;
  readonly done: Uint32Array;
}

export function attachTx(queue: QueueImage, memory: LcoreMemory): Burst {
  const { rings, checksums, frameBytesMax } = queue.params as SplitParams;
  const base = splitConstants(queue, memory);
  const { SIZE, BULK } = base;
  const constants: TxConstants = {
    ...base,
    FRAME_MAX: frameBytesMax,
    REAP_AT: Math.min(2 * BULK, SIZE >>> 1),
    CHECKSUMS: checksums,
    HEADERS: rings.extra,
    HEADER_STRIDE,
    SEGMENTS_LIMIT,
    held: new Uint32Array(SIZE),
    extra: new Uint8Array(SIZE),
    follows: new Uint16Array(SIZE),
    freeIds: new Uint16Array(SIZE),
    done: new Uint32Array(SIZE),
  };
  return specialise(splitTx, constants, queue.name);
}

/** Template: see specialise.ts. */
function splitTx(k: TxConstants): Burst {
  const { STATE, RUNNING, PACKETS, BYTES, ERRORS } = k;
  const { memory, cache, portWords, epochWord, stats, clock, row, u8, i32 } = k;
  const { desc, avail, availRing, used, ring, held, extra, follows, freeIds, done } = k;
  const { low, high, GRANULE_SHIFT, GRANULE_MASK, WINDOW, HIGH } = k;
  const { SIZE, MASK, IN_ORDER, REAP_AT, CHECKSUMS, HEADERS, HEADER_STRIDE, HEADER_BYTES } = k;
  const { LCORE, HOLDER, HOLDER_SHIFT, HOLDER_MASK, STRIDE, FRAME_MIN, FRAME_MAX } = k;
  const { DESC_WORDS, USED_RING, USED_ELEM_WORDS, AVAIL_INDEX, USED_INDEX, SEGMENTS_LIMIT } = k;
  const { DESC_LOW, DESC_HIGH, DESC_LEN, DESC_FLAGS, HDR_FLAGS, HDR_CSUM_START, HDR_NUM_BUFFERS } =
    k;
  const { NEXT, NO_INTERRUPT, NO_NOTIFY, NEEDS_CSUM, FLAG_NEEDS_CSUM } = k;
  const { CHAINED, FLAGGED, SHAPE_MASK } = k;
  const { position, dataLength, next, kind, flags, csumStart, csumOffset, ledger } = k.table;
  const MINE = LCORE << HOLDER_SHIFT;
  const NOT_ITS_OWN = SHAPE_MASK & ~(CHAINED | FLAGGED);
  const one = new Uint32Array(1);

  let epoch = -1;
  /** Used entries seen, and frames made available, modulo 2^16 (2.7.6, 2.7.8). */
  let seen = 0;
  let offered = 0;
  /** Frames that the device has, and descriptors that it does not have. */
  let inFlight = 0;
  let free = 0;
  /** Free-running: the next free descriptor and the end of them; with IN_ORDER the descriptors themselves, in ring order. */
  let freeFirst = 0;
  let freeLast = 0;
  /** IN_ORDER: the device's index has jumped, so that ids are believed from now on, and not how many there are. */
  let adrift = false;
  /** Frames that `passOver` added to `done`. */
  let passed = 0;
  /** Bytes of the frame that `slowSend` took; 0 when it was refused. */
  let sentBytes = 0;

  /** The device was started anew: its rings are empty, and the frames that were here have been taken back. */
  function begin(): void {
    epoch = epochWord[0];
    seen = 0;
    offered = 0;
    inFlight = 0;
    free = SIZE;
    freeFirst = 0;
    freeLast = SIZE;
    adrift = false;
    held.fill(0);
    extra.fill(0);
    for (let id = 0; id < SIZE; id++) {
      freeIds[id] = id;
      desc[id * DESC_WORDS + DESC_HIGH] = HIGH;
    }
  }

  function setAddress(id: number, at: number): void {
    if (WINDOW) {
      desc[id * DESC_WORDS + DESC_LOW] = at;
    } else {
      const granule = at >>> GRANULE_SHIFT;
      desc[id * DESC_WORDS + DESC_LOW] = low[granule] + (at & GRANULE_MASK);
      desc[id * DESC_WORDS + DESC_HIGH] = high[granule];
    }
  }

  function nextId(): number {
    const id = IN_ORDER ? freeFirst & MASK : freeIds[freeFirst & MASK];
    freeFirst = (freeFirst + 1) | 0;
    return id;
  }

  function offer(id: number): void {
    availRing[offered & MASK] = id;
    offered = (offered + 1) & 0xffff;
    inFlight++;
  }

  /** Gives back what the device has used. */
  function reap(): void {
    // Acquires: what the device wrote before it moved the index is read after it.
    const index = Atomics.load(used, USED_INDEX) >>> 16;
    const pending = (index - seen) & 0xffff;
    if (pending > inFlight) {
      stats[ERRORS] = stats[ERRORS] + 1; // more than it was given: start over from where it says it is
      seen = index;
      adrift = true;
      return;
    }
    const from = seen;
    let count = 0;
    let end = freeLast;
    for (let i = 0; i < pending; i++) {
      // 2.7.9: in order, the index alone says which; there may be no entry for each.
      const believed = !IN_ORDER || adrift;
      const id = believed ? used[USED_RING + ((from + i) & MASK) * USED_ELEM_WORDS] : end & MASK;
      const handle = (id & ~MASK) === 0 ? held[id] : 0;
      if (handle === 0) {
        stats[ERRORS] = stats[ERRORS] + 1;
        continue;
      }
      if (IN_ORDER && id !== (end & MASK)) {
        end = passOver(id, count, end);
        count += passed;
      }
      held[id] = 0;
      done[count++] = handle;
      if (!IN_ORDER) freeIds[end & MASK] = id;
      end = (end + 1) | 0;
      if (extra[id] !== 0) end = freeRest(id, end);
    }
    seen = index;
    inFlight -= count;
    free += (end - freeLast) | 0;
    freeLast = end;
    cache.put(done, 0, count, HOLDER);
  }

  /** IN_ORDER: the frames before the one that is named were used too; returns the new end of the free descriptors. */
  function passOver(named: number, count: number, from: number): number {
    let end = from;
    for (passed = 0; (end & MASK) !== named; passed++) {
      const id = end & MASK;
      done[count + passed] = held[id];
      held[id] = 0;
      end = (end + 1) | 0;
      if (extra[id] !== 0) end = freeRest(id, end);
    }
    return end;
  }

  /** The descriptors of a frame behind its first are free too; returns the new end of the free ones. */
  function freeRest(first: number, end: number): number {
    const more = extra[first];
    extra[first] = 0;
    if (!IN_ORDER) {
      for (let i = 0, id = first; i < more; i++) {
        id = follows[id];
        freeIds[(end + i) & MASK] = id;
      }
    }
    return (end + more) | 0;
  }

  /** Bytes of the VLAN tags at the front of a frame, two at most: they do not count against the MTU (IEEE 802.3, 3.2.7). */
  function tagBytes(handle: number): number {
    const at = position[handle] + 12;
    if (dataLength[handle] < 22 || !isTag(at)) return 0;
    return isTag(at + 4) ? 8 : 4;
  }

  function isTag(at: number): boolean {
    const type = (u8[at] << 8) | u8[at + 1];
    return type === 0x8100 || type === 0x88a8; // IEEE 802.1Q, 9.5
  }

  /** Sends a frame that is not plain or has no room for its header. 0: there are too few descriptors now; 1: it was taken. */
  function slowSend(handle: number): number {
    sentBytes = 0;
    let bytes = 0;
    let pieces = 0;
    let left = SEGMENTS_LIMIT;
    for (let segment = handle; segment !== 0 && left > 0; segment = next[segment], left--) {
      bytes += dataLength[segment];
      if (dataLength[segment] !== 0) pieces++;
    }
    const start = position[handle] - HEADER_BYTES;
    const inFront =
      (kind[handle] & NOT_ITS_OWN) === 0 &&
      start >= Math.imul(handle, STRIDE) &&
      (start & 3) === 0 &&
      dataLength[handle] !== 0;
    const wanted = inFront ? pieces : pieces + 1;
    const tooLong = bytes > FRAME_MAX && bytes > FRAME_MAX + tagBytes(handle);
    if (!(bytes >= FRAME_MIN) || tooLong || wanted > SIZE) {
      // What this device cannot carry is freed, and does not stop those behind it. `put` counts what is not the sender's.
      stats[ERRORS] = stats[ERRORS] + 1;
      one[0] = handle;
      cache.put(one, 0, 1, LCORE);
      return 1;
    }
    if (wanted > free) {
      reap();
      if (wanted > free) return 0;
    }
    if (!memory.moveFrame(handle, LCORE, HOLDER)) {
      stats[ERRORS] = stats[ERRORS] + 1; // not the sender's: it is left to whoever holds it
      return 1;
    }
    sentBytes = bytes;
    const first = nextId();
    const header = inFront ? start : HEADERS + first * HEADER_STRIDE;
    fillHeader(handle, header >>> 2, bytes);
    setAddress(first, header);
    desc[first * DESC_WORDS + DESC_LEN] = HEADER_BYTES + (inFront ? dataLength[handle] : 0);
    let last = first;
    for (let s = inFront ? next[handle] : handle; s !== 0; s = next[s]) {
      if (dataLength[s] === 0) continue;
      const id = nextId();
      follows[last] = id;
      desc[last * DESC_WORDS + DESC_FLAGS] = (id << 16) | NEXT;
      setAddress(id, position[s]);
      desc[id * DESC_WORDS + DESC_LEN] = dataLength[s];
      last = id;
    }
    desc[last * DESC_WORDS + DESC_FLAGS] = 0;
    held[first] = handle;
    extra[first] = wanted - 1;
    free -= wanted;
    offer(first);
    return 1;
  }

  /** 5.1.6.2: all zero, or the checksum that the device is to complete. */
  function fillHeader(handle: number, at: number, bytes: number): void {
    let w0 = 0;
    let w1 = 0;
    let w2 = 0;
    if ((kind[handle] & FLAGGED) !== 0) {
      const start = csumStart[handle];
      const offset = csumOffset[handle];
      const wanted = (flags[handle] & FLAG_NEEDS_CSUM) !== 0 && start + offset + 2 <= bytes;
      if (wanted && CHECKSUMS) {
        w0 = NEEDS_CSUM;
        w1 = start << 16;
        w2 = offset;
      } else {
        memory.settleChecksum(handle);
      }
    }
    i32[at + HDR_FLAGS] = w0;
    i32[at + HDR_CSUM_START] = w1;
    i32[at + HDR_NUM_BUFFERS] = w2;
  }

  return function splitTxBurst(handles, n) {
    if (portWords[STATE] !== RUNNING) return 0;
    if (epochWord[0] !== epoch) begin();
    if (SIZE - free >= REAP_AT || free < n) reap();
    const word = (HOLDER << HOLDER_SHIFT) | clock[0];
    const before = offered;
    let count = 0;
    let plain = 0;
    let bytes = 0;
    while (count < n) {
      // The frames that are plain, in a run. What the functions above share is written back behind it.
      const first = count;
      const most = n - count < free ? n : count + free;
      const fromId = freeFirst - count;
      const fromEntry = offered - count;
      for (; count < most; count++) {
        const handle = handles[count];
        const size = dataLength[handle];
        const at = (position[handle] | 0) - HEADER_BYTES;
        if ((kind[handle] & SHAPE_MASK) !== 0 || (ledger[handle] & HOLDER_MASK) !== MINE) break;
        if (!(size >= FRAME_MIN && size <= FRAME_MAX)) break;
        if (at < Math.imul(handle, STRIDE) || (at & 3) !== 0) break;
        const header = at >>> 2;
        // Compared first: a frame that was made here, or sent before, leaves its line clean.
        if (i32[header + HDR_FLAGS] !== 0) i32[header + HDR_FLAGS] = 0;
        if (i32[header + HDR_CSUM_START] !== 0) i32[header + HDR_CSUM_START] = 0;
        if (i32[header + HDR_NUM_BUFFERS] !== 0) i32[header + HDR_NUM_BUFFERS] = 0;
        const id = IN_ORDER ? (fromId + count) & MASK : freeIds[(fromId + count) & MASK];
        setAddress(id, at);
        desc[id * DESC_WORDS + DESC_LEN] = size + HEADER_BYTES;
        desc[id * DESC_WORDS + DESC_FLAGS] = 0;
        held[id] = handle;
        ledger[handle] = word;
        bytes += size;
        // Compared first: a device that uses frames in order finds the entries of the last round, in lines it has.
        const entry = (fromEntry + count) & MASK;
        if (availRing[entry] !== id) availRing[entry] = id;
      }
      const run = count - first;
      offered = (offered + run) & 0xffff;
      freeFirst = (freeFirst + run) | 0;
      free -= run;
      inFlight += run;
      plain += run;
      if (count === n || slowSend(handles[count]) === 0) break;
      bytes += sentBytes;
      count++;
    }
    const sent = (offered - before) & 0xffff;
    if (sent > 0) {
      row[LCORE] = row[LCORE] - plain;
      row[HOLDER] = row[HOLDER] + plain;
      stats[PACKETS] = stats[PACKETS] + sent;
      stats[BYTES] = stats[BYTES] + bytes;
      // Publishes. The store is an xchg: it orders headers, descriptors and entries before the index, as the device's
      // read of the index before its read of them expects (2.7.13.3.1), and the index before the load of the flags
      // (2.7.13.4.1).
      Atomics.store(avail, AVAIL_INDEX, (offered << 16) | NO_INTERRUPT);
      if ((Atomics.load(used, USED_INDEX) & NO_NOTIFY) === 0) ring();
    }
    return count;
  };
}
