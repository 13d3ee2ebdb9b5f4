/** The stepped way to run: the same seed gives the same run, step by step, and it ends as clean as the threaded one. */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Session, type Status, SteppedExecutor } from "@weir/core";
import { vdevs as drivers } from "@weir/drivers";
import test, { type ExecutionContext } from "ava";
import { ROOT } from "./fixtures/weir.js";

const L2FWD = new URL("../src/l2fwd/index.js", import.meta.url).href;
const CRASHING = new URL("./fixtures/crashing-app.js", import.meta.url).href;
const CAPTURE = join(ROOT, "packages/apps/captures/mixed-a.pcap");
const SEED = Number(process.env.WEIR_SEED ?? 20261121);

interface Run {
  readonly code: number;
  readonly status: Status;
  readonly steps: number;
  readonly virtualMs: number;
  readonly output: string;
  readonly log: readonly string[];
}

/** A run under the seed; the output capture's frames without their times. */
async function run(
  t: ExecutionContext,
  seed: number,
  module: string,
  vdevs: readonly string[],
  appOptions: Record<string, string | boolean>,
): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), "weir-stepped-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const out = join(folder, "out.pcap");
  const executor = new SteppedExecutor(seed);
  const log: string[] = [];
  const session = await Session.open({
    module,
    vdevs: vdevs.map((text) => text.replace("OUT", out)),
    drivers,
    lcores: [1, 2, 3].map((id) => ({ id, cpus: [0] })),
    executor,
    hugepages: false,
    memoryMib: 64,
    appOptions,
    log: (line) => log.push(line),
  });
  const { code, status } = await executor.run(session.run());
  const output = vdevs.some((text) => text.includes("OUT"))
    ? createHash("sha256").update(frames(out)).digest("hex")
    : "";
  return { code, status, steps: executor.steps, virtualMs: executor.now(), output, log };
}

/** The bytes of all frames of a nanosecond pcap of ours. */
function frames(path: string): Buffer {
  const file = readFileSync(path);
  const parts: Buffer[] = [];
  for (let at = 24; at < file.length; ) {
    const length = file.readUInt32LE(at + 8);
    parts.push(file.subarray(at + 16, at + 16 + length));
    at += 16 + length;
  }
  return Buffer.concat(parts);
}

const FORWARD = [
  `net_pcap0,rx_pcap=${CAPTURE}`,
  "net_pcap1,tx_pcap=OUT",
  `net_pcap2,rx_pcap=${CAPTURE}`,
  "net_ring0",
];

test.serial(
  "the same seed replays the same steps, the same virtual time and the same frames",
  async (t) => {
    t.log(`seed ${SEED}`);
    const options = { portmap: "(0,1)(2,3)", count: "262", json: true, "no-mac-updating": true };
    const first = await run(t, SEED, L2FWD, FORWARD, options);
    t.deepEqual(first.log, []);
    t.is(first.code, 0);
    t.deepEqual(await run(t, SEED, L2FWD, FORWARD, options), first);
    const other = await run(t, SEED + 1, L2FWD, FORWARD, options);
    t.is(other.code, 0);
    t.is(other.output, first.output);
  },
);

test.serial(
  "T51 stepped: an lcore's throw is cleaned up the same way under every seed",
  async (t) => {
    for (let seed = SEED; seed < SEED + 5; seed++) {
      const { code, status, log } = await run(
        t,
        seed,
        CRASHING,
        ["net_null0", "net_null1", "net_null2"],
        {
          how: "throw",
        },
      );
      t.is(code, 70, `seed ${seed}`);
      t.is(status.buffers.free, status.buffers.total, `seed ${seed}`);
      t.regex(log[0] ?? "", /lcore 1 crashed: RangeError: the turn broke/, `seed ${seed}`);
      t.deepEqual(
        log.filter((line) => line.startsWith("audit")),
        [],
        `seed ${seed}`,
      );
    }
  },
);
