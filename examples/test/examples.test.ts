/** Each example does what its first line says, as a user runs it: `weir run examples/src/NAME.ts`. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
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

const taps =
  process.getuid?.() === 0 && existsSync("/dev/net/tun") && spawnSync("ping", ["-V"]).status === 0;

(taps ? test : test.skip)(
  "ping-responder answers the kernel's ping for any address of the network, small and large",
  async (t) => {
    const iface = `wping${process.pid}`;
    const namespace = `weir-ping-${process.pid}`;
    const run = (...args: string[]): string => spawnSync("ip", args, { encoding: "utf8" }).stderr;
    t.is(run("netns", "add", namespace), "");
    t.teardown(() => run("netns", "del", namespace));
    const file = join(ROOT, "examples/src/ping-responder.ts");
    const child = spawn(
      process.execPath,
      [RUNNER, "run", file, "--no-huge", "--in-memory", "--vdev", `net_tap0,iface=${iface}`],
      { stdio: "ignore" },
    );
    const ended = new Promise((resolve) => child.once("exit", resolve));
    t.teardown(() => child.kill("SIGKILL"));
    for (let i = 0; i < 500 && !existsSync(`/sys/class/net/${iface}`); i++) await sleep(20);
    t.is(run("link", "set", iface, "netns", namespace), "");
    t.is(run("-n", namespace, "addr", "add", "192.0.2.1/24", "dev", iface), "");
    t.is(run("-n", namespace, "link", "set", iface, "up"), "");
    for (const [target, size] of [
      ["192.0.2.77", "56"],
      ["192.0.2.78", "56"],
      ["192.0.2.200", "1400"],
    ]) {
      const { stdout } = spawnSync(
        "ip",
        [
          "netns",
          "exec",
          namespace,
          "ping",
          "-c",
          "1", // after a first reply ping waits two round trips for the rest, however long -W says
          "-W",
          "10",
          "-s",
          size,
          target,
        ],
        { encoding: "utf8" },
      );
      t.regex(stdout, / 0% packet loss/, stdout);
    }
    child.kill("SIGTERM");
    t.is(await ended, 0);
  },
);
