/**
 * What runs on an lcore: the queues of its routes are attached, the application makes a turn for each, and the loop
 * calls the turns for ever. The same code runs in a worker (lcore-main.ts) and under the stepped scheduler.
 */
import { usageError } from "../errors.js";
import { attachRxQueue, attachTxQueue, type QueueImage, type TxQueue } from "../ethdev/queue.js";
import { attachFrames } from "../mempool/frames.js";
import { attachLcoreMemory, type LcoreMemory, type MemoryImage } from "../mempool/lcore-memory.js";
import type { AppSpec, LcoreEnv, PortInfo, Turn } from "./app.js";

/** What ctl posts to an lcore. */
export interface LcoreImage {
  readonly lcore: number;
  readonly cpus: readonly number[];
  /** Row of its counters. */
  readonly thread: number;
  readonly holder: number;
  readonly memory: MemoryImage;
  readonly pool: number;
  readonly ports: readonly PortInfo[];
  /** URL of the application's module. */
  readonly module: string;
  readonly shared: unknown;
  readonly routes: readonly { readonly rx: QueueImage; readonly tx: readonly QueueImage[] }[];
  /** Control words. */
  readonly words: SharedArrayBuffer;
}

/** Control words of an lcore, each on a cache line of its own. */
export const LCORE_COMMAND = 0; // written by ctl
export const COMMAND_RUN = 0;
export const COMMAND_STOP = 1;
/** Turns of the loop: the quiescent points it has passed. Written by the lcore. */
export const LCORE_PASSED = 16;
export const LCORE_STATE = 32; // written by the lcore; 0: starting
export const STATE_RUNNING = 1;
export const STATE_STOPPED = 2;
export const STATE_CRASHED = 3;
export const LCORE_WORDS_BYTES: number = 48 * 4;

export interface AttachedLcore {
  readonly memory: LcoreMemory;
  readonly turns: readonly Turn[];
}

/** Makes the turns of an lcore in the calling thread. */
export async function attachLcore(image: LcoreImage, now: () => number): Promise<AttachedLcore> {
  const memory = attachLcoreMemory(image.memory, image.thread, image.holder);
  const frames = attachFrames(memory, image.pool);
  const txQueues = new Map<QueueImage["memory"], TxQueue>();
  const turns: Turn[] = [];
  for (const [i, route] of image.routes.entries()) {
    const spec = await importApp(instanceOf(image.module, i));
    const rx = await attachRxQueue(route.rx, memory);
    const tx = new Map<number, TxQueue>();
    for (const queue of route.tx) {
      // Two routes of an lcore that send to one port share its queue there: a queue has one writer and one instance.
      const attached = txQueues.get(queue.memory) ?? (await attachTxQueue(queue, memory));
      txQueues.set(queue.memory, attached);
      tx.set(queue.port, attached);
    }
    const txTo = (port: number): TxQueue => {
      const queue = tx.get(port);
      if (queue === undefined)
        throw new RangeError(
          `the route of port ${rx.port} does not send to port ${port}: name it in sendsTo`,
        );
      return queue;
    };
    const env: LcoreEnv<unknown> = {
      lcore: image.lcore,
      port: image.ports.find(({ id }) => id === rx.port) as PortInfo,
      ports: image.ports,
      rx,
      get tx() {
        return txTo(rx.port);
      },
      txTo,
      frames,
      now,
      shared: image.shared,
    };
    turns.push(spec.lcore(env));
  }
  return { memory, turns };
}

/**
 * The application's module again for each further route of an lcore: a turn, like a burst function, is fast only while its
 * source made one closure (specialise.ts; two turns of one instance cost 25 cycles a packet instead of 17, bench:
 * specialise.turn). Its imports are shared. As many instances live as an lcore has routes, for good.
 */
function instanceOf(module: string, route: number): string {
  return route === 0 ? module : `${module}?route=${route}`;
}

/** The application that a module exports. @throws WeirError usage when it exports none, or what its own code throws */
export async function importApp(module: string): Promise<AppSpec<unknown>> {
  const { default: spec } = (await import(module).catch((error: unknown) => {
    if ((error as { code?: unknown }).code !== "ERR_UNKNOWN_FILE_EXTENSION") throw error;
    throw usageError(
      `Node ${process.version} does not run ${module}: compile it to JavaScript first, or use Node 24`,
    );
  })) as { default?: AppSpec<unknown> };
  if (typeof spec?.lcore !== "function")
    throw usageError(`${module} does not export an application: export default app({ … })`);
  return spec;
}

/** Runs the turns until ctl says stop. Data path. */
export function runTurns(turns: readonly Turn[], words: Int32Array): void {
  let passed = words[LCORE_PASSED];
  while (Atomics.load(words, LCORE_COMMAND) === COMMAND_RUN) {
    for (let i = 0; i < turns.length; i++) (turns[i] as Turn)();
    passed = (passed + 1) | 0;
    // The quiescent point. A full fence: what this turn stored into queues is seen by whoever sees the count.
    Atomics.store(words, LCORE_PASSED, passed);
  }
}
