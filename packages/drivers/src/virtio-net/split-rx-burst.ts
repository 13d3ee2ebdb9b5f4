/**
 * Data path: receiving through a split virtqueue (VIRTIO 1.2, 2.7, 5.1.6.3 and 5.1.6.4).
 *
 * What the device says is checked against the shadow: `posted` tells, by descriptor, which slot lies there. A used entry
 * that names no posted buffer, a length that does not fit, a header that makes no sense cost a frame and are counted; the
 * slots stay the queue's. What the device never gives back is found by the ledger when the port stops.
 */
import type { Burst } from "@weir/core";
import type { SplitConstants } from "./split-queue.js";

export interface RxConstants extends SplitConstants {
  readonly MERGEABLE: boolean;
  /** Slots, each with a descriptor, of a posted buffer. */
  readonly SLOTS: number;
  /** Posted buffers at most. */
  readonly BUFFERS: number;
  /** Bytes of a posted buffer's first slot, and of all of it. */
  readonly FIRST: number;
  readonly POSTED: number;
  readonly HEADER_AT: number;
  /** Buffers that the longest frame spans. */
  readonly SPAN_MAX: number;
  /** The shadow: the slot at each descriptor while the device has it, else 0. */
  readonly posted: Uint32Array;
  /** First descriptors of the free buffers, in the order they are posted again. Unused with IN_ORDER. */
  readonly freeHeads: Uint16Array;
  /** Slots that the queue holds and has not posted. */
  readonly spare: Uint32Array;
  /** The slots of the frame that is being put together. */
  readonly pieces: Uint32Array;
  readonly starts: Uint32Array;
  readonly lengths: Uint32Array;
  readonly WRITE: number;
  readonly DATA_VALID: number;
  readonly FLAG_CSUM_VALID: number;
}

/** Template: see specialise.ts. */
export function splitRx(k: RxConstants): Burst {
  const { STATE, RUNNING, PACKETS, BYTES, DROPPED, ERRORS } = k;
  const { cache, portWords, epochWord, stats, clock, row, PORT, LCORE, HOLDER, HOLDER_SHIFT } = k;
  const { desc, avail, availRing, used, ring, posted, freeHeads, spare, i32 } = k;
  const { pieces, starts, lengths, low, high, GRANULE_SHIFT, GRANULE_MASK } = k;
  const { SIZE, MASK, BULK, IN_ORDER, WINDOW, HIGH, MERGEABLE, SLOTS, BUFFERS, SPAN_MAX } = k;
  const { DESC_WORDS, USED_RING, USED_ELEM_WORDS, AVAIL_INDEX, USED_INDEX } = k;
  const { DESC_LOW, DESC_HIGH, DESC_LEN, DESC_FLAGS, HDR_FLAGS, HDR_CSUM_START, HDR_NUM_BUFFERS } =
    k;
  const { FIRST, POSTED, HEADER_AT, HEADER_BYTES, FRAME_MIN, STRIDE, HEADROOM, DATA_ROOM } = k;
  const { WRITE, NEXT, NO_INTERRUPT, NO_NOTIFY, CHAINED, FLAGGED, NEEDS_CSUM, DATA_VALID } = k;
  const { FLAG_NEEDS_CSUM, FLAG_CSUM_VALID } = k;
  const { position, dataLength, packetLength, next, segments, kind, port, ledger } = k.table;
  const { flags, csumStart, csumOffset } = k.table;
  const LENGTH_MIN = HEADER_BYTES + FRAME_MIN;

  let epoch = -1;
  /** Used entries seen, and buffers made available, modulo 2^16 (2.7.6, 2.7.8). */
  let seen = 0;
  let offered = 0;
  /** Buffers that the device does not have. */
  let free = 0;
  let freeFirst = 0;
  let freeLast = 0;
  let spareCount = 0;
  /** IN_ORDER: buffers taken back, modulo 2^16; those left of a run that one used entry speaks for; the last one's length. */
  let taken = 0;
  let run = 0;
  let runLength = 0;
  /** IN_ORDER: the device's index has jumped, so that the next entry's id says which buffers it is past. */
  let adrift = false;
  /** What `look` found, and how many slots the frame of `slowFrame` has. */
  let head = 0;
  let length = 0;
  let segmentCount = 0;

  /** The device was started anew: its rings are empty, and the slots that were here have been taken back. */
  function begin(): void {
    epoch = epochWord[0];
    seen = 0;
    offered = 0;
    free = BUFFERS;
    freeFirst = 0;
    freeLast = BUFFERS;
    spareCount = 0;
    taken = 0;
    run = 0;
    adrift = false;
    posted.fill(0);
    for (let b = 0; b < BUFFERS; b++) freeHeads[b] = b * SLOTS;
    for (let id = 0; id < SIZE; id++) {
      desc[id * DESC_WORDS + DESC_HIGH] = HIGH;
      setShape(id, id % SLOTS);
    }
  }

  /** Length and flags of the descriptor of slot `s` of a buffer. */
  function setShape(id: number, s: number): void {
    desc[id * DESC_WORDS + DESC_LEN] = s === 0 ? FIRST : DATA_ROOM;
    // 2.7.5.2: with IN_ORDER the next one is the following one, and 0 after the last; without it, it may be.
    const link = s + 1 < SLOTS ? (((id + 1) & MASK) << 16) | NEXT : 0;
    desc[id * DESC_WORDS + DESC_FLAGS] = link | WRITE;
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

  /** Posts a buffer at every free place, as far as there are slots; returns how many slots are left over. */
  function postAll(have: number): number {
    const whole = SLOTS === 1 ? have : Math.floor(have / SLOTS);
    const count = whole < free ? whole : free;
    const fromTurn = offered;
    const fromHead = freeFirst;
    let left = have;
    for (let b = 0; b < count; b++) {
      const turn = (fromTurn + b) & 0xffff;
      const first = IN_ORDER ? Math.imul(turn, SLOTS) & MASK : freeHeads[(fromHead + b) & MASK];
      for (let s = 0; s < SLOTS; s++) {
        const id = SLOTS === 1 ? first : (first + s) & MASK;
        const handle = spare[--left];
        posted[id] = handle;
        setAddress(id, Math.imul(handle, STRIDE) + (s === 0 ? HEADER_AT : HEADROOM));
        if (IN_ORDER && SLOTS > 1) setShape(id, s); // a buffer starts somewhere else in each round
      }
      // Compared first: a device that gives buffers back in order finds the entries of the last round, in lines it has.
      if (availRing[turn & MASK] !== first) availRing[turn & MASK] = first;
    }
    offered = (offered + count) & 0xffff;
    freeFirst = (freeFirst + count) & 0xffff;
    free -= count;
    return left;
  }

  function refill(): void {
    const wanted = free * SLOTS;
    const before = free;
    let have = spareCount;
    if (have < wanted) have += cache.get(spare, have, wanted - have, HOLDER);
    spareCount = postAll(have);
    if (free === BUFFERS) stats[DROPPED] = stats[DROPPED] + 1; // dry: the device has no buffer at all
    if (free === before) return;
    // Publishes. The store is an xchg: it orders the descriptors and entries before the index, as the device's read of
    // the index before its read of them expects (2.7.13.3.1), and the index before the load of the flags (2.7.13.4.1).
    Atomics.store(avail, AVAIL_INDEX, (offered << 16) | NO_INTERRUPT);
    if ((Atomics.load(used, USED_INDEX) & NO_NOTIFY) === 0) ring();
  }

  /** The buffer at `head` is the queue's again, with all its slots. */
  function recycle(first: number): void {
    for (let s = 0; s < SLOTS; s++) {
      const id = (first + s) & MASK;
      spare[spareCount++] = posted[id];
      posted[id] = 0;
    }
  }

  /** The buffer at `head` is no longer with the device, and its used entry is done with. */
  function take(): void {
    seen = (seen + 1) & 0xffff;
    free++;
    if (IN_ORDER) {
      taken = (taken + 1) & 0xffff;
      run--;
    } else {
      freeHeads[freeLast & MASK] = head;
      freeLast = (freeLast + 1) & 0xffff;
    }
  }

  /** IN_ORDER: recycles the buffers before the last of a run, of which the device has not said that it used them. */
  function skipTo(last: number): void {
    for (let b = 1; b < last; b++) {
      recycle(Math.imul(taken, SLOTS) & MASK);
      taken = (taken + 1) & 0xffff;
      free++;
    }
    run = 1;
  }

  /**
   * Finds the next used buffer: `head` and `length`. False: the entry is nonsense, which is counted, and it is passed over.
   */
  function look(pending: number): boolean {
    const entry = USED_RING + (seen & MASK) * USED_ELEM_WORDS;
    if (!IN_ORDER) {
      head = used[entry];
      length = used[entry + 1];
      if ((head & ~MASK) === 0 && head % SLOTS === 0 && posted[head] !== 0) return true;
      seen = (seen + 1) & 0xffff;
      stats[ERRORS] = stats[ERRORS] + 1;
      return false;
    }
    if (free === BUFFERS) {
      seen = (seen + 1) & 0xffff;
      stats[ERRORS] = stats[ERRORS] + 1;
      return false;
    }
    const first = Math.imul(taken, SLOTS) & MASK;
    if (run === 0) {
      // 2.7.9: one entry may speak for a run of buffers, of which it names the last; those before it are full.
      const id = used[entry];
      const distance = (id - first) & MASK;
      run = distance / SLOTS + 1;
      runLength = used[entry + 1];
      if ((id & ~MASK) !== 0 || distance % SLOTS !== 0 || run > BUFFERS - free) run = 0;
      if (adrift && run > 0) skipTo(run);
      else if (run === 0 || run > pending) {
        // It names a buffer that it cannot mean. The index says that one more was used: the next one, with no length.
        run = 1;
        runLength = 0;
      }
      adrift = false;
    }
    head = Math.imul(taken, SLOTS) & MASK;
    length = run === 1 ? runLength : POSTED;
    return true;
  }

  /** Takes the buffer at `head` apart: what of its slots holds bytes joins `pieces`, the rest is recycled. */
  function takeApart(count: number): number {
    let to = count;
    let left = length;
    for (let s = 0; s < SLOTS; s++) {
      const id = (head + s) & MASK;
      const handle = posted[id];
      posted[id] = 0;
      if (left > 0) {
        const skip = s === 0 && count === 0 ? HEADER_BYTES : 0;
        const room = s === 0 ? FIRST : DATA_ROOM;
        const part = left < room ? left : room;
        pieces[to] = handle;
        starts[to] = Math.imul(handle, STRIDE) + (s === 0 ? HEADER_AT : HEADROOM) + skip;
        lengths[to] = part - skip;
        left -= part;
        to++;
      } else {
        spare[spareCount++] = handle;
      }
    }
    return to;
  }

  /** Buffers that the frame beginning at `head` spans, by its header; 0 when that cannot be. */
  function spanOf(header: number): number {
    if (length < LENGTH_MIN || length > POSTED) return 0;
    if (!MERGEABLE) return 1;
    const span = i32[header + HDR_NUM_BUFFERS] >>> 16; // num_buffers
    return span <= SPAN_MAX ? span : 0;
  }

  /** What the header says of the checksum goes into the table. False when it says what it may not. */
  function applyHeader(frame: number, w0: number, w1: number, w2: number): boolean {
    if ((w0 & 0xff00) !== 0) return false; // gso_type: no such feature was accepted
    if ((w0 & NEEDS_CSUM) !== 0) {
      const start = w1 >>> 16;
      const offset = w2 & 0xffff;
      if (start + offset + 2 > packetLength[frame]) return false;
      csumStart[frame] = start;
      csumOffset[frame] = offset;
      flags[frame] = FLAG_NEEDS_CSUM;
      kind[frame] = kind[frame] | FLAGGED;
    } else if ((w0 & DATA_VALID) !== 0) {
      flags[frame] = FLAG_CSUM_VALID;
      kind[frame] = kind[frame] | FLAGGED;
    }
    return true;
  }

  /**
   * Takes the next frame, of any shape, and moves it to the lcore: its handle. 0: what came is dropped and counted.
   * -1: the rest of it has not come yet. A device has to use a frame's buffers together (5.1.6.4.1); one that does not
   * is waited for, since `num_buffers` is no more than a few.
   */
  function slowFrame(pending: number, word: number): number {
    if (!look(pending)) return 0;
    const header = (Math.imul(posted[head], STRIDE) + HEADER_AT) >>> 2;
    const span = spanOf(header);
    if (span > pending) return -1;
    let count = 0;
    let good = span > 0;
    if (good) {
      for (let b = 0; b < span; b++) {
        if (b > 0 && !look(pending - b)) {
          good = false;
          continue;
        }
        if (length > 0 && length <= POSTED) {
          count = takeApart(count);
        } else {
          recycle(head);
          good = false;
        }
        take();
      }
    } else {
      recycle(head);
      take();
    }
    if (good && assemble(count, header)) {
      for (let i = 0; i < count; i++) ledger[pieces[i]] = word;
      segmentCount = count;
      return pieces[0];
    }
    for (let i = 0; i < count; i++) {
      next[pieces[i]] = 0;
      kind[pieces[i]] = kind[pieces[i]] & ~CHAINED;
      segments[pieces[i]] = 1;
      spare[spareCount++] = pieces[i];
    }
    stats[ERRORS] = stats[ERRORS] + 1;
    return 0;
  }

  /** Makes the pieces one frame. */
  function assemble(count: number, header: number): boolean {
    const frame = pieces[0];
    let total = 0;
    for (let i = 0; i < count; i++) {
      const handle = pieces[i];
      position[handle] = starts[i];
      dataLength[handle] = lengths[i];
      total += lengths[i];
      if (i + 1 < count) {
        next[handle] = pieces[i + 1];
        kind[handle] = kind[handle] | CHAINED;
      }
    }
    segments[frame] = count;
    packetLength[frame] = total;
    port[frame] = PORT;
    return applyHeader(
      frame,
      i32[header + HDR_FLAGS],
      i32[header + HDR_CSUM_START],
      i32[header + HDR_NUM_BUFFERS],
    );
  }

  return function splitRxBurst(handles, n) {
    if (portWords[STATE] !== RUNNING) return 0;
    if (epochWord[0] !== epoch) begin();
    // Acquires: what the device wrote before it moved the index is read after it.
    const index = Atomics.load(used, USED_INDEX) >>> 16;
    let pending = (index - seen) & 0xffff;
    if (pending > BUFFERS - free) {
      stats[ERRORS] = stats[ERRORS] + 1; // more than it was given: start over from where it says it is
      seen = index;
      run = 0;
      adrift = true;
      pending = 0;
    }
    const word = (LCORE << HOLDER_SHIFT) | clock[0];
    let count = 0;
    let bytes = 0;
    let moved = 0;
    while (count < n && pending > 0) {
      // The buffers that are plain frames, in a run. What the functions above share is written back behind it.
      const first = count;
      const most = n - count < pending ? n : count + pending;
      const fromEntry = seen - count;
      const fromHead = (IN_ORDER ? taken : freeLast) - count;
      const inRun = IN_ORDER && run !== 0;
      while (count < most) {
        const entry = USED_RING + ((fromEntry + count) & MASK) * USED_ELEM_WORDS;
        const id = used[entry];
        const size = used[entry + 1];
        const known = IN_ORDER ? id === ((fromHead + count) & MASK) : (id & ~MASK) === 0;
        if (SLOTS !== 1 || inRun || !known || size < LENGTH_MIN || size > FIRST) break;
        const handle = posted[id];
        const start = Math.imul(handle, STRIDE) + HEADER_AT;
        const header = start >>> 2;
        if (handle === 0 || (i32[header + HDR_FLAGS] & 0xffff) !== 0) break;
        if (MERGEABLE && i32[header + HDR_NUM_BUFFERS] >>> 16 !== 1) break;
        posted[id] = 0;
        if (!IN_ORDER) freeHeads[(fromHead + count) & MASK] = id;
        ledger[handle] = word;
        position[handle] = start + HEADER_BYTES;
        dataLength[handle] = size - HEADER_BYTES;
        packetLength[handle] = size - HEADER_BYTES;
        port[handle] = PORT;
        handles[count++] = handle;
        bytes += size;
      }
      const plain = count - first;
      seen = (seen + plain) & 0xffff;
      if (IN_ORDER) taken = (taken + plain) & 0xffff;
      else freeLast = (freeLast + plain) & 0xffff;
      free += plain;
      pending -= plain;
      moved += plain;
      bytes -= plain * HEADER_BYTES;
      if (count === most) break;
      const before = seen;
      const frame = slowFrame(pending, word);
      pending -= (seen - before) & 0xffff;
      if (frame < 0) break;
      if (frame === 0) continue;
      handles[count++] = frame;
      bytes += packetLength[frame];
      moved += segmentCount;
    }
    if (count > 0) {
      row[HOLDER] = row[HOLDER] - moved;
      row[LCORE] = row[LCORE] + moved;
      stats[PACKETS] = stats[PACKETS] + count;
      stats[BYTES] = stats[BYTES] + bytes;
    }
    if (free >= BULK) refill();
    return count;
  };
}
