// No garbage on the data path: V8's own trace of its collections, between two moments of a loop that forwards packets.

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import test, { type ExecutionContext } from "ava";

const FIXTURE = fileURLToPath(new URL("./fixtures/scavenge-loop.js", import.meta.url));
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
  for (const device of ["net_null0", "net_ring0"]) {
    test.serial(
      `forwarding 10 million packets over ${device} causes not one scavenge (${node})`,
      async (t) => {
        t.timeout(120_000);
        t.deepEqual(await scavenges(t, node, [device]), []);
      },
    );
  }

  test.serial(`one object per packet shows as scavenges in the same trace (${node})`, async (t) => {
    t.timeout(120_000);
    t.true((await scavenges(t, node, ["net_null0", "--allocate"])).length > 0);
  });
}
