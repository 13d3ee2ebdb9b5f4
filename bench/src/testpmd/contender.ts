/** A process that forwards, watched from outside: its packets, and whether its polling thread had its CPU. */
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export interface Contender {
  readonly pid: number;
  /** Packets received by all ports so far, and when that was, in ns of the monotonic clock. */
  packets(): Promise<Reading>;
  close(): Promise<void>;
}

export interface Reading {
  readonly packets: number;
  readonly atNs: number;
  /** By how much `atNs` may be wrong. */
  readonly doubtNs: number;
}

const WARMUP_MS = 1000;
const WINDOW_MS = 500;
const ON_CPU_MIN = 0.985;
const DOUBT_MAX = 0.01;
/** Windows looked at for each that counts. */
const TRIES_PER_WINDOW = 10;

export function nowNs(): number {
  return Number(process.hrtime.bigint());
}

/** Packets per second in `windows` windows of half a second in which the polling thread kept its CPU. @throws Error */
export async function gatedRates(
  contender: Contender,
  windows: number,
): Promise<{ rates: number[]; refused: number }> {
  const before = cpuTimes(contender.pid);
  await sleep(WARMUP_MS);
  const tid = busiest(before, cpuTimes(contender.pid));
  const rates: number[] = [];
  let refused = 0;
  while (rates.length < windows) {
    if (refused > windows * TRIES_PER_WINDOW)
      throw new Error("the polling thread never kept its CPU: the machine is too busy");
    const cpu = cpuNs(contender.pid, tid);
    const cpuFrom = nowNs();
    const first = await contender.packets();
    await sleep(WINDOW_MS);
    const last = await contender.packets();
    const share = (cpuNs(contender.pid, tid) - cpu) / (nowNs() - cpuFrom);
    const ns = last.atNs - first.atNs;
    if (share < ON_CPU_MIN || (first.doubtNs + last.doubtNs) / ns > DOUBT_MAX) refused++;
    else rates.push(((last.packets - first.packets) / ns) * 1e9);
  }
  return { rates, refused };
}

function cpuTimes(pid: number): Map<string, number> {
  return new Map(readdirSync(`/proc/${pid}/task`).map((tid) => [tid, cpuNs(pid, tid)]));
}

function cpuNs(pid: number, tid: string): number {
  // proc(5): the first figure of schedstat is the time spent on the CPU, in ns.
  return Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, "utf8").split(" ", 1)[0]);
}

function busiest(before: Map<string, number>, after: Map<string, number>): string {
  let found = "";
  let most = -1;
  for (const [tid, ns] of after) {
    const spent = ns - (before.get(tid) ?? 0);
    if (spent > most) {
      most = spent;
      found = tid;
    }
  }
  return found;
}
