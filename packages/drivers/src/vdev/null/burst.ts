/** Data path of net_null. */
import {
  type Burst,
  type BurstConstants,
  burstConstants,
  type LcoreMemory,
  type QueueImage,
  specialise,
} from "@weir/core";

export interface NullParams {
  /** Bytes of each received frame. */
  readonly size: number;
  /** Writes the bytes of each received frame, and reads those of each sent one, as a device's copy would. */
  readonly copy: boolean;
  readonly receives: boolean;
}

interface NullConstants extends BurstConstants {
  readonly SIZE: number;
  readonly COPY: boolean;
  readonly RECEIVES: boolean;
  /** Stands for the device's memory. */
  readonly dummy: Uint8Array;
}

export function attachRx(queue: QueueImage, memory: LcoreMemory): Burst {
  return specialise(nullRx, constants(queue, memory), queue.name);
}

export function attachTx(queue: QueueImage, memory: LcoreMemory): Burst {
  return specialise(nullTx, constants(queue, memory), queue.name);
}

function constants(queue: QueueImage, memory: LcoreMemory): NullConstants {
  const { size, copy, receives } = queue.params as NullParams;
  return {
    ...burstConstants(queue, memory),
    SIZE: size,
    COPY: copy,
    RECEIVES: receives,
    dummy: new Uint8Array(2048),
  };
}

/** Template: see specialise.ts. */
function nullRx(k: NullConstants): Burst {
  const { STATE, RUNNING, PACKETS, BYTES, DROPPED } = k;
  const {
    cache,
    u8,
    portWords,
    stats,
    dummy,
    PORT,
    LCORE,
    STRIDE,
    HEADROOM,
    SIZE,
    COPY,
    RECEIVES,
  } = k;
  const { position, dataLength, packetLength, port } = k.table;
  return function nullRxBurst(handles, n) {
    if (portWords[STATE] !== RUNNING || !RECEIVES) return 0;
    const got = cache.get(handles, 0, n, LCORE);
    for (let i = 0; i < got; i++) {
      const handle = handles[i];
      const at = handle * STRIDE + HEADROOM;
      position[handle] = at;
      dataLength[handle] = SIZE;
      packetLength[handle] = SIZE;
      port[handle] = PORT;
      if (COPY) for (let b = 0; b < SIZE; b++) u8[at + b] = dummy[b];
    }
    stats[PACKETS] = stats[PACKETS] + got;
    stats[BYTES] = stats[BYTES] + got * SIZE;
    if (got < n) stats[DROPPED] = stats[DROPPED] + n - got;
    return got;
  };
}

/** Template: see specialise.ts. */
function nullTx(k: NullConstants): Burst {
  const { STATE, RUNNING, PACKETS, BYTES, ERRORS, HOLDER_SHIFT, HOLDER_MASK } = k;
  const { cache, u8, portWords, stats, dummy, LCORE, COPY } = k;
  const { position, dataLength, packetLength, ledger } = k.table;
  const MINE = LCORE << HOLDER_SHIFT;
  return function nullTxBurst(handles, n) {
    if (portWords[STATE] !== RUNNING) return 0;
    let bytes = 0;
    let refused = 0;
    for (let i = 0; i < n; i++) {
      const handle = handles[i];
      if ((ledger[handle] & HOLDER_MASK) !== MINE) {
        refused++; // `put` below leaves it to whoever holds it
        continue;
      }
      bytes = (bytes + packetLength[handle]) | 0;
      if (COPY) {
        const at = position[handle];
        const length = dataLength[handle];
        for (let b = 0; b < length; b++) dummy[b] = u8[at + b];
      }
    }
    cache.put(handles, 0, n, LCORE);
    stats[PACKETS] = stats[PACKETS] + n - refused;
    stats[BYTES] = stats[BYTES] + bytes;
    if (refused > 0) stats[ERRORS] = stats[ERRORS] + refused;
    return n;
  };
}
