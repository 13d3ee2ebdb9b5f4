/** Data path of net_pcap: copies from a loaded capture, and stages a burst of records for one write. */
import {
  type Burst,
  type BurstConstants,
  burstConstants,
  FRAME_BYTES_MAX,
  type LcoreMemory,
  native,
  type QueueImage,
  SEGMENTS_LIMIT,
  specialise,
} from "@weir/core";
import type { Capture } from "../pcap-file.js";
import { PCAP_RECORD_HEADER_BYTES, writePcapRecordHeader } from "../pcap-write.js";

export interface PcapRxParams {
  /** None: nothing is ever received. */
  readonly capture: Capture | undefined;
  readonly infinite: boolean;
}

export interface PcapTxParams {
  /** -1: frames are sent to nobody. */
  readonly fd: number;
}

/** Frames written with one call; a longer burst is taken up to here. */
const BURST_MAX = 64;
const STAGE_BYTES: number = BURST_MAX * (PCAP_RECORD_HEADER_BYTES + FRAME_BYTES_MAX);

interface RxConstants extends BurstConstants {
  readonly capture: Uint8Array;
  readonly offsets: Uint32Array;
  readonly lengths: Uint32Array;
  readonly pieces: Uint32Array;
  readonly FRAMES: number;
  readonly INFINITE: boolean;
}

export function attachRx(queue: QueueImage, memory: LcoreMemory): Burst {
  const { capture, infinite } = queue.params as PcapRxParams;
  return specialise(
    pcapRx,
    {
      ...burstConstants(queue, memory),
      capture: new Uint8Array(capture?.bytes ?? new SharedArrayBuffer(0)),
      offsets: capture?.offsets ?? new Uint32Array(0),
      lengths: capture?.lengths ?? new Uint32Array(0),
      pieces: new Uint32Array(SEGMENTS_LIMIT),
      FRAMES: capture?.frames ?? 0,
      INFINITE: infinite,
    },
    queue.name,
  );
}

/** Template: see specialise.ts. */
function pcapRx(k: RxConstants): Burst {
  const { STATE, RUNNING, FINISHED, PACKETS, BYTES } = k;
  const { cache, u8, portWords, words, stats, capture, offsets, lengths, pieces } = k;
  const { PORT, LCORE, STRIDE, HEADROOM, DATA_ROOM, CHAINED, FRAMES, INFINITE } = k;
  const { position, dataLength, packetLength, next, segments, kind, port } = k.table;
  let at = 0;

  return function pcapRxBurst(handles, n) {
    if (portWords[STATE] !== RUNNING) return 0;
    let count = 0;
    let bytes = 0;
    while (count < n) {
      if (at === FRAMES) {
        if (!INFINITE) {
          if (count === 0) words[FINISHED] = 1; // finished: everything was handed over by an earlier burst
          break;
        }
        at = 0;
      }
      const length = lengths[at];
      const wanted = Math.ceil(length / DATA_ROOM);
      const got = cache.get(pieces, 0, wanted, LCORE);
      if (got < wanted) {
        cache.put(pieces, 0, got, LCORE); // dry: the frame waits in the capture, nothing is lost
        break;
      }
      const from = offsets[at];
      for (let s = 0; s < wanted; s++) {
        const handle = pieces[s];
        const to = handle * STRIDE + HEADROOM;
        const done = s * DATA_ROOM;
        const part = length - done < DATA_ROOM ? length - done : DATA_ROOM;
        for (let b = 0; b < part; b++) u8[to + b] = capture[from + done + b];
        position[handle] = to;
        dataLength[handle] = part;
        if (s + 1 < wanted) {
          next[handle] = pieces[s + 1];
          kind[handle] = kind[handle] | CHAINED;
        }
      }
      const head = pieces[0];
      segments[head] = wanted;
      packetLength[head] = length;
      port[head] = PORT;
      handles[count++] = head;
      bytes += length;
      at++;
    }
    stats[PACKETS] = stats[PACKETS] + count;
    stats[BYTES] = stats[BYTES] + bytes;
    return count;
  };
}

interface TxConstants extends BurstConstants {
  readonly FD: number;
  readonly stage: Uint8Array;
  readonly status: Int32Array;
  readonly bytesWrite: typeof native.bytesWrite;
  readonly writeRecordHeader: typeof writePcapRecordHeader;
  readonly clockOrigin: number;
  readonly BURST_MAX: number;
  readonly RECORD_HEADER: number;
}

export function attachTx(queue: QueueImage, memory: LcoreMemory): Burst {
  return specialise(
    pcapTx,
    {
      ...burstConstants(queue, memory),
      FD: (queue.params as PcapTxParams).fd,
      stage: new Uint8Array(STAGE_BYTES),
      status: new Int32Array(1),
      bytesWrite: native.bytesWrite,
      writeRecordHeader: writePcapRecordHeader,
      clockOrigin: performance.timeOrigin,
      BURST_MAX,
      RECORD_HEADER: PCAP_RECORD_HEADER_BYTES,
    },
    queue.name,
  );
}

/** Template: see specialise.ts. */
function pcapTx(k: TxConstants): Burst {
  const { STATE, RUNNING, ERRNO, PACKETS, BYTES, ERRORS } = k;
  const { cache, memory, u8, portWords, words, stats, stage, status, bytesWrite } = k;
  const { writeRecordHeader, LCORE, HOLDER_SHIFT, HOLDER_MASK, FLAGGED } = k;
  const { FD, BURST_MAX, RECORD_HEADER, clockOrigin } = k;
  const { position, dataLength, packetLength, next, kind, ledger } = k.table;
  const MINE = LCORE << HOLDER_SHIFT;

  return function pcapTxBurst(handles, n) {
    if (portWords[STATE] !== RUNNING || words[ERRNO] !== 0) return 0;
    let count = n < BURST_MAX ? n : BURST_MAX;
    const now = clockOrigin + performance.now();
    const seconds = Math.floor(now / 1000);
    const nanoseconds = Math.floor((now - seconds * 1000) * 1e6);
    let to = 0;
    let bytes = 0;
    let good = 0;
    let refused = 0;
    for (let i = 0; i < count; i++) {
      const handle = handles[i];
      if ((ledger[handle] & HOLDER_MASK) !== MINE) {
        refused++; // `put` below leaves it to whoever holds it
        continue;
      }
      const length = packetLength[handle];
      if (to + RECORD_HEADER + length > stage.length) {
        count = i; // the stage has room for any one frame: the rest is the caller's for now
        break;
      }
      if ((kind[handle] & FLAGGED) !== 0) memory.settleChecksum(handle); // nobody behind a file completes it
      to = writeRecordHeader(stage, to, seconds, nanoseconds, length, length);
      for (let segment = handle; segment !== 0; segment = next[segment]) {
        const from = position[segment];
        const part = dataLength[segment];
        for (let b = 0; b < part; b++) stage[to + b] = u8[from + b];
        to += part;
      }
      bytes += length;
      good++;
    }
    if (FD >= 0 && bytesWrite(FD, stage, 0, to, status) < to) {
      // A record was cut: the file ends here, and so does the queue. ctl says so at the end.
      words[ERRNO] = status[0];
      return 0;
    }
    cache.put(handles, 0, count, LCORE);
    stats[PACKETS] = stats[PACKETS] + good;
    stats[BYTES] = stats[BYTES] + bytes;
    if (refused > 0) stats[ERRORS] = stats[ERRORS] + refused;
    return count;
  };
}
