// The order of loads and stores that the data path relies on (hot path rule 6): a property of V8 and x86-64, so it is
// tested with every Node that WEIR_NODES names.

import test from "ava";
import { nodes, runFixture } from "./fixtures/run.js";

const claims = {
  "spin plain": "plain loads in an optimised loop see a word that a worker flips",
  "spin atomic": "Atomics.load in an optimised loop sees a word that a worker flips",
  "publish atomic": "payload is never older than an index published with Atomics.store",
  "publish plain": "plain aligned stores of a worker are seen in program order",
};

for (const node of nodes()) {
  for (const [name, claim] of Object.entries(claims)) {
    // Serial: each needs two CPUs for itself.
    test.serial(`${claim} (${node})`, async (t) => {
      t.timeout(60_000);
      const ended = await runFixture(node, "order", [name]);
      t.log(ended.output.trim());
      t.is(ended.code, 0);
    });
  }
}
