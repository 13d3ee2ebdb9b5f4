/** dpdk-testpmd as a contender: `mac` forwarding between two virtual devices on one core. */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Contender, nowNs, type Reading } from "./contender.js";

/** Buffers of both sides, as a session of weir with up to four queues. */
const BUFFERS = 8192;
const MEMORY_MIB = 512;
const START_MS = 20_000;
const REPLY_MS = 5000;
const END_MS = 5000;
const PROMPT = "testpmd> ";
const LAST_PORT = 1;

/** Where it is installed; undefined when it is not. */
export function findTestpmd(): string | undefined {
  for (const directory of (process.env.PATH ?? "").split(delimiter)) {
    const path = join(directory, "dpdk-testpmd");
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not in this directory
    }
  }
  return undefined;
}

/** @throws Error with what it printed, when it does not start */
export async function startTestpmd(options: {
  readonly program: string;
  readonly driver: string;
  readonly hugepages: boolean;
  readonly cpu: number;
  readonly mainCpu: number;
  /** Bursts that each port sends first, to fill rings. */
  readonly primeBursts: number;
}): Promise<Contender> {
  const { program, driver, hugepages, cpu, mainCpu, primeBursts } = options;
  const eal = [
    ...["--no-pci", "-m", String(MEMORY_MIB), "--lcores", `0@${mainCpu},1@${cpu}`],
    ...["--vdev", `${driver}0`, "--vdev", `${driver}1`],
    ...(hugepages ? ["--in-memory"] : ["--no-huge", "--file-prefix", `weir-bench-${process.pid}`]),
  ];
  const app = ["-i", "--forward-mode=mac", `--total-num-mbufs=${BUFFERS}`];
  // Into a pipe it would buffer its statistics until it ends. stdbuf becomes testpmd: the process id is the same.
  const child = spawn("stdbuf", ["-oL", program, ...eal, "--", ...app], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  const talk = new Talk(child);
  try {
    await talk.until(PROMPT, START_MS);
    await talk.ask(primeBursts > 0 ? `start tx_first ${primeBursts}` : "start", PROMPT);
  } catch (error) {
    await end(child);
    throw error;
  }
  return {
    pid: child.pid as number,
    async packets(): Promise<Reading> {
      const sent = nowNs();
      // It echoes what it is asked behind another prompt, so the prompt is not the end of its answer.
      const first = await talk.ask("show port stats all", `statistics for port ${LAST_PORT}`);
      const text = first + (await talk.until("RX-errors", REPLY_MS));
      const got = nowNs();
      const counts = [...text.matchAll(/RX-packets:\s*(\d+)/g)].map(([, count]) => Number(count));
      if (counts.length !== LAST_PORT + 1)
        throw new Error(`testpmd answered ${JSON.stringify(text)}`);
      const doubtNs = (got - sent) / 2;
      return { packets: counts.reduce((a, b) => a + b, 0), atNs: sent + doubtNs, doubtNs };
    },
    async close() {
      child.stdin?.write("quit\n");
      await end(child);
    },
  };
}

/** Waits for the end, and brings it about when it does not come. */
async function end(child: ChildProcess): Promise<void> {
  const over = (): boolean => child.exitCode !== null || child.signalCode !== null;
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    const deadline = nowNs() + END_MS * 1e6;
    while (!over() && nowNs() < deadline) await sleep(10);
    if (over()) return;
    child.kill(signal);
  }
}

/** What it prints, and what was seen of it. */
class Talk {
  readonly #child: ChildProcess;
  #text = "";
  #seen = 0;
  #wake: () => void = () => undefined;
  #over = false;

  constructor(child: ChildProcess) {
    this.#child = child;
    const take = (data: Buffer): void => {
      this.#text += data.toString();
      this.#wake();
    };
    child.stdout?.on("data", take);
    child.stderr?.on("data", take);
    child.stdin?.on("error", () => undefined); // it is gone: `until` says so
    child.once("close", () => {
      this.#over = true;
      this.#wake();
    });
  }

  ask(command: string, until: string): Promise<string> {
    this.#seen = this.#text.length;
    this.#child.stdin?.write(`${command}\n`);
    return this.until(until, REPLY_MS);
  }

  async until(end: string, timeoutMs: number): Promise<string> {
    const deadline = nowNs() + timeoutMs * 1e6;
    for (;;) {
      const at = this.#text.indexOf(end, this.#seen);
      if (at >= 0) {
        const text = this.#text.slice(this.#seen, at);
        this.#seen = at + end.length;
        return text;
      }
      if (this.#over || nowNs() > deadline)
        throw new Error(`testpmd did not start or answer: ${this.#text.slice(-300)}`);
      await Promise.race([
        new Promise<void>((resolve) => {
          this.#wake = resolve;
        }),
        sleep(50),
      ]);
    }
  }
}
