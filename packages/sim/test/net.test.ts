/** The network device (1.2 5.1): frames in both directions, merged buffers, checksums, filters, queue pairs. */

import { Random } from "@weir/core";
import type { ExecutionContext } from "ava";
import test from "ava";
import type { SimMachine } from "../src/sim-machine.js";
import * as v from "../src/virtio/constants.js";
import * as n from "../src/virtio-net/constants.js";
import type { NetOptions } from "../src/virtio-net/options.js";
import { card, ethernet, machine, SEED, type TestDriver } from "./fixtures/driver.js";

let wires = 0;

/** Two cards on a wire. */
function pair(
  t: ExecutionContext,
  left: Partial<NetOptions> = {},
  right: Partial<NetOptions> = {},
): { sim: SimMachine; a: TestDriver; b: TestDriver; wire: string } {
  const sim = machine(t);
  const name = `w${wires++}`;
  const backend = { kind: "wire", name } as const;
  return {
    sim,
    a: card(t, sim, { net: left, backend }),
    b: card(t, sim, { net: right, backend }),
    wire: name,
  };
}

function clean(t: ExecutionContext, ...drivers: TestDriver[]): void {
  for (const { fn } of drivers) {
    t.deepEqual(fn.report.violations, []);
    t.deepEqual(fn.report.faults, []);
  }
}

/** The frame that lies in used buffers: header and bytes. */
function gather(
  driver: TestDriver,
  buffers: number[],
  index = 0,
): { header: Uint8Array; frame: Uint8Array } {
  const parts = driver.queue(index).takeUsed();
  const bytes = parts.map(({ id, length }) => {
    const at = buffers[id] as number;
    return [...driver.memory.view.u8.subarray(at, at + length)];
  });
  const all = Uint8Array.from(bytes.flat());
  return { header: all.subarray(0, 12), frame: all.subarray(12) };
}

test("a frame arrives on the other end of the wire byte for byte, behind a header with num_buffers 1", (t) => {
  const { sim, a, b } = pair(t);
  a.start();
  b.start();
  const buffers = b.postReceive(4, 2048);
  const frame = ethernet(1000);
  a.send(frame);
  sim.step(2);
  const got = gather(b, buffers);
  t.deepEqual([...got.header], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
  t.deepEqual(got.frame, frame);
  t.deepEqual(a.queue(1).takeUsed(), [{ id: 0, length: 0 }]);
  clean(t, a, b);
});

test("merged buffers are filled whole but the last, and are used together", (t) => {
  const { sim, a, b } = pair(t);
  const random = new Random(SEED);
  a.start();
  b.start();
  for (let i = 0; i < 40; i++) {
    const bytes = 12 + random.below(700);
    const frame = ethernet(14 + random.below(3000), i);
    const needed = Math.ceil((frame.length + 12) / bytes);
    const first = b.queue(0).nextDesc;
    a.send(frame);
    sim.step(2);
    const buffers: number[] = [];
    for (let posted = 0; posted < needed; posted++) {
      t.is(b.queue(0).usedIndex, b.queue(0).usedIdx, `${i}: used early`);
      buffers[(first + posted) % b.queue(0).size] = b.postReceive(1, bytes)[0] as number;
      sim.step();
    }
    const got = gather(b, buffers);
    t.is(got.header[10], needed & 0xff);
    t.deepEqual(got.frame, frame);
  }
  clean(t, a, b);
});

test("without MRG_RXBUF a frame goes into one buffer of several descriptors, or is dropped", (t) => {
  const { sim, a, b } = pair(t, {}, { mrgRxbuf: false });
  a.start();
  b.start();
  const at = b.alloc(4096);
  const queue = b.queue(0);
  queue.offer([
    { at, length: 12, write: true },
    { at: at + 12, length: 500, write: true },
    { at: at + 512, length: 500, write: true },
  ]);
  a.send(ethernet(1001));
  sim.step(2);
  t.is(queue.usedIndex, 0);
  t.is(b.fn.report.counters.rxDropped, 1);
  const frame = ethernet(1000);
  a.send(frame);
  sim.step(2);
  t.deepEqual(queue.takeUsed(), [{ id: 0, length: 1012 }]);
  t.deepEqual(b.memory.view.u8.slice(at + 12, at + 1012), frame);
  clean(t, a, b);
});

test("frames wait on the wire for buffers; beyond its bound they are dropped and counted there", (t) => {
  const { sim, a, b, wire } = pair(t);
  a.start();
  b.start();
  for (let i = 0; i < 300; i++) {
    a.send(ethernet(60, i));
    sim.step();
  }
  t.is(sim.wireDrops(wire), 44);
  t.is(a.fn.report.counters.txFrames, 256);
  t.is(a.fn.report.counters.txDropped, 44);
  b.postReceive(256, 128);
  sim.step(9);
  t.is(b.fn.report.counters.rxFrames, 256);
  clean(t, a, b);
});

test("a third card on a wire is refused, and the place of a closed one is free again", (t) => {
  const { sim, wire, b } = pair(t);
  const backend = { kind: "wire", name: wire } as const;
  t.throws(() => sim.create({ name: "third", backend }), { code: "EBUSY" });
  b.fn.close();
  t.notThrows(() => sim.create({ name: "third", backend }).close());
});

/** An IPv4/UDP frame whose checksum field holds the sum of the pseudo header, and its header. */
function partial(): { frame: Uint8Array; header: Uint8Array; checksum: number } {
  const frame = ethernet(14 + 20 + 8 + 5);
  frame.set([0x08, 0x00, 0x45, 0, 0, 33, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], 12);
  frame.set([0x10, 0, 0x20, 0, 0, 13, 0, 0, 1, 2, 3, 4, 5], 34);
  const pseudo = 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 17 + 13;
  frame.set([pseudo >> 8, pseudo & 0xff], 40);
  const rest = 0x1000 + 0x2000 + 13 + 0x0102 + 0x0304 + 0x0500;
  const header = new Uint8Array(12);
  header.set([n.HDR_F_NEEDS_CSUM, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0]);
  return { frame, header, checksum: ~(pseudo + rest) & 0xffff };
}

test("a partial checksum is handed on to a driver that takes it, and completed for one that does not", (t) => {
  for (const takes of [true, false]) {
    const { sim, a, b } = pair(t);
    a.start();
    b.start(takes ? {} : { features: b.offered & ~(1n << BigInt(n.F_GUEST_CSUM)) });
    const buffers = b.postReceive(1, 2048);
    const { frame, header, checksum } = partial();
    a.send(frame, header);
    sim.step(2);
    const got = gather(b, buffers);
    const stored = (got.frame[40] as number) * 256 + (got.frame[41] as number);
    t.deepEqual(
      [...got.header.subarray(0, 10)],
      takes ? [...header.subarray(0, 10)] : Array(10).fill(0),
    );
    t.is(stored, takes ? (frame[40] as number) * 256 + (frame[41] as number) : checksum);
    clean(t, a, b);
  }
});

test("a header that a driver must not write is on record, and its frame is not sent", (t) => {
  const csum = 1n << BigInt(n.F_CSUM);
  const cases = [
    ["header-gso", [0, 1], true],
    ["header-num-buffers", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], true],
    ["header-flags", [n.HDR_F_DATA_VALID], true],
    ["header-flags", [n.HDR_F_NEEDS_CSUM], false],
    ["header-csum", [n.HDR_F_NEEDS_CSUM, 0, 0, 0, 0, 0, 50, 0, 9, 0], true],
  ] as const;
  for (const [kind, bytes, withCsum] of cases) {
    const sim = machine(t);
    const driver = card(t, sim);
    driver.start({ features: withCsum ? driver.offered : driver.offered & ~csum });
    const header = new Uint8Array(12);
    header.set(bytes);
    driver.send(ethernet(60), header);
    sim.step();
    t.deepEqual(driver.violations, [kind]);
    t.is(driver.fn.report.counters.txFrames, 0);
    t.is(driver.queue(1).usedIndex, 1); // the queue goes on
    t.false(driver.needsReset);
  }
});

test("with MTU accepted nothing longer is sent unnoticed or received; tags do not count", (t) => {
  const { sim, a, b } = pair(t, { mtu: 1000, ctrl: false }, { mtu: 1000, ctrl: false });
  a.start();
  b.start();
  t.is(a.read(v.CFG_DEVICE, n.CONFIG_MTU, 2), 1000);
  b.postReceive(8, 2048);
  a.send(ethernet(1014));
  const tagged = ethernet(1018);
  tagged.set([0x81, 0], 12);
  a.send(tagged);
  sim.step(2);
  t.is(b.fn.report.counters.rxFrames, 2);
  clean(t, a, b);
  a.send(ethernet(1015));
  sim.step(2);
  t.deepEqual(a.violations, ["frame-beyond-mtu"]);
  t.is(b.fn.report.counters.rxFrames, 2);
});

test("the receive filters let pass what the control queue asked for, and nothing else", (t) => {
  const { sim, a, b } = pair(t);
  a.start({ queues: [0, 1, 2] });
  b.start({ queues: [0, 1, 2] });
  b.postReceive(64, 256);
  const mac = Uint8Array.from({ length: 6 }, (_, i) => b.read(v.CFG_DEVICE, i, 1));
  const passes = (frame: Uint8Array): boolean => {
    const before = b.fn.report.counters.rxFrames;
    a.send(frame);
    sim.step(2);
    return b.fn.report.counters.rxFrames > before;
  };
  const to = (...address: number[]): Uint8Array => {
    const frame = ethernet(60);
    frame.set(address);
    return frame;
  };
  const foreign = to(0x02, 9, 9, 9, 9, 9);
  const group = to(0x33, 0x33, 0, 0, 0, 1);
  t.true(passes(to(...mac)));
  t.true(passes(ethernet(60)));
  t.false(passes(foreign));
  t.false(passes(group));
  t.is(b.control(2, n.CTRL_RX, n.CTRL_RX_ALLMULTI, 1), n.CTRL_OK);
  t.true(passes(group));
  t.is(b.control(2, n.CTRL_RX, n.CTRL_RX_ALLMULTI, 0), n.CTRL_OK);
  const table = [1, 0, 0, 0, 2, 9, 9, 9, 9, 9, 1, 0, 0, 0, 0x33, 0x33, 0, 0, 0, 1];
  t.is(b.control(2, n.CTRL_MAC, n.CTRL_MAC_TABLE_SET, ...table), n.CTRL_OK);
  t.true(passes(group));
  t.true(passes(foreign));
  t.is(b.control(2, n.CTRL_MAC, n.CTRL_MAC_TABLE_SET, 0, 0, 0, 0, 0, 0, 0, 0), n.CTRL_OK);
  t.false(passes(foreign));
  t.is(b.control(2, n.CTRL_MAC, n.CTRL_MAC_ADDR_SET, 2, 9, 9, 9, 9, 9), n.CTRL_OK);
  t.is(b.read(v.CFG_DEVICE, 1, 1), 9);
  t.true(passes(foreign));
  t.is(b.control(2, n.CTRL_RX, n.CTRL_RX_PROMISC, 1), n.CTRL_OK);
  t.true(passes(to(2, 8, 8, 8, 8, 8)));
  const tagged = to(2, 8, 8, 8, 8, 8);
  tagged.set([0x81, 0, 0, 7], 12);
  t.false(passes(tagged));
  t.is(b.control(2, n.CTRL_VLAN, n.CTRL_VLAN_ADD, 7, 0), n.CTRL_OK);
  t.true(passes(tagged));
  t.is(b.control(2, n.CTRL_VLAN, n.CTRL_VLAN_DEL, 7, 0), n.CTRL_OK);
  t.false(passes(tagged));
  clean(t, a, b);
});

test("a control command that is wrong gets VIRTIO_NET_ERR and is on record; one without an ack ends in a reset", (t) => {
  const sim = machine(t);
  const driver = card(t, sim);
  driver.start({ features: driver.offered & ~(1n << BigInt(n.F_CTRL_VLAN)), queues: [0, 1, 2] });
  t.is(driver.control(2, 77, 0), n.CTRL_ERR);
  t.is(driver.control(2, n.CTRL_RX, n.CTRL_RX_PROMISC), n.CTRL_ERR);
  t.is(driver.control(2, n.CTRL_RX, n.CTRL_RX_PROMISC, 2), n.CTRL_ERR);
  t.is(driver.control(2, n.CTRL_VLAN, n.CTRL_VLAN_ADD, 1, 0), n.CTRL_ERR);
  t.is(driver.control(2, n.CTRL_MAC, n.CTRL_MAC_TABLE_SET, 9, 0, 0, 0), n.CTRL_ERR);
  driver.queue(2).offer([{ at: driver.alloc(64), length: 3 }]);
  sim.step();
  t.deepEqual(driver.violations, [
    "control-unknown",
    "control-length",
    "control-value",
    "control-not-negotiated",
    "control-length",
    "control-too-short",
  ]);
  t.true(driver.needsReset);
});

test("the card asks for an announcement until the driver acknowledges it", (t) => {
  const sim = machine(t);
  const driver = card(t, sim).start({ queues: [0, 1, 2] });
  driver.fn.command({ type: "announce" });
  t.is(driver.read(v.CFG_DEVICE, n.CONFIG_STATUS, 2), n.S_LINK_UP | n.S_ANNOUNCE);
  t.is(driver.control(2, n.CTRL_ANNOUNCE, n.CTRL_ANNOUNCE_ACK), n.CTRL_OK);
  t.is(driver.read(v.CFG_DEVICE, n.CONFIG_STATUS, 2), n.S_LINK_UP);
});

test("a flow comes in on the pair it went out on, and nothing comes in beyond the pairs that are set", (t) => {
  const { sim, a, b } = pair(t, { pairs: 4 }, { pairs: 4 });
  for (const driver of [a, b]) {
    driver.start({ queues: [0, 1, 2, 3, 4, 5, 6, 7, 8] });
    t.is(driver.read(v.CFG_DEVICE, n.CONFIG_MAX_VIRTQUEUE_PAIRS, 2), 4);
    for (let q = 0; q < 8; q += 2) driver.postReceive(32, 256, q);
  }
  const udp = (source: number, destination: number): Uint8Array => {
    const { frame } = partial();
    frame.set([source, 0, destination, 0], 34);
    return frame;
  };
  const counts = (): number[] => [0, 2, 4, 6].map((q) => b.queue(q).takeUsed().length);
  for (let port = 0; port < 16; port++) a.send(udp(port, 99));
  sim.step(2);
  t.deepEqual(counts(), [16, 0, 0, 0]); // 1.2 5.1.6.5.6.2: one pair until told otherwise
  t.is(b.control(8, n.CTRL_MQ, n.CTRL_MQ_VQ_PAIRS_SET, 5, 0), n.CTRL_ERR);
  t.is(b.control(8, n.CTRL_MQ, n.CTRL_MQ_VQ_PAIRS_SET, 4, 0), n.CTRL_OK);
  for (const [i, pairOut] of [3, 1, 2].entries()) {
    b.send(udp(99, i), new Uint8Array(12), 2 * pairOut + 1);
    sim.step(2);
    a.send(udp(i, 99));
    sim.step(2);
    const expected = [0, 0, 0, 0];
    expected[pairOut] = 1;
    t.deepEqual(counts(), expected, `flow ${i}`);
  }
  t.is(b.control(8, n.CTRL_MQ, n.CTRL_MQ_VQ_PAIRS_SET, 1, 0), n.CTRL_OK);
  b.send(udp(1, 2), new Uint8Array(12), 7);
  sim.step();
  t.deepEqual(b.violations, ["control-value", "transmit-on-disabled-pair"]);
});

test("without MQ the control queue is the third, whatever the card could do", (t) => {
  const sim = machine(t);
  const driver = card(t, sim, { net: { pairs: 4 } });
  driver.start({ features: driver.offered & ~(1n << BigInt(n.F_MQ)), queues: [0, 1, 2] });
  t.is(driver.control(2, n.CTRL_RX, n.CTRL_RX_PROMISC, 1), n.CTRL_OK);
  driver.write(v.CFG_COMMON, 22, 2, 3);
  t.is(driver.read(v.CFG_COMMON, 24, 2), 0);
});

test("while the link is down nothing passes in either direction", (t) => {
  const { sim, a, b } = pair(t);
  a.start();
  b.start();
  b.postReceive(4, 256);
  b.fn.command({ type: "link", up: false });
  a.send(ethernet(60));
  b.send(ethernet(60));
  sim.step(2);
  t.is(b.fn.report.counters.rxFrames, 0);
  t.is(b.fn.report.counters.rxDropped, 1);
  t.is(b.fn.report.counters.txDropped, 1);
  b.fn.command({ type: "link", up: true });
  a.send(ethernet(60));
  sim.step(2);
  t.is(b.fn.report.counters.rxFrames, 1);
});

test("a doorbell that an lcore stores in BAR memory is seen, and a wrong value in it is on record", (t) => {
  const sim = machine(t);
  const driver = card(t, sim).start();
  driver.notify(0);
  driver.notify(1);
  t.deepEqual(driver.violations, []);
  driver.write(v.CFG_NOTIFY, 0, 2, 0); // the slot of the last queue
  t.is(driver.fn.report.counters.doorbells, 3);
  t.deepEqual(driver.violations, ["doorbell-value"]);
});
