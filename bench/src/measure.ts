/**
 * How a row is measured: pairs of samples, one of weir and one of its reference, in turn in one process (A B A B).
 *
 * A sample is a few hundred microseconds of work between two reads of the time stamp counter. A pair counts only when
 * each thread in it was on its CPU for 98.5 % of the sample; otherwise it is measured again. tinybench warms up and
 * spends the time budget.
 */
import { native } from "@weir/core";
import { Bench } from "tinybench";
import type { BenchAddon } from "./native.js";

export interface Sample {
  /** TSC cycles in all. */
  readonly cycles: number;
  /** Share of the time that the thread (of several: the worst) was on its CPU. */
  readonly onCpu: number;
}

export type Sampler = () => Sample;

/** p50 with its spread. */
export interface Spread {
  readonly p10: number;
  readonly p50: number;
  readonly p90: number;
}

export interface Pairs {
  readonly weir: Spread;
  readonly reference: Spread;
  /** weir / reference, of each pair. */
  readonly ratio: Spread;
  readonly pairs: number;
  /** Pairs that did not count. */
  readonly refused: number;
}

const ON_CPU_MIN = 0.985;
/** Tries at one pair before the machine is called too busy. */
const TRIES_MAX = 2000;
const WARMUP_MS = 300;

/** TSC cycles per second, against the system's clock. */
export function measureTscHz(): number {
  const start = process.hrtime.bigint();
  const first = native.tsc();
  let ns = 0;
  while (ns < 50e6) ns = Number(process.hrtime.bigint() - start);
  return ((native.tsc() - first) / ns) * 1e9;
}

/** A sampler of work in the calling thread. */
export function sampler(addon: BenchAddon, tscHz: number, work: () => void): Sampler {
  return () => {
    const cpu = addon.cpuNs(0);
    const start = native.tsc();
    work();
    const cycles = native.tsc() - start;
    return { cycles, onCpu: (addon.cpuNs(0) - cpu) / cyclesToNs(cycles, tscHz) };
  };
}

export function cyclesToNs(cycles: number, tscHz: number): number {
  return (cycles / tscHz) * 1e9;
}

/** @param units packets (or entries, or buffers) of one sample. @throws Error when no sample passes the gate */
export async function measurePairs(options: {
  readonly name: string;
  readonly weir: Sampler;
  readonly reference: Sampler;
  readonly units: number;
  readonly seconds: number;
  readonly tscHz: number;
}): Promise<Pairs> {
  const { name, units, tscHz } = options;
  const weir: number[] = [];
  const reference: number[] = [];
  let refused = 0;
  const toMs = (cycles: number): number => cyclesToNs(cycles, tscHz) / 1e6;

  const bench = new Bench({
    time: options.seconds * 1000,
    warmupTime: WARMUP_MS,
    throws: true,
    timestampProvider: {
      name: "tsc",
      fn: () => native.tsc(),
      fromMs: (ms) => (ms * tscHz) / 1000,
      toMs: (cycles) => toMs(Number(cycles)),
    },
  });
  bench.add(
    name,
    () => {
      const start = native.tsc();
      for (let tries = 0; tries < TRIES_MAX; tries++) {
        const a = options.weir();
        const b = options.reference();
        if (a.onCpu < ON_CPU_MIN || b.onCpu < ON_CPU_MIN) {
          refused++;
          continue;
        }
        weir.push(a.cycles / units);
        reference.push(b.cycles / units);
        return {
          overriddenDuration: toMs(a.cycles),
          overriddenIterationCost: toMs(native.tsc() - start),
        };
      }
      throw new Error(
        `no sample in ${TRIES_MAX} kept its CPU: the machine is too busy to measure on`,
      );
    },
    {
      beforeAll() {
        // Of the warm-up and of the run: what was before is not counted.
        weir.length = 0;
        reference.length = 0;
        refused = 0;
      },
    },
  );
  await bench.run();

  return {
    weir: spread(weir),
    reference: spread(reference),
    ratio: spread(weir.map((cycles, i) => cycles / reference[i])),
    pairs: weir.length,
    refused,
  };
}

export function spread(values: readonly number[]): Spread {
  const sorted = Float64Array.from(values).sort();
  const at = (q: number): number => sorted[Math.round(q * (sorted.length - 1))] ?? Number.NaN;
  return { p10: at(0.1), p50: at(0.5), p90: at(0.9) };
}
