/** Lifetime path: lcores as worker threads. */

import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { ProbeEnv } from "../ethdev/device.js";
import { native } from "../native/addon.js";
import type { LcoreState } from "./app.js";
import type { Executor, RunningLcore } from "./executor.js";
import {
  COMMAND_STOP,
  LCORE_COMMAND,
  LCORE_STATE,
  type LcoreImage,
  STATE_STOPPED,
} from "./lcore.js";
import type { LcoreMessage } from "./lcore-main.js";

/** An lcore that allocates without end dies here, and not the machine. Typed arrays do not count. */
const LCORE_HEAP_MIB_MAX = 1024;

export class ThreadedExecutor implements Executor {
  readonly probeEnv: ProbeEnv = {};
  readonly #spareCpus: readonly number[];
  readonly #start: number = performance.now();

  /** @param spareCpus where ctl and V8's threads go when the lcores leave no CPU over */
  constructor(spareCpus: readonly number[]) {
    this.#spareCpus = spareCpus;
  }

  now(): number {
    return performance.now() - this.#start;
  }

  async sleep(ms: number): Promise<void> {
    await sleep(ms);
  }

  real<T>(work: Promise<T>): Promise<T> {
    return work;
  }

  launch(image: LcoreImage, onCrash: (error: string) => void): RunningLcore {
    return new LcoreThread(image, onCrash);
  }

  clearTheWay(lcores: readonly RunningLcore[]): void {
    const taken = new Set(lcores.flatMap(({ image }) => image.cpus));
    const left = native.affinity().filter((cpu) => !taken.has(cpu));
    native.pinOthers(
      left.length > 0 ? left : this.#spareCpus,
      lcores.map(({ tid }) => tid),
    );
  }
}

class LcoreThread implements RunningLcore {
  readonly image: LcoreImage;
  tid = 0;
  #state: LcoreState = "starting";
  readonly #words: Int32Array;
  readonly #ended: Promise<void>;

  constructor(image: LcoreImage, onCrash: (error: string) => void) {
    this.image = image;
    this.#words = new Int32Array(image.words);
    const worker = new Worker(new URL("./lcore-main.js", import.meta.url), {
      workerData: image,
      name: `lcore ${image.lcore}`,
      resourceLimits: { maxOldGenerationSizeMb: LCORE_HEAP_MIB_MAX },
    });
    let reason: string | undefined;
    worker.on("message", (message: LcoreMessage) => {
      if (message.type === "crash") reason = message.error;
      else {
        this.tid = message.tid;
        this.#state = "running";
      }
    });
    // Out of memory comes as an error of the worker; a call of process.exit() comes as its exit alone.
    worker.on("error", (error: Error) => {
      reason = error.message;
    });
    this.#ended = new Promise((resolve) => {
      worker.once("exit", (code) => {
        if (Atomics.load(this.#words, LCORE_STATE) === STATE_STOPPED) this.#state = "stopped";
        else {
          this.#state = "crashed";
          onCrash(reason ?? `it called process.exit(${code})`);
        }
        resolve();
      });
    });
  }

  get state(): LcoreState {
    return this.#state;
  }

  async stop(): Promise<void> {
    Atomics.store(this.#words, LCORE_COMMAND, COMMAND_STOP);
    await this.#ended;
  }
}
