// Function instances made from a template's own text.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import test, { type ExecutionContext } from "ava";
import { SLOT_STRIDE } from "../src/memory/slot.js";
import { specialise } from "../src/specialise.js";
import { nodes } from "./fixtures/run.js";

test("a template that uses an imported name throws a ReferenceError that names it, when it is run", (t) => {
  const bad = specialise(() => () => SLOT_STRIDE, undefined, "bad");
  t.throws(bad, { instanceOf: ReferenceError, message: /SLOT_STRIDE|slot_js/ });
});

test("two instances of one template share no state, and each has its own constants", (t) => {
  const counter = (k: { step: number }): (() => number) => {
    let count = 0;
    return () => (count += k.step);
  };
  const [one, two] = [1, 10].map((step) => specialise(counter, { step }, "counter"));
  t.deepEqual([one(), one(), two(), one(), two()], [1, 2, 10, 3, 20]);
});

test("two instances with equal constants and names are two functions", (t) => {
  const template = (): (() => number) => () => 1;
  t.not(specialise(template, undefined, "same"), specialise(template, undefined, "same"));
});

/** Where an instance of this name was when it threw, as the stack trace says. */
function thrownAt(t: ExecutionContext, name: string): string | undefined {
  const template = (): (() => void) => () => {
    throw new Error("thrown inside");
  };
  const { stack = "" } = t.throws(specialise(template, undefined, name));
  return /weir:[^():]+:\d+:\d+/.exec(stack)?.[0];
}

test("an instance's name and a number of its own show in a stack trace", (t) => {
  const traces = [thrownAt(t, "p.cache"), thrownAt(t, "p.cache")];
  for (const trace of traces) t.regex(trace ?? "", /^weir:p\.cache#\d+:/);
  t.not(traces[0], traces[1]);
});

// V8 ignores a sourceURL with a space in it, and every queue's name has two.
test("a queue's name shows in a stack trace", (t) => {
  t.regex(thrownAt(t, "net_x0 rx 3") ?? "", /^weir:net_x0-rx-3#\d+:/);
});

test("an instance is strict", (t) => {
  const template = () =>
    function (this: unknown): unknown {
      return this;
    };
  t.is(specialise(template, undefined, "strict").call(undefined), undefined);
});

const COLLECT = `
  import { specialise } from ${JSON.stringify(new URL("../src/specialise.js", import.meta.url).href)};
  const keep = process.argv[1] === "keep" ? [] : undefined;
  function make(count) {
    const refs = [];
    for (let i = 0; i < count; i++) {
      const template = (k) => { let n = 0; return () => (n += k.step) };
      const instance = specialise(template, { step: i }, "instance");
      instance();
      keep?.push(instance);
      refs.push(new WeakRef(instance));
    }
    return refs;
  }
  async function heap() {
    for (let i = 0; i < 8; i++) { await new Promise(setImmediate); gc(); }
    return process.memoryUsage().heapUsed;
  }
  make(500);
  const before = await heap();
  let refs = make(10_000);
  await heap();
  const alive = refs.filter((ref) => ref.deref() !== undefined).length;
  refs = undefined;
  console.log(JSON.stringify({ alive, grown: (await heap()) - before, kept: keep?.length }));
`;
/** A tenth of what 10,000 instances take when they are kept. */
const GROWN_MAX: number = 2 ** 20;

for (const node of nodes()) {
  const collect = async (keep: string): Promise<{ alive: number; grown: number }> => {
    // Newer V8s keep the bytecode of what was run in the last 30 s: here every collection drops it.
    const args = ["--expose-gc", "--stress-flush-code", "--input-type=module", "-e", COLLECT, keep];
    const { stdout } = await promisify(execFile)(node, args, { timeout: 60_000 });
    return JSON.parse(stdout) as { alive: number; grown: number };
  };

  test(`10,000 instances that nobody keeps are collected, with what was compiled for them (${node})`, async (t) => {
    const { alive, grown } = await collect("drop");
    t.true(alive < 100, `${alive} are alive`);
    t.true(grown < GROWN_MAX, `the heap grew by ${grown}`);
  });

  test(`10,000 instances that are kept show in the same measure (${node})`, async (t) => {
    const { alive, grown } = await collect("keep");
    t.is(alive, 10_000);
    t.true(grown > GROWN_MAX, `the heap grew by ${grown}`);
  });
}
