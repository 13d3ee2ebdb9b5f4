/** weir's l2fwd beside DPDK's testpmd: two whole programs, launched in turn. */
import { readFileSync, writeFileSync } from "node:fs";
import { hugepages, native } from "@weir/core";
import { type Spread, spread } from "../measure.js";
import type { RowResult } from "../result.js";
import { type Contender, gatedRates } from "./contender.js";
import { findTestpmd, startTestpmd } from "./testpmd.js";
import { startWeir } from "./weir.js";

export interface TestpmdRow {
  readonly name: string;
  readonly driver: "net_null" | "net_ring";
  readonly hugepages: boolean;
}

const ROUNDS = 3;
const WINDOWS_MIN = 3;
/** Of testpmd's `tx_first`: 128 frames into each ring. */
const PRIME_BURSTS = 4;
const NR_HUGEPAGES = "/proc/sys/vm/nr_hugepages";
const HUGEPAGES_NEEDED = 300;
const HUGEPAGES_WANTED = 512;
/** As a shell counts it: 128 and the signal. */
const EXIT_INTERRUPTED = 130;

export function testpmdRows(huge: boolean): readonly TestpmdRow[] {
  return [false, ...(huge ? [true] : [])].flatMap((pages) =>
    (["net_null", "net_ring"] as const).map((driver) => ({
      name: `testpmd.${driver}${pages ? ".hugepages" : ""}`,
      driver,
      hugepages: pages,
    })),
  );
}

/** Both sides in turn, three times; cycles per packet from gated windows. */
export async function measureTestpmd(
  row: TestpmdRow,
  options: { readonly seconds: number; readonly cpu: number; readonly tscHz: number },
): Promise<RowResult> {
  const head = { row: row.name, unit: "packet", reference: "testpmd mac, one core" };
  const program = findTestpmd();
  if (program === undefined) return { ...head, skipped: "dpdk-testpmd is not installed" };
  const mainCpu = native.affinity().find((cpu) => cpu !== options.cpu);
  if (mainCpu === undefined) return { ...head, skipped: "it needs two CPUs" };
  const restore = row.hugepages ? reserveHugepages() : () => undefined;
  if (typeof restore === "string") return { ...head, skipped: restore };
  try {
    return { ...head, ...(await race(row, program, mainCpu, options)) };
  } catch (error) {
    return { ...head, skipped: error instanceof Error ? error.message : String(error) };
  } finally {
    restore();
  }
}

async function race(
  { driver, hugepages: pages }: TestpmdRow,
  program: string,
  mainCpu: number,
  {
    seconds,
    cpu,
    tscHz,
  }: { readonly seconds: number; readonly cpu: number; readonly tscHz: number },
): Promise<Partial<RowResult>> {
  const windows = Math.max(WINDOWS_MIN, Math.ceil(seconds * 2));
  const primeBursts = driver === "net_ring" ? PRIME_BURSTS : 0;
  const where = { driver, hugepages: pages, cpu, mainCpu };
  const cycles = { weir: [] as number[], testpmd: [] as number[] };
  const ratios: number[] = [];
  let refused = 0;
  const measure = async (start: () => Promise<Contender>, into: number[]): Promise<Spread> => {
    const contender = await start();
    try {
      const gated = await gatedRates(contender, windows);
      refused += gated.refused;
      const each = gated.rates.map((rate) => tscHz / rate);
      into.push(...each);
      return spread(each);
    } finally {
      await contender.close();
    }
  };
  for (let round = 0; round < ROUNDS; round++) {
    const weir = await measure(() => startWeir(where), cycles.weir);
    const peer = await measure(
      () => startTestpmd({ ...where, program, primeBursts }),
      cycles.testpmd,
    );
    ratios.push(weir.p50 / peer.p50);
  }
  return {
    weir: spread(cycles.weir),
    referenceCycles: spread(cycles.testpmd),
    ratio: spread(ratios),
    pairs: ROUNDS,
    refused,
  };
}

/** Hugepages for the while of a row; returns how to give them back, or why there are none. */
function reserveHugepages(): (() => void) | string {
  if (hugepages().free >= HUGEPAGES_NEEDED) return () => undefined;
  const before = readFileSync(NR_HUGEPAGES, "utf8").trim();
  const interrupted = (): void => process.exit(EXIT_INTERRUPTED);
  const restore = (): void => {
    process.off("exit", restore).off("SIGINT", interrupted).off("SIGTERM", interrupted);
    writeFileSync(NR_HUGEPAGES, before);
  };
  try {
    writeFileSync(NR_HUGEPAGES, String(Number(before) + HUGEPAGES_WANTED));
  } catch (error) {
    return `hugepages cannot be reserved: ${(error as Error).message}`;
  }
  process.once("exit", restore).once("SIGINT", interrupted).once("SIGTERM", interrupted);
  const { free } = hugepages();
  if (free >= HUGEPAGES_NEEDED) return restore;
  restore();
  return `the system has only ${free} of ${HUGEPAGES_NEEDED} hugepages`;
}
