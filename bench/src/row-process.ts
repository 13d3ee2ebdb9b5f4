/**
 * One row in a process of its own: what V8 learnt from one row changes the next (README). Its arguments are the row's
 * place in the list and the seconds; it answers its parent with a RowReply and ends.
 */
import { native } from "@weir/core";
import { measurePairs, measureTscHz, type Pairs, sampler } from "./measure.js";
import { loadBenchAddon } from "./native.js";
import { rows } from "./rows/index.js";

export type RowReply =
  | { readonly type: "pairs"; readonly pairs: Pairs; readonly problems: readonly string[] }
  | { readonly type: "skipped"; readonly reason: string };

async function measure(index: number, seconds: number, cpu: number): Promise<RowReply> {
  const row = rows[index];
  if (row === undefined) throw new RangeError(`there is no row ${index}`);
  const others = native.affinity().filter((each) => each !== cpu);
  native.pin([cpu]);
  // V8's compiler threads among them: they must not take the CPU that is measured on.
  if (others.length > 0) native.pinOthers(others, []);
  const addon = loadBenchAddon();
  const tscHz = measureTscHz();
  const prepared = await row.prepare({
    addon,
    otherCpu: others[0],
    tscHz,
    time: (work) => sampler(addon, tscHz, work),
  });
  const pairs = await measurePairs({ ...prepared, name: row.name, seconds, tscHz });
  return { type: "pairs", pairs, problems: await prepared.close() };
}

const [index, seconds, cpu] = process.argv.slice(2).map(Number) as [number, number, number];
let reply: RowReply;
try {
  reply = await measure(index, seconds, cpu);
} catch (error) {
  reply = { type: "skipped", reason: error instanceof Error ? error.message : String(error) };
}
process.send?.(reply, () => process.exit(0));
