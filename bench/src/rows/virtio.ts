/** The forwarding loop over virtio-net's split rings, beside the same driver in C. One device, in C, serves both. */
import {
  type Frames,
  type MacWords,
  macWords,
  native,
  type RxQueue,
  specialise,
  type TxQueue,
} from "@weir/core";
import { cyclesToNs, type Sampler } from "../measure.js";
import type { BenchAddon } from "../native.js";
import type { Prepared, Row, RowEnv } from "../row.js";
import { openStage } from "../stage.js";
import { type RingParams, virtioRings } from "../virtio-rings.js";

const BURST = 32;
const PORTS = 2;
/** Of a sample. In each the device has its turn, and each port receives a burst that the other sends. */
const PASSES = 1000;
/** Before anything is measured: the rings are filled, the first frames come. */
const WARM_UP = 1000;
const MACS = macWords(Uint8Array.of(2, 0, 0, 0, 0, 0), Uint8Array.of(2, 0, 0, 0, 0, 1));

export const virtioRows: readonly Row[] = [
  { name: "forward.virtio", unit: "packet", reference: "C, same loop", prepare },
];

async function prepare({ addon, tscHz }: RowEnv): Promise<Prepared> {
  const { lcore, frames, ports, close } = await openStage(
    ["net_rings0", "net_rings1"],
    [virtioRings],
  );
  const offsets = ports.flatMap(({ port }) =>
    [...port.rxQueues, ...port.txQueues].flatMap(({ params }) => {
      const { descriptors, available, used } = (params as RingParams).rings;
      return [descriptors, available, used];
    }),
  );
  addon.virtioSetup(lcore.arena.u8, Uint32Array.from(offsets));

  const turns = ports.map(({ rx }, i) =>
    specialise(turnTemplate, { rx, tx: ports[PORTS - 1 - i].tx, frames, ...MACS, BURST }, "turn"),
  );
  const forward = (passes: number): void => {
    for (let pass = 0; pass < passes; pass++) {
      addon.virtioServe(PORTS);
      for (let i = 0; i < turns.length; i++) turns[i]();
    }
  };
  const idle = (passes: number): void => {
    for (let pass = 0; pass < passes; pass++) addon.virtioServe(0);
  };

  forward(WARM_UP);
  addon.virtioForward(WARM_UP);
  const before = [countsOf(addon, true), countsOf(addon, false)];
  return {
    weir: sampler(addon, tscHz, true, forward, idle),
    reference: sampler(addon, tscHz, false, addon.virtioForward, addon.virtioIdle),
    units: PASSES * PORTS * BURST,
    close() {
      const stats = ports.map(({ port }) => port.stats());
      const problems = [true, false].flatMap((weir, i) => {
        const { starved, bad, errors } = countsOf(addon, weir);
        const who = weir ? "weir" : "C";
        return [
          ...(starved > before[i].starved ? [`${who}: the device had too few buffers`] : []),
          ...(bad > 0 ? [`${who}: ${bad} bad descriptors or frames`] : []),
          ...(errors > 0 ? [`${who}: ${errors} errors`] : []),
        ];
      });
      for (const { rxErrors, rxNoBuffer, txErrors, dropped } of stats) {
        if (rxErrors + rxNoBuffer + txErrors + dropped > 0)
          problems.push(`weir: errors ${rxErrors} ${txErrors}, drops ${rxNoBuffer} ${dropped}`);
      }
      return [...problems, ...close()];
    },
  };
}

interface TurnConstants extends MacWords {
  readonly rx: RxQueue;
  readonly tx: TxQueue;
  readonly frames: Frames;
  readonly BURST: number;
}

/** Template: l2fwd's turn, an instance per route as an lcore makes it. */
function turnTemplate(k: TurnConstants): () => void {
  const { rx, tx, frames, w0, w1, w2, BURST } = k;
  const burst = new Uint32Array(BURST);
  return () => {
    const n = rx.burst(burst, BURST);
    frames.writeMacsBurst(burst, n, w0, w1, w2);
    if (n > 0) tx.burstOrFree(burst, n);
  };
}

interface Counts {
  readonly cycles: number;
  readonly starved: number;
  readonly bad: number;
  readonly errors: number;
}

function countsOf(addon: BenchAddon, weir: boolean): Counts {
  const [cycles, , , starved, bad, errors] = addon.virtioCounts(weir ? 1 : 0);
  return { cycles, starved, bad, errors };
}

/** Time without the device: its own by its clock, and the calls of it by as many calls in which it does nothing. */
function sampler(
  addon: BenchAddon,
  tscHz: number,
  weir: boolean,
  work: (passes: number) => void,
  idle: (passes: number) => void,
): Sampler {
  const outside = (run: (passes: number) => void): { all: number; driver: number } => {
    const served = countsOf(addon, weir).cycles;
    const start = native.tsc();
    run(PASSES);
    const all = native.tsc() - start;
    return { all, driver: all - (countsOf(addon, weir).cycles - served) };
  };
  return () => {
    const cpu = addon.cpuNs(0);
    const start = native.tsc();
    const busy = outside(work);
    const calls = outside(idle);
    const elapsed = native.tsc() - start;
    return {
      cycles: busy.driver - calls.driver,
      onCpu: (addon.cpuNs(0) - cpu) / cyclesToNs(elapsed, tscHz),
    };
  };
}
