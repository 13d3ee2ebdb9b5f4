/** Data path of net_tap: one native call per burst, which reads or writes a frame per system call. */
import { constants as os } from "node:os";
import {
  type Burst,
  type BurstConstants,
  burstConstants,
  type LcoreMemory,
  native,
  type QueueImage,
  SEGMENTS_LIMIT,
  SEGMENTS_MAX,
  specialise,
} from "@weir/core";

export interface TapParams {
  readonly fd: number;
}

/** Frames moved with one call; a longer burst is taken up to here. */
const BURST_MAX = 64;

interface RxConstants extends BurstConstants {
  readonly FD: number;
  readonly BURST_MAX: number;
  readonly SEGS: number;
  readonly framesRead: typeof native.framesRead;
  /** The slots that are posted, SEGS for each frame of a burst, and where their data goes. */
  readonly posted: Uint32Array;
  readonly positions: Uint32Array;
  readonly lengths: Uint32Array;
  readonly status: Int32Array;
}

export function attachRx(queue: QueueImage, memory: LcoreMemory): Burst {
  return specialise(
    tapRx,
    {
      ...burstConstants(queue, memory),
      FD: (queue.params as TapParams).fd,
      BURST_MAX,
      SEGS: SEGMENTS_MAX,
      framesRead: native.framesRead,
      posted: new Uint32Array(BURST_MAX * SEGMENTS_MAX),
      positions: new Uint32Array(BURST_MAX * SEGMENTS_MAX),
      lengths: new Uint32Array(BURST_MAX),
      status: new Int32Array(1),
    },
    queue.name,
  );
}

/** Template: see specialise.ts. */
function tapRx(k: RxConstants): Burst {
  const { STATE, RUNNING, PACKETS, BYTES, ERRORS } = k;
  const {
    cache,
    portWords,
    stats,
    clock,
    row,
    framesRead,
    posted,
    positions,
    lengths,
    status,
    u8,
  } = k;
  const {
    FD,
    BURST_MAX,
    SEGS,
    PORT,
    LCORE,
    HOLDER,
    HOLDER_SHIFT,
    STRIDE,
    HEADROOM,
    DATA_ROOM,
    CHAINED,
  } = k;
  const { position, dataLength, packetLength, next, segments, kind, port, ledger } = k.table;
  /** Frames at the front of `posted` that may lack slots. */
  let holes = BURST_MAX;

  /** Posts slots until every frame has all of its own; returns how many at the front have. */
  function refill(): number {
    for (let i = 0; i < holes * SEGS; i++) {
      if (posted[i] !== 0) continue;
      if (cache.get(posted, i, 1, HOLDER) === 0) return Math.floor(i / SEGS);
      positions[i] = posted[i] * STRIDE + HEADROOM;
    }
    holes = 0;
    return BURST_MAX;
  }

  return function tapRxBurst(handles, n) {
    if (portWords[STATE] !== RUNNING) return 0;
    const wanted = n < BURST_MAX ? n : BURST_MAX;
    const full = holes === 0 ? BURST_MAX : refill();
    const ready = full < wanted ? full : wanted;
    if (ready === 0) return 0; // dry: frames wait in the kernel, which counts what it has to drop
    const read = framesRead(FD, u8, positions, SEGS, DATA_ROOM, ready, lengths, status);
    if (read === 0) return 0;
    const word = (LCORE << HOLDER_SHIFT) | clock[0];
    let count = 0;
    let bytes = 0;
    let moved = 0;
    for (let i = 0; i < read; i++) {
      const length = lengths[i];
      if (length >= SEGS * DATA_ROOM) {
        stats[ERRORS] = stats[ERRORS] + 1; // cut by the kernel: its slots stay posted
        continue;
      }
      const used = Math.ceil(length / DATA_ROOM);
      const first = i * SEGS;
      for (let s = 0; s < used; s++) {
        const handle = posted[first + s];
        const left = length - s * DATA_ROOM;
        ledger[handle] = word;
        position[handle] = positions[first + s];
        dataLength[handle] = left < DATA_ROOM ? left : DATA_ROOM;
        if (s + 1 < used) {
          next[handle] = posted[first + s + 1];
          kind[handle] = kind[handle] | CHAINED;
        }
      }
      const head = posted[first];
      for (let s = 0; s < used; s++) posted[first + s] = 0;
      segments[head] = used;
      packetLength[head] = length;
      port[head] = PORT;
      handles[count++] = head;
      bytes += length;
      moved += used;
    }
    if (holes < read) holes = read;
    row[HOLDER] = row[HOLDER] - moved;
    row[LCORE] = row[LCORE] + moved;
    stats[PACKETS] = stats[PACKETS] + count;
    stats[BYTES] = stats[BYTES] + bytes;
    return count;
  };
}

interface TxConstants extends BurstConstants {
  readonly FD: number;
  readonly BURST_MAX: number;
  readonly SEGS_LIMIT: number;
  readonly framesWrite: typeof native.framesWrite;
  readonly positions: Uint32Array;
  readonly lengths: Uint32Array;
  readonly counts: Uint8Array;
  readonly status: Int32Array;
  /** The errno values that a frame is refused with for its own sake. */
  readonly EINVAL: number;
  readonly EMSGSIZE: number;
}

export function attachTx(queue: QueueImage, memory: LcoreMemory): Burst {
  return specialise(
    tapTx,
    {
      ...burstConstants(queue, memory),
      FD: (queue.params as TapParams).fd,
      BURST_MAX,
      SEGS_LIMIT: SEGMENTS_LIMIT,
      framesWrite: native.framesWrite,
      positions: new Uint32Array(BURST_MAX * SEGMENTS_LIMIT),
      lengths: new Uint32Array(BURST_MAX * SEGMENTS_LIMIT),
      counts: new Uint8Array(BURST_MAX),
      status: new Int32Array(1),
      EINVAL: os.errno.EINVAL,
      EMSGSIZE: os.errno.EMSGSIZE,
    },
    queue.name,
  );
}

/** Template: see specialise.ts. */
function tapTx(k: TxConstants): Burst {
  const { STATE, RUNNING, PACKETS, BYTES, ERRORS } = k;
  const { cache, u8, portWords, stats, memory, framesWrite, positions, lengths, counts, status } =
    k;
  const { FD, BURST_MAX, LCORE, HOLDER_SHIFT, HOLDER_MASK, SEGS_LIMIT, EINVAL, EMSGSIZE } = k;
  const { FLAGGED } = k;
  const { position, dataLength, packetLength, next, kind, ledger } = k.table;
  const MINE = LCORE << HOLDER_SHIFT;

  return function tapTxBurst(handles, n) {
    if (portWords[STATE] !== RUNNING) return 0;
    const wanted = n < BURST_MAX ? n : BURST_MAX;
    let staged = 0;
    let flat = 0;
    while (staged < wanted) {
      const handle = handles[staged];
      if ((ledger[handle] & HOLDER_MASK) !== MINE) break; // what comes before it is sent first
      if ((kind[handle] & FLAGGED) !== 0) memory.settleChecksum(handle); // nobody behind a tap completes it
      let count = 0;
      for (let segment = handle; segment !== 0 && count < SEGS_LIMIT; segment = next[segment]) {
        positions[flat] = position[segment];
        lengths[flat] = dataLength[segment];
        flat++;
        count++;
      }
      counts[staged++] = count;
    }
    if (staged === 0) {
      if (wanted > 0) {
        // Not the sender's: `moveFrame` counts it; it is left to whoever holds it.
        memory.moveFrame(handles[0], LCORE, LCORE);
        stats[ERRORS] = stats[ERRORS] + 1;
        return 1;
      }
      return 0;
    }
    let taken = framesWrite(FD, u8, positions, lengths, counts, staged, status);
    let bytes = 0;
    for (let i = 0; i < taken; i++) bytes += packetLength[handles[i]];
    stats[PACKETS] = stats[PACKETS] + taken;
    stats[BYTES] = stats[BYTES] + bytes;
    if (taken < staged && (status[0] === EINVAL || status[0] === EMSGSIZE)) {
      taken++; // a frame that this interface cannot carry: it is freed, and does not stop those behind it
      stats[ERRORS] = stats[ERRORS] + 1;
    }
    cache.put(handles, 0, taken, LCORE);
    return taken;
  };
}
