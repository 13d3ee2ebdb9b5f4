/** The forwarding loop over real queues, as l2fwd's turn; and what an instance of a burst function per queue is worth. */
import {
  type Frames,
  type MacWords,
  macWords,
  type RxQueue,
  specialise,
  type TxQueue,
} from "@weir/core";
import type { Prepared, Row, RowEnv } from "../row.js";
import { type AttachedPort, openStage } from "../stage.js";

const BURST = 32;
const BURSTS = 2000;
const FRAME_BYTES = 64;
/** In the rings of both ports together. */
const PRIMED_FRAMES = 256;
const MACS = macWords(Uint8Array.of(2, 0, 0, 0, 0, 0), Uint8Array.of(2, 0, 0, 0, 0, 1));

export const forwardRows: readonly Row[] = [
  {
    name: "forward.net_null",
    unit: "packet",
    reference: "C, same loop",
    prepare: (env) => prepareForward(env, "net_null"),
  },
  {
    name: "forward.net_ring",
    unit: "packet",
    reference: "C, same loop",
    prepare: (env) => prepareForward(env, "net_ring"),
  },
  {
    name: "specialise.turn",
    unit: "packet",
    reference: "weir, net_null, l2fwd's turn as it is",
    prepare: prepareTurn,
  },
  {
    name: "specialise.4-queues",
    unit: "packet",
    reference: "weir with one factory for 4 queues",
    prepare: prepareSpecialise,
  },
];

async function prepareForward(
  { addon, time }: RowEnv,
  driver: "net_null" | "net_ring",
): Promise<Prepared> {
  const { frames, ports, close } = await openStage([`${driver}0`, `${driver}1`]);
  if (driver === "net_ring") for (const { tx } of ports) prime(frames, tx, PRIMED_FRAMES / 2);
  const inC = driver === "net_null" ? addon.nullForward : addon.ringForward;
  return {
    weir: time(loopOf(crossed(ports).map(({ rx, tx }) => turnOf(rx, tx, frames)))),
    reference: time(() => inC(BURSTS)),
    units: BURST * BURSTS,
    close,
  };
}

async function prepareTurn({ time }: RowEnv): Promise<Prepared> {
  const { frames, ports, close } = await openStage(["net_null0", "net_null1"]);
  const routes = crossed(ports);
  const own = routes.map((route) =>
    specialise(turnTemplate, { ...route, frames, ...MACS, BURST }, "turn"),
  );
  return {
    weir: time(loopOf(own)),
    reference: time(loopOf(routes.map(({ rx, tx }) => turnOf(rx, tx, frames)))),
    units: BURST * BURSTS,
    close,
  };
}

/** Each port's receive queue with the other's send queue. */
function crossed(ports: readonly AttachedPort[]): { rx: RxQueue; tx: TxQueue }[] {
  return ports.map(({ rx }, i) => ({ rx, tx: ports[ports.length - 1 - i].tx }));
}

/** The turns as an lcore calls them (runTurns), less its two control words. */
function loopOf(turns: readonly (() => void)[]): () => void {
  const passes = BURSTS / turns.length;
  return () => {
    for (let pass = 0; pass < passes; pass++) for (let i = 0; i < turns.length; i++) turns[i]();
  };
}

function prime(frames: Frames, tx: TxQueue, count: number): void {
  const handles = new Uint32Array(count);
  const got = frames.allocBurst(handles, count);
  for (let i = 0; i < got; i++) frames.setLength(handles[i], FRAME_BYTES);
  tx.burstOrFree(handles, got);
}

/** l2fwd's turn (packages/apps/src/l2fwd). */
function turnOf(rx: RxQueue, tx: TxQueue, frames: Frames): () => void {
  const burst = new Uint32Array(BURST);
  const { w0, w1, w2 } = MACS;
  return () => {
    const n = rx.burst(burst, BURST);
    for (let i = 0; i < n; i++) frames.writeMacs(burst[i], w0, w1, w2);
    if (n > 0) tx.burstOrFree(burst, n);
  };
}

interface TurnConstants extends MacWords {
  readonly rx: RxQueue;
  readonly tx: TxQueue;
  readonly frames: Frames;
  readonly BURST: number;
}

/** Template: the same turn, an instance per route. */
function turnTemplate(k: TurnConstants): () => void {
  const { rx, tx, frames, w0, w1, w2, BURST } = k;
  const burst = new Uint32Array(BURST);
  return () => {
    const n = rx.burst(burst, BURST);
    for (let i = 0; i < n; i++) frames.writeMacs(burst[i], w0, w1, w2);
    if (n > 0) tx.burstOrFree(burst, n);
  };
}

interface QueueConstants {
  readonly entries: Uint32Array;
  readonly lengths: Uint32Array;
  readonly bytes: Uint32Array;
  readonly stats: Float64Array;
  readonly MASK: number;
  readonly BASE: number;
}

const QUEUES = 4;
const RING = 256;

/** Rule 1 of the hot path: a small descriptor loop, once from one shared factory and once with an instance per queue. */
async function prepareSpecialise({ time }: RowEnv): Promise<Prepared> {
  const constants = Array.from({ length: QUEUES }, (_, q): QueueConstants => {
    const entries = Uint32Array.from({ length: RING }, (_, i) => q * RING + i);
    return {
      entries,
      lengths: new Uint32Array(new SharedArrayBuffer(QUEUES * RING * 4)).fill(FRAME_BYTES),
      bytes: new Uint32Array(new SharedArrayBuffer(QUEUES * RING * 64)),
      stats: new Float64Array(2),
      MASK: RING - 1,
      BASE: q,
    };
  });
  const run = (queues: readonly ((n: number) => number)[]) => (): void => {
    for (let t = 0; t < BURSTS; t += QUEUES) for (let q = 0; q < QUEUES; q++) queues[q](BURST);
  };
  return {
    weir: time(run(constants.map((k, q) => specialise(queueTemplate, k, `bench.${q}`)))),
    reference: time(run(constants.map(queueTemplate))),
    units: BURST * BURSTS,
    close: () => [],
  };
}

/** Template. */
function queueTemplate(k: QueueConstants): (n: number) => number {
  const { entries, lengths, bytes, stats, MASK, BASE } = k;
  let next = 0;
  return (n) => {
    let sum = 0;
    for (let i = 0; i < n; i++) {
      const handle = entries[next & MASK];
      next = (next + 1) | 0;
      const length = lengths[handle];
      const at = handle << 4;
      bytes[at] = length;
      bytes[at + 1] = BASE;
      sum += length;
    }
    stats[0] = stats[0] + n;
    stats[1] = stats[1] + sum;
    return sum;
  };
}
