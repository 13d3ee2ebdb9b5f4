/** Whole stepped sessions over simulated virtio-net cards: a capture in, a wire between, a capture out. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type PciFunction, Random, Session, type Status, SteppedExecutor } from "@weir/core";
import { pciDrivers, vdevs } from "@weir/drivers";
import { netSim, type SimFunction } from "@weir/sim";
import test, { type ExecutionContext } from "ava";

const APP = new URL("./fixtures/patient-app.js", import.meta.url).href;
const SEED = Number(process.env.WEIR_SEED ?? 20261121);
const FRAMES = 120;
const MAC = [0x02, 0, 0, 0, 0, 0x11];

interface Run {
  readonly code: number;
  readonly status: Status;
  readonly steps: number;
  readonly output: Buffer;
}

/** Frames for the first card, of every length up to `longest`. */
function frames(seed: number, longest: number): Buffer[] {
  const random = new Random(seed);
  return Array.from({ length: FRAMES }, () => {
    const length = 60 + random.below(longest - 60 + 1);
    const bytes = Buffer.from(Uint8Array.from({ length }, () => random.below(256)));
    bytes.set([...MAC, ...MAC, 0x88, 0xb5]);
    return bytes;
  });
}

/** A pcap file: microseconds, Ethernet (draft-ietf-opsawg-pcap). */
function pcap(all: readonly Buffer[]): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(262144, 16);
  header.writeUInt32LE(1, 20);
  const records = all.map((bytes) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(bytes.length, 8);
    record.writeUInt32LE(bytes.length, 12);
    return Buffer.concat([record, bytes]);
  });
  return Buffer.concat([header, ...records]);
}

/** The frames of a pcap file, one after the other. */
function framesOf(path: string): Buffer {
  const file = readFileSync(path);
  const parts: Buffer[] = [];
  for (let at = 24; at < file.length; ) {
    const length = file.readUInt32LE(at + 8);
    parts.push(file.subarray(at + 16, at + 16 + length));
    at += 16 + length;
  }
  return Buffer.concat(parts);
}

async function run(
  t: ExecutionContext,
  seed: number,
  all: readonly Buffer[],
  args: string,
): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), "weir-virtio-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const input = join(folder, "in.pcap");
  const output = join(folder, "out.pcap");
  writeFileSync(input, pcap(all));
  const functions: SimFunction[] = [];
  const recording = pciDrivers.map((driver) => ({
    name: driver.name,
    matches: (ids: PciFunction["ids"]) => driver.matches(ids),
    probe(pci: PciFunction, spec: Parameters<typeof driver.probe>[1]) {
      functions.push(pci as SimFunction);
      return driver.probe(pci, spec);
    },
  }));
  const executor = new SteppedExecutor(seed);
  const log: string[] = [];
  const session = await Session.open({
    module: APP,
    vdevs: [
      `net_sim0,rx_pcap=${input},mac=02:00:00:00:00:11${args}`,
      `net_sim1,wire=between${args}`,
      `net_sim2,wire=between${args}`,
      `net_sim3,tx_pcap=${output}${args}`,
    ],
    drivers: [...vdevs, netSim(recording)],
    lcores: [1, 2].map((id) => ({ id, cpus: [0] })),
    executor,
    hugepages: false,
    memoryMib: 64,
    appOptions: { last: "net_sim3", frames: String(FRAMES) },
    log: (line) => log.push(line),
  });
  const { code, status } = await executor.run(session.run());
  t.deepEqual(log, []);
  t.is(status.buffers.free, status.buffers.total);
  t.is(status.mappings, 0);
  t.is(functions.length, 4);
  for (const { report, dma } of functions) {
    t.deepEqual(report.faults, []);
    t.deepEqual(report.violations, []);
    t.deepEqual(dma.mapped, []);
  }
  return { code, status, steps: executor.steps, output: framesOf(output) };
}

const CASES: readonly { readonly args: string; readonly longest: number }[] = [
  { args: "", longest: 1514 },
  { args: ",in_order=0", longest: 1514 },
  { args: ",mrg_rxbuf=0", longest: 1514 },
  { args: ",mrg_rxbuf=0,in_order=0,queue_size=64", longest: 1514 },
  { args: ",queue_size=8", longest: 1514 },
  { args: ",mtu=9000", longest: 9014 },
  { args: ",mtu=9000,mrg_rxbuf=0", longest: 9014 },
  { args: ",mtu=9000,mrg_rxbuf=0,in_order=0,queue_size=16", longest: 9014 },
  { args: ",aperture=0x10000000-0x4fffffff", longest: 1514 },
  { args: ",aperture=0x10000000-0x4fffffff,mtu=9000,mrg_rxbuf=0", longest: 9014 },
  { args: ",aperture=0x10000000-0x4fffffff,in_order=0,mtu=9000", longest: 9014 },
  { args: ",faults=late:50,in_order=1", longest: 1514 },
];

for (const { args, longest } of CASES) {
  test.serial(
    `a capture crosses four cards and a wire unchanged: ${args.slice(1) || "as offered"}`,
    async (t) => {
      t.log(`seed ${SEED}`);
      const all = frames(SEED, longest);
      const { code, output, status } = await run(t, SEED, all, args);
      t.is(code, 0);
      t.is(output.length, Buffer.concat(all).length);
      t.is(Buffer.compare(output, Buffer.concat(all)), 0);
      t.deepEqual(
        status.ports.map(({ rx, tx, dropped, errors }) => [rx, tx, dropped, errors]),
        [
          [FRAMES, 0, 0, 0],
          [0, FRAMES, 0, 0],
          [FRAMES, 0, 0, 0],
          [0, FRAMES, 0, 0],
        ],
      );
    },
  );
}

test.serial("the same seed replays the same steps on simulated cards", async (t) => {
  const all = frames(SEED, 1514);
  const args = ",faults=late:50,in_order=0";
  const first = await run(t, SEED, all, args);
  const again = await run(t, SEED, all, args);
  t.is(again.steps, first.steps);
  t.deepEqual(again.status, first.status);
  t.is(Buffer.compare(again.output, first.output), 0);
});
