/** Entry of an lcore's worker thread. */
import process from "node:process";
import { parentPort, workerData } from "node:worker_threads";
import { native } from "../native/addon.js";
import {
  attachLcore,
  LCORE_STATE,
  type LcoreImage,
  runTurns,
  STATE_CRASHED,
  STATE_RUNNING,
  STATE_STOPPED,
} from "./lcore.js";

/** What a worker tells ctl. */
export type LcoreMessage =
  | { readonly type: "ready"; readonly tid: number }
  | { readonly type: "crash"; readonly error: string };

const image = workerData as LcoreImage;
const words = new Int32Array(image.words);
const tell = (message: LcoreMessage): void => parentPort?.postMessage(message);

try {
  native.pin([...image.cpus]);
  const { memory, turns } = await attachLcore(image, () => performance.now());
  Atomics.store(words, LCORE_STATE, STATE_RUNNING);
  tell({ type: "ready", tid: native.gettid() });
  runTurns(turns, words);
  memory.flush();
  Atomics.store(words, LCORE_STATE, STATE_STOPPED);
} catch (error) {
  Atomics.store(words, LCORE_STATE, STATE_CRASHED);
  tell({
    type: "crash",
    error: error instanceof Error ? (error.stack ?? error.message) : String(error),
  });
}
// Whatever the application left open, a timer or a socket, must not keep a finished lcore alive: ctl waits for its end.
process.exit();
