/** l2fwd from capture to capture, read back by tcpdump: every frame, in order, byte for byte. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { type Ended, ownPrefix, ROOT, weir } from "./fixtures/weir.js";

const CAPTURES = join(ROOT, "packages/apps/captures");
const A = join(CAPTURES, "mixed-a.pcap");
const B = join(CAPTURES, "mixed-b.pcap");
const noTcpdump = spawnSync("tcpdump", ["--version"]).status !== 0;

interface Report {
  readonly ports: readonly {
    rx: number;
    tx: number;
    dropped: number;
    rxBytes: number;
    txBytes: number;
    mac?: string;
  }[];
  readonly buffers: { total: number; free: number; held: Record<string, number> };
  readonly mappings: number;
}

/** The frames of a capture as tcpdump prints them, one hexadecimal string each. */
function frames(path: string): string[] {
  const text = execFileSync("tcpdump", ["-r", path, "-t", "-n", "-xx"], {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const all: string[] = [];
  for (const line of text.split("\n")) {
    const hex = /^\s+0x[0-9a-f]+: {2}([0-9a-f ]+)/.exec(line)?.[1];
    if (hex === undefined) {
      if (line !== "" && !/^\s/.test(line)) all.push("");
    } else all.push((all.pop() ?? "") + hex.replaceAll(" ", ""));
  }
  return all;
}

async function forward(
  t: ExecutionContext,
  ...options: string[]
): Promise<{ report: Report; out0: string; out1: string; ended: Ended }> {
  const folder = mkdtempSync(join(tmpdir(), "weir-l2fwd-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const out0 = join(folder, "out0.pcap");
  const out1 = join(folder, "out1.pcap");
  const vdevs = [
    "--vdev",
    `net_pcap0,rx_pcap=${A},tx_pcap=${out0}`,
    "--vdev",
    `net_pcap1,rx_pcap=${B},tx_pcap=${out1}`,
  ];
  const ended = await weir(
    "l2fwd",
    "--no-huge",
    "--file-prefix",
    ownPrefix(),
    ...vdevs,
    "--",
    "-p",
    "0x3",
    "--json",
    ...options,
  );
  t.is(ended.stderr, "");
  t.is(ended.code, 0);
  return { report: JSON.parse(ended.stdout) as Report, out0, out1, ended };
}

(noTcpdump ? test.skip : test)(
  "every frame of one capture is in the other's output, in order, with new MAC addresses and nothing else changed",
  async (t) => {
    const { report, out0, out1 } = await forward(t);
    for (const [input, output, destination] of [
      [A, out1, 1],
      [B, out0, 0],
    ] as const) {
      const before = frames(input);
      const after = frames(output);
      t.true(before.length > 200);
      t.is(after.length, before.length);
      const lengths = before.map((frame) => frame.length / 2);
      t.is(Math.min(...lengths), 14);
      t.is(Math.max(...lengths), 9014);
      t.deepEqual(
        after.map((frame) => frame.slice(24)),
        before.map((frame) => frame.slice(24)),
      );
      t.deepEqual(
        new Set(after.map((frame) => frame.slice(0, 12))),
        new Set([`02000000000${destination}`]),
      );
      t.is(new Set(after.map((frame) => frame.slice(12, 24))).size, 1);
    }
    const bytes = (path: string): number =>
      frames(path).reduce((sum, frame) => sum + frame.length / 2, 0);
    const [port0, port1] = report.ports;
    t.like(port0, {
      rx: frames(A).length,
      tx: frames(B).length,
      dropped: 0,
      rxBytes: bytes(A),
      txBytes: bytes(B),
    });
    t.like(port1, {
      rx: frames(B).length,
      tx: frames(A).length,
      dropped: 0,
      rxBytes: bytes(B),
      txBytes: bytes(A),
    });
    t.is(report.buffers.free, report.buffers.total);
    t.deepEqual(report.buffers.held, {});
    t.is(report.mappings, 0);
  },
);

(noTcpdump ? test.skip : test)(
  "with --no-mac-updating the outputs are the inputs, byte for byte",
  async (t) => {
    const { out0, out1 } = await forward(t, "--no-mac-updating");
    t.deepEqual(frames(out1), frames(A));
    t.deepEqual(frames(out0), frames(B));
  },
);

(noTcpdump ? test.skip : test)(
  "a portmap that joins a port to itself sends its frames back out of it",
  async (t) => {
    const { out0, out1 } = await forward(t, "--no-mac-updating", "--portmap", "(0,0)(1,1)");
    t.deepEqual(frames(out0), frames(A));
    t.deepEqual(frames(out1), frames(B));
  },
);
