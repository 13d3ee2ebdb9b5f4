/** pktgen: what it sends is what was asked for, exactly as often and as fast as was asked for. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Session, SteppedExecutor } from "@weir/core";
import { vdevs as drivers } from "@weir/drivers";
import test, { type ExecutionContext } from "ava";
import { ROOT, weir } from "./fixtures/weir.js";

const CAPTURE = join(ROOT, "packages/apps/captures/mixed-b.pcap");
const PKTGEN = new URL("../src/pktgen/index.js", import.meta.url).href;
const noTcpdump = spawnSync("tcpdump", ["--version"]).status !== 0;

interface Report {
  readonly ports: readonly { tx: number; rx: number; txBytes: number; txPerSecond: number }[];
  readonly buffers: { total: number; free: number };
}

async function pktgen(t: ExecutionContext, vdev: string, ...options: string[]): Promise<Report> {
  const { code, stdout, stderr } = await weir(
    "pktgen",
    "--no-huge",
    "--in-memory",
    "--vdev",
    vdev,
    "--",
    "--json",
    ...options,
  );
  t.is(stderr, "");
  t.is(code, 0);
  const report = JSON.parse(stdout) as Report;
  t.is(report.buffers.free, report.buffers.total);
  return report;
}

function outFile(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), "weir-pktgen-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return join(folder, "out.pcap");
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

test("exactly the count is sent, and all of it comes back through a ring", async (t) => {
  const report = await pktgen(t, "net_ring0", "--count", "123457");
  t.like(report.ports[0], { tx: 123457, rx: 123457, txBytes: 123457 * 60 });
});

test("a capture is sent exactly as often as --loop says, in order and byte for byte", async (t) => {
  const out = outFile(t);
  await pktgen(t, `net_pcap0,tx_pcap=${out}`, "-s", `0:${CAPTURE}`, "--loop", "3");
  const once = frames(CAPTURE);
  t.is(frames(out).length, 3 * once.length);
  t.deepEqual(frames(out), [...once, ...once, ...once]);
});

(noTcpdump ? test.skip : test)(
  "generated frames have the size that was asked for and checksums that tcpdump accepts",
  async (t) => {
    for (const size of [64, 65, 1518, 9018]) {
      const out = outFile(t);
      await pktgen(
        t,
        `net_pcap0,tx_pcap=${out}`,
        "--size",
        String(size),
        "--count",
        "5",
        "--destination",
        "02:00:00:00:00:09",
      );
      t.deepEqual(
        frames(out).map((frame) => frame.length),
        [1, 2, 3, 4, 5].map(() => size - 4),
      );
      const text = execFileSync("tcpdump", ["-r", out, "-n", "-e", "-vv"], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      });
      t.is(text.match(/> 02:00:00:00:00:09/g)?.length, 5);
      t.is(
        text.match(/198\.18\.0\.1\.1234 > 198\.18\.0\.2\.5678: \[udp sum ok\]/g)?.length,
        5,
        text,
      );
      t.false(text.includes("bad cksum"));
    }
  },
);

test("the rate is kept to the frame, and a capture's own times to the microsecond, by the virtual clock", async (t) => {
  const run = async (
    appOptions: Record<string, string | boolean | string[]>,
  ): Promise<{ tx: number; seconds: number }> => {
    const executor = new SteppedExecutor(7);
    const session = await Session.open({
      module: PKTGEN,
      vdevs: ["net_null0,no-rx=1"],
      drivers,
      lcores: [{ id: 1, cpus: [0] }],
      executor,
      hugepages: false,
      memoryMib: 64,
      appOptions: { json: true, ...appOptions },
      log: (line) => t.fail(line),
    });
    const { status } = await executor.run(session.run());
    return { tx: status.ports[0].tx, seconds: status.elapsedSeconds };
  };
  for (const [rate, perSecond] of [
    ["10k", 10_000],
    ["250k", 250_000],
  ] as const) {
    const { tx, seconds } = await run({ rate, run: "0.5" });
    t.true(
      Math.abs(tx - perSecond * seconds) <= 0.002 * perSecond + 1,
      `${tx} frames in ${seconds} s at ${rate}`,
    );
  }
});
