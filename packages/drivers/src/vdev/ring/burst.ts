/** Data path of net_ring. A frame in the ring is held by the send queue that put it there. */
import {
  attachSpscConsumer,
  attachSpscProducer,
  type Burst,
  type BurstConstants,
  burstConstants,
  type LcoreMemory,
  type QueueImage,
  type SpscConsumer,
  type SpscProducer,
  type SpscRingImage,
  specialise,
} from "@weir/core";

export function attachRx(queue: QueueImage, memory: LcoreMemory): Burst {
  const ring = attachSpscConsumer(queue.params as SpscRingImage, queue.name);
  return specialise(ringRx, { ...burstConstants(queue, memory), ring }, queue.name);
}

export function attachTx(queue: QueueImage, memory: LcoreMemory): Burst {
  const ring = attachSpscProducer(queue.params as SpscRingImage, queue.name);
  return specialise(ringTx, { ...burstConstants(queue, memory), ring }, queue.name);
}

/** Template: see specialise.ts. */
function ringRx(k: BurstConstants & { readonly ring: SpscConsumer }): Burst {
  const { STATE, RUNNING, PACKETS, BYTES } = k;
  const { ring, memory, portWords, stats, clock, row, PORT, LCORE, HOLDER_SHIFT, CHAINED } = k;
  const { ledger, kind, packetLength, port } = k.table;
  return function ringRxBurst(handles, n) {
    if (portWords[STATE] !== RUNNING) return 0;
    const ready = ring.ready(n);
    if (ready === 0) return 0;
    const word = (LCORE << HOLDER_SHIFT) | clock[0];
    let bytes = 0;
    let from = ledger[0] >>> HOLDER_SHIFT;
    let run = 0;
    ring.popBurst(handles, ready);
    for (let i = 0; i < ready; i++) {
      const handle = handles[i];
      const owner = ledger[handle] >>> HOLDER_SHIFT;
      if ((kind[handle] & CHAINED) === 0) {
        if (owner !== from) {
          row[from] = row[from] - run;
          row[LCORE] = row[LCORE] + run;
          from = owner;
          run = 0;
        }
        ledger[handle] = word;
        run++;
      } else {
        memory.moveFrame(handle, owner, LCORE);
      }
      port[handle] = PORT;
      bytes = (bytes + packetLength[handle]) | 0;
    }
    row[from] = row[from] - run;
    row[LCORE] = row[LCORE] + run;
    ring.release();
    stats[PACKETS] = stats[PACKETS] + ready;
    stats[BYTES] = stats[BYTES] + bytes;
    return ready;
  };
}

/** Template: see specialise.ts. */
function ringTx(k: BurstConstants & { readonly ring: SpscProducer }): Burst {
  const { STATE, RUNNING, PACKETS, BYTES, ERRORS } = k;
  const {
    ring,
    memory,
    portWords,
    stats,
    clock,
    row,
    LCORE,
    HOLDER,
    HOLDER_SHIFT,
    HOLDER_MASK,
    CHAINED,
  } = k;
  const { ledger, kind, packetLength } = k.table;
  const MINE = LCORE << HOLDER_SHIFT;
  return function ringTxBurst(handles, n) {
    if (portWords[STATE] !== RUNNING) return 0;
    const room = ring.room(n);
    if (room === 0) return 0;
    const word = (HOLDER << HOLDER_SHIFT) | clock[0];
    let bytes = 0;
    let plain = 0;
    let refused = 0;
    for (let i = 0; i < room; i++) {
      const handle = handles[i];
      if ((kind[handle] & CHAINED) === 0 && (ledger[handle] & HOLDER_MASK) === MINE) {
        ledger[handle] = word;
        plain++;
      } else if (!memory.moveFrame(handle, LCORE, HOLDER)) {
        refused++; // not the sender's: it is left to whoever holds it
        continue;
      }
      bytes = (bytes + packetLength[handle]) | 0;
      handles[i - refused] = handle; // what is refused leaves no gap
    }
    ring.pushBurst(handles, room - refused);
    ring.publish();
    row[LCORE] = row[LCORE] - plain;
    row[HOLDER] = row[HOLDER] + plain;
    stats[PACKETS] = stats[PACKETS] + room - refused;
    stats[BYTES] = stats[BYTES] + bytes;
    if (refused > 0) stats[ERRORS] = stats[ERRORS] + refused;
    return room;
  };
}
