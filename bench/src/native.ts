/** The typed face of the bench's own addon (bench/native): weir's loops again in C, and a thread's CPU time. */
import { createRequire } from "node:module";

/** `bursts` bursts of 32, or of what the function says. */
type Loop = (bursts: number) => void;

export interface BenchAddon {
  readonly pool: Loop;
  readonly mpmc: (times: number, bulk: number) => void;
  readonly spsc: Loop;
  readonly ledger: Loop;
  readonly swapMacs: Loop;
  readonly writeMacs: Loop;
  readonly nullForward: Loop;
  readonly ringForward: Loop;
  /** SPSC ring between the caller and a thread on `producerCpu`: [cycles, ns that both threads ran at least]. */
  readonly acrossThreads: (packets: number, producerCpu: number) => [number, number];
  /** CPU time of a thread of this process in ns, by its system id; 0: the calling one. */
  readonly cpuNs: (tid: number) => number;
}

// Relative to the compiled file, bench/dist/src/native.js.
const ADDON_PATH = "../../native/build/Release/weir_bench.node";

/** @throws Error when it was not built */
export function loadBenchAddon(): BenchAddon {
  try {
    return createRequire(import.meta.url)(ADDON_PATH) as BenchAddon;
  } catch (cause) {
    throw new Error("the bench addon could not be loaded: run `./weir build`", { cause });
  }
}
