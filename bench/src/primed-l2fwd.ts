/**
 * l2fwd as it is, with two additions on the outside: the rings of net_ring ports are filled first, since nothing else
 * would ever come out of them, and ctl's statistics can be watched.
 */
import type { AppSpec, LcoreEnv, Plan } from "@weir/core";

/** In each ring; testpmd's `start tx_first 4`. */
const FRAMES = 128;
const FRAME_BYTES = 64;

const { default: l2fwd } = (await import(
  new URL("./l2fwd/index.js", import.meta.resolve("@weir/apps")).href
)) as { default: AppSpec };

let watcher: NonNullable<Plan<unknown>["done"]> = () => false;

/** `done` of the plan: called with every status, ends the run when it holds. */
export function watch(done: NonNullable<Plan<unknown>["done"]>): void {
  watcher = done;
}

const primed: AppSpec = {
  ...l2fwd,
  setup(env) {
    if (l2fwd.setup === undefined) throw new TypeError("l2fwd has no plan");
    return { ...l2fwd.setup(env), done: (status) => watcher(status) };
  },
  lcore(env) {
    if (env.port.driver === "net_ring") prime(env);
    return l2fwd.lcore(env);
  },
  onEnd: () => undefined,
};
export default primed;

function prime({ port, txTo, frames, shared }: LcoreEnv): void {
  const { destination } = shared as { destination: Readonly<Record<number, number>> };
  const handles = new Uint32Array(FRAMES);
  const got = frames.allocBurst(handles, FRAMES);
  for (let i = 0; i < got; i++) frames.setLength(handles[i], FRAME_BYTES);
  txTo(destination[port.id]).burstOrFree(handles, got);
}
