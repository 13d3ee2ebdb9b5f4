/** Each example does what its first line says, as a user runs it: `weir run examples/src/NAME.ts`. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const CAPTURE = join(ROOT, "packages/apps/captures/mixed-a.pcap");
const RUNNER = join(ROOT, "packages/apps/dist/test/fixtures/run-main.js");

function folder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), "weir-example-"));
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

function run(t: ExecutionContext, name: string, ...vdevs: string[]): void {
  const devices = vdevs.flatMap((vdev) => ["--vdev", vdev]);
  const file = join(ROOT, `examples/src/${name}.ts`);
  const { status, stderr } = spawnSync(
    process.execPath,
    [RUNNER, "run", file, "--no-huge", "--in-memory", ...devices],
    { encoding: "utf8", timeout: 60_000 },
  );
  t.is(stderr, "");
  t.is(status, 0);
}

/** The frames of a little-endian pcap file. */
function frames(path: string): Buffer[] {
  const file = readFileSync(path);
  const all: Buffer[] = [];
  for (let at = 24; at < file.length; ) {
    const length = file.readUInt32LE(at + 8);
    all.push(file.subarray(at + 16, at + 16 + length));
    at += 16 + length;
  }
  return all;
}

test("reflector sends every frame back with its MAC addresses exchanged", (t) => {
  const out = join(folder(t), "out.pcap");
  run(t, "reflector", `net_pcap0,rx_pcap=${CAPTURE},tx_pcap=${out}`);
  const swapped = frames(CAPTURE).map((frame) =>
    Buffer.concat([frame.subarray(6, 12), frame.subarray(0, 6), frame.subarray(12)]),
  );
  t.deepEqual(frames(out), swapped);
});

test("flood sends every frame out of every other port and out of no other", (t) => {
  const path = folder(t);
  const outs = [0, 1, 2].map((i) => join(path, `out${i}.pcap`));
  run(
    t,
    "flood",
    `net_pcap0,rx_pcap=${CAPTURE},tx_pcap=${outs[0]}`,
    `net_pcap1,tx_pcap=${outs[1]}`,
    `net_pcap2,tx_pcap=${outs[2]}`,
  );
  t.deepEqual(
    outs.map((out) => frames(out).length),
    [0, frames(CAPTURE).length, frames(CAPTURE).length],
  );
  t.deepEqual(frames(outs[1]), frames(CAPTURE));
  t.deepEqual(frames(outs[2]), frames(CAPTURE));
});
