/**
 * The two ways to run: what a session needs of whoever runs its lcores. Threaded (threaded.ts) for load and the real
 * thing; stepped (stepped.ts) for tests, in one thread under a virtual clock, replayed from a seed.
 */

import type { ProbeEnv } from "../ethdev/device.js";
import type { LcoreState } from "./app.js";
import type { LcoreImage } from "./lcore.js";

export interface Executor {
  /** Milliseconds since the executor was made. */
  now(): number;
  sleep(ms: number): Promise<void>;
  readonly probeEnv: ProbeEnv;
  /** Waits for work of the real world, such as an import: no virtual time passes meanwhile. */
  real<T>(work: Promise<T>): Promise<T>;
  /** Starts an lcore. Its state tells how far it is; `onCrash` is called once if it dies before it was told to stop. */
  launch(image: LcoreImage, onCrash: (error: string) => void): RunningLcore;
  /** Called once when all lcores run: whatever else runs makes way for them. */
  clearTheWay(lcores: readonly RunningLcore[]): void;
}

export interface RunningLcore {
  readonly image: LcoreImage;
  readonly state: LcoreState;
  /** Thread id of the system; 0 when it has no thread of its own. */
  readonly tid: number;
  /** Resolves when the lcore has left its loop and will touch nothing any more. Tells it to stop; does not wait for it to obey. */
  stop(): Promise<void>;
}
