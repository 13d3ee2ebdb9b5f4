// No garbage on virtio-net's data path: V8's own trace of its collections, between two moments of a loop that forwards
// packets over rings that a device in the same thread serves.

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import test, { type ExecutionContext } from "ava";

const FIXTURE = fileURLToPath(new URL("./fixtures/virtio-scavenge-loop.js", import.meta.url));
const NODES = [process.execPath, ...(process.env.WEIR_NODES ?? "").split(":").filter(Boolean)];

/** The trace's lines about scavenges between the markers. */
async function scavenges(
  t: ExecutionContext,
  node: string,
  args: readonly string[],
): Promise<string[]> {
  const { stdout } = await promisify(execFile)(node, ["--trace-gc", FIXTURE, ...args], {
    timeout: 110_000,
    killSignal: "SIGKILL",
    maxBuffer: 2 ** 26,
  });
  const lines = stdout.split("\n");
  const begin = lines.indexOf("--- begin");
  const end = lines.indexOf("--- end");
  t.true(begin >= 0 && end > begin, stdout.slice(-2000));
  return lines.slice(begin, end).filter((line) => line.includes("Scavenge"));
}

for (const node of NODES) {
  for (const inOrder of ["in_order=0", "in_order=1"]) {
    test.serial(
      `forwarding 10 million packets over split rings, ${inOrder}, causes not one scavenge (${node})`,
      async (t) => {
        t.timeout(120_000);
        t.deepEqual(await scavenges(t, node, [inOrder]), []);
      },
    );
  }

  test.serial(
    `one object per packet shows as scavenges in the trace over split rings (${node})`,
    async (t) => {
      t.timeout(120_000);
      t.true((await scavenges(t, node, ["in_order=0", "--allocate"])).length > 0);
    },
  );
}
