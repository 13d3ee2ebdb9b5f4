// The burst contract on every virtual device: what is sent, what is refused and counted, and that all comes back.

import { readdirSync, readFileSync } from "node:fs";
import {
  attachFrames,
  attachRxQueue,
  attachTxQueue,
  audit,
  type Frames,
  type LcoreMemory,
  PacketMemory,
  Port,
  type RxQueue,
  type TxQueue,
} from "@weir/core";
import test, { type ExecutionContext } from "ava";
import { loadCapture, vdevs } from "../src/index.js";
import {
  FRAME,
  OTHER,
  pcapHeader,
  pcapRecord,
  scratch,
  scratchPath,
} from "./fixtures/capture-bytes.js";

interface Bench {
  readonly memory: PacketMemory;
  readonly port: Port;
  readonly rx: RxQueue;
  readonly tx: TxQueue;
  readonly lcore: LcoreMemory;
  readonly frames: Frames;
  /** ctl's frames: whoever sends them from lcore 1 sends what is not his. */
  readonly others: Frames;
}

interface Device {
  readonly name: string;
  /** New arguments each time. */
  args(): ReadonlyMap<string, string>;
  /** The bytes of what was sent, where the device lets them be seen; read while the port runs. */
  sent?(bench: Bench, args: ReadonlyMap<string, string>): Buffer[];
}

let taps = 0;

const devices: readonly Device[] = [
  { name: "net_null0", args: () => new Map() },
  {
    name: "net_ring0",
    args: () => new Map(),
    sent({ rx, frames }) {
      const handles = new Uint32Array(64);
      const n = rx.burst(handles, 64);
      const sent = [...handles.subarray(0, n)].map((handle) => bytesOf(frames, handle));
      frames.freeBurst(handles, n);
      return sent;
    },
  },
  {
    name: "net_pcap0",
    args: () =>
      new Map([
        ["rx_pcap", scratch(pcapHeader(), pcapRecord(1, 0, FRAME), pcapRecord(2, 0, OTHER))],
        ["tx_pcap", scratchPath()],
      ]),
    sent(_bench, args) {
      const { bytes, offsets, lengths, frames } = loadCapture(args.get("tx_pcap") ?? "");
      return Array.from({ length: frames }, (_, i) => Buffer.from(bytes, offsets[i], lengths[i]));
    },
  },
  ...(process.getuid?.() === 0
    ? [
        {
          name: "net_tap0",
          args: () =>
            new Map([
              ["iface", `wt${process.pid}_${taps++}`],
              ["mtu", "9000"],
            ]),
        },
      ]
    : []),
];

async function open(device: Device, args: ReadonlyMap<string, string>): Promise<Bench> {
  const memory = new PacketMemory({ threads: ["ctl", "lcore 1"], bytes: 2 ** 23 });
  const pool = memory.createPool({ name: "p", buffers: 2000, cacheSize: 32 });
  const driver = vdevs.find(({ prefix }) => device.name.startsWith(prefix));
  if (driver === undefined) throw new Error(device.name);
  const port = new Port(0, driver.probe({ name: device.name, args }, {}), memory);
  port.configure({ rx: 1, tx: 1 }, pool);
  await port.start();
  const lcore = memory.attach(1);
  return {
    memory,
    port,
    rx: await attachRxQueue(port.rxQueues[0], lcore),
    tx: await attachTxQueue(port.txQueues[0], lcore),
    lcore,
    frames: attachFrames(lcore, pool.id),
    others: attachFrames(memory.ctl, pool.id),
  };
}

/** Stops and closes; nobody may hold a buffer after `stop` already. */
function close(t: ExecutionContext, { memory, port }: Bench): void {
  port.stop();
  const { held, problems, free, total } = audit(memory);
  t.deepEqual([held, problems], [[], []]);
  t.is(free, total);
  port.close();
  memory.close();
}

function bytesOf(frames: Frames, handle: number): Buffer {
  const bytes = Buffer.alloc(frames.length(handle));
  frames.toBytes(handle, bytes, 0);
  return bytes;
}

/** Sends all of `handles` in as many bursts as it takes. */
function sendAll({ tx }: Bench, handles: Uint32Array): void {
  for (let at = 0; at < handles.length; ) {
    const taken = tx.burst(handles.subarray(at), handles.length - at);
    if (taken === 0) throw new Error(`${at} of ${handles.length} were taken`);
    at += taken;
  }
}

/** An Ethernet frame of a type that nobody answers. */
function payload(bytes: number, seed: number): Buffer {
  const frame = Buffer.alloc(bytes, "02000000000102000000000288b5", "hex");
  for (let i = 14; i < bytes; i++) frame[i] = i * 7 + seed;
  return frame;
}

/** A frame of `count` segments of 60 bytes. */
function chained({ frames }: Bench, count: number): number {
  const bytes = payload(60 * count, 3);
  const head = frames.fromBytes(bytes, 0, 60);
  for (let i = 1; i < count; i++)
    if (!frames.chain(head, frames.fromBytes(bytes, 60 * i, 60))) throw new Error("no chain");
  return head;
}

for (const device of devices) {
  const { name } = device;

  test.serial(
    `${name} sends frames of 1, 3 and 40 segments, clones and fragments with every byte`,
    async (t) => {
      const args = device.args();
      const b = await open(device, args);
      const { frames } = b;
      const plain = frames.fromBytes(payload(60, 1), 0, 60);
      const three = frames.fromBytes(payload(5000, 2), 0, 5000);
      const forty = chained(b, 40);
      t.deepEqual(
        [plain, three, forty].map((handle) => b.memory.table.segments[handle]),
        [1, 3, 40],
      );
      const handles = Uint32Array.of(
        plain,
        three,
        forty,
        frames.clone(plain),
        frames.clone(forty),
        frames.fragment(three, 0, 3000),
        frames.fragment(three, 1000, 30),
      );
      t.false(handles.includes(0));
      const wanted = [...handles].map((handle) => bytesOf(frames, handle));
      sendAll(b, handles);
      const { tx, txBytes, txErrors, dropped } = b.port.stats();
      t.deepEqual(
        [tx, txBytes, txErrors, dropped],
        [wanted.length, wanted.reduce((sum, { length }) => sum + length, 0), 0, 0],
      );
      if (device.sent !== undefined) t.deepEqual(device.sent(b, args), wanted);
      t.deepEqual(Object.values(b.memory.faults()), [0, 0, 0, 0, 0]);
      close(t, b);
    },
  );

  /** Offers two frames, and between them what is no buffer, somebody else's, or free already. */
  const offerWrong = async (t: ExecutionContext): Promise<Bench> => {
    const b = await open(device, device.args());
    const { frames, others, memory } = b;
    const foreign = others.fromBytes(payload(100, 5), 0, 100);
    const freed = frames.alloc();
    const good = [1, 2].map((seed) => frames.fromBytes(payload(60, seed), 0, 60));
    frames.free(freed);
    sendAll(b, Uint32Array.of(good[0], 0, 0xffffffff, foreign, freed, good[1]));
    const { doubleReturns, foreignReturns, badHandles, foreignSends } = memory.faults();
    t.is(doubleReturns + foreignReturns + badHandles + foreignSends, 4);
    t.deepEqual(bytesOf(others, foreign), payload(100, 5)); // it is the holder's still
    others.free(foreign);
    t.is(memory.faults().foreignReturns, foreignReturns);
    t.deepEqual(audit(memory).problems, []);
    return b;
  };

  test.serial(
    `${name} counts each wrong handle once as a fault, and loses neither it nor its neighbours`,
    async (t) => {
      close(t, await offerWrong(t));
    },
  );

  test.serial(`${name} counts what it refused as errors and not as sent`, async (t) => {
    const b = await offerWrong(t);
    const { tx, txBytes, txErrors } = b.port.stats();
    close(t, b);
    t.deepEqual({ tx, txBytes, txErrors }, { tx: 2, txBytes: 120, txErrors: 4 });
  });

  test.serial(`${name} takes a burst of none`, async (t) => {
    const b = await open(device, device.args());
    t.is(b.tx.burst(new Uint32Array(1), 0), 0);
    t.is(b.rx.burst(new Uint32Array(1), 0), 0);
    t.deepEqual(Object.values(b.memory.faults()), [0, 0, 0, 0, 0]);
    close(t, b);
  });

  test.serial(
    `${name} moves nothing once its port is blocked, and the caller keeps its frames`,
    async (t) => {
      const b = await open(device, device.args());
      const handles = Uint32Array.from([1, 2, 3], (seed) =>
        b.frames.fromBytes(payload(60, seed), 0, 60),
      );
      t.is(b.tx.burst(handles, 1), 1);
      b.port.block();
      const { rx, tx } = b.port.stats();
      t.is(b.tx.burst(handles.subarray(1), 2), 0);
      t.is(b.rx.burst(new Uint32Array(8), 8), 0);
      const { held } = audit(b.memory);
      t.is(held.find(({ holder }) => holder.name === "lcore 1")?.buffers, 2);
      t.is(b.tx.burstOrFree(handles.subarray(1), 2), 0); // frees them
      const after = b.port.stats();
      t.deepEqual([after.rx, after.tx, after.dropped], [rx, tx, 2]);
      close(t, b);
    },
  );

  test.serial(`${name} gives back at stop what its queues hold`, async (t) => {
    const b = await open(device, device.args());
    const received = new Uint32Array(32);
    b.frames.freeBurst(received, b.rx.burst(received, 32)); // a device that posts buffers has posted them
    sendAll(b, Uint32Array.of(b.frames.fromBytes(payload(5000, 1), 0, 5000), chained(b, 40)));
    close(t, b);
  });

  test.serial(`${name} leaves no fd behind`, async (t) => {
    close(t, await open(device, device.args())); // what is loaded once stays open
    const before = readdirSync("/proc/self/fd").length;
    for (let i = 0; i < 5; i++) close(t, await open(device, device.args()));
    t.is(readdirSync("/proc/self/fd").length, before);
  });
}

test.serial(
  "net_ring takes as many frames as it has room for, and the caller keeps the rest",
  async (t) => {
    const b = await open({ name: "net_ring0", args: () => new Map() }, new Map([["size", "4"]]));
    const handles = new Uint32Array(10);
    t.is(b.frames.allocBurst(handles, 10), 10);
    const taken = b.tx.burst(handles, 10);
    t.true(taken > 0 && taken <= 4);
    t.is(b.tx.burst(handles.subarray(taken), 10 - taken), 0);
    const back = new Uint32Array(10);
    t.is(b.rx.burst(back, 10), taken);
    t.deepEqual(back.subarray(0, taken), handles.subarray(0, taken));
    b.frames.freeBurst(handles, 10);
    close(t, b);
  },
);

test.serial(
  "net_pcap receives what the capture holds, once, and then says that it is finished",
  async (t) => {
    const device = devices.find(({ name }) => name === "net_pcap0") as Device;
    const b = await open(device, device.args());
    const handles = new Uint32Array(8);
    t.is(b.rx.burst(handles, 8), 2);
    t.false(b.port.finished);
    t.deepEqual(
      [...handles.subarray(0, 2)].map((handle) => bytesOf(b.frames, handle)),
      [FRAME, OTHER],
    );
    b.frames.freeBurst(handles, 2);
    t.is(b.rx.burst(handles, 8), 0);
    t.true(b.port.finished);
    close(t, b);
  },
);

test.serial("net_null that finds the pool empty counts what it could not receive", async (t) => {
  const b = await open({ name: "net_null0", args: () => new Map() }, new Map());
  const handles = new Uint32Array(b.memory.buffers + 10);
  t.is(b.rx.burst(handles, handles.length), b.memory.buffers);
  t.is(b.port.stats().rxNoBuffer, 10);
  b.frames.freeBurst(handles, b.memory.buffers);
  close(t, b);
});

if (process.getuid?.() === 0) {
  test.serial(
    "the kernel receives from net_tap as many frames and bytes as were sent",
    async (t) => {
      const device = devices.find(({ name }) => name === "net_tap0") as Device;
      const args = device.args();
      const iface = args.get("iface") ?? "";
      const b = await open(device, args);
      const counter = (name: string): number =>
        Number(readFileSync(`/sys/class/net/${iface}/statistics/${name}`, "utf8"));
      sendAll(b, Uint32Array.of(b.frames.fromBytes(payload(5000, 1), 0, 5000), chained(b, 40)));
      t.deepEqual([counter("rx_packets"), counter("rx_bytes")], [2, 5000 + 40 * 60]);
      close(t, b);
      t.false(readdirSync("/sys/class/net").includes(iface));
    },
  );
}
