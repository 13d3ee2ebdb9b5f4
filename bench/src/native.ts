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
  /** Tells the device of the virtio rows where weir's rings are: descriptors, available, used, of each port's two queues. */
  readonly virtioSetup: (arena: Uint8Array, offsets: Uint32Array) => void;
  /** The device's turn at weir's two ports; with 0 it does nothing. */
  readonly virtioServe: (ports: number) => void;
  /** Device and driver in C; `virtioIdle`: as many turns of a device that does nothing. */
  readonly virtioForward: Loop;
  readonly virtioIdle: Loop;
  /** Of weir's device (1) or that of C: [cycles, received, sent, turns short of buffers, bad descriptors and frames, errors]. */
  readonly virtioCounts: (weir: number) => [number, number, number, number, number, number];
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
