/** The ring engine against a driver that breaks each rule: a reset is asked for, the rule is named, nothing else happens. */
import test from "ava";
import * as v from "../src/virtio/constants.js";
import { card, ethernet, machine, type TestDriver, type TestQueue } from "./fixtures/driver.js";

const SIZE = 8;
const { DESC_F_NEXT: NEXT, DESC_F_WRITE: WRITE, DESC_F_INDIRECT: INDIRECT } = v;

interface Case {
  readonly kind: string;
  readonly what: string;
  readonly net?: object;
  readonly without?: number;
  readonly queue?: number;
  readonly break: (queue: TestQueue, driver: TestDriver) => void;
}

function indirect(queue: TestQueue, driver: TestDriver, bytes: number, flags = 0): number {
  const table = driver.alloc(16 * 64);
  queue.descriptor(0, { at: table, length: bytes }, INDIRECT | flags, 1);
  return table;
}

const CASES: readonly Case[] = [
  {
    kind: "head-out-of-range",
    what: "an available entry beyond the table",
    break: (queue) => queue.offerHead(SIZE),
  },
  {
    kind: "next-out-of-range",
    what: "a next beyond the table",
    break: (queue, driver) => {
      queue.descriptor(0, { at: driver.alloc(64), length: 64 }, NEXT, SIZE);
      queue.offerHead(0);
    },
  },
  {
    kind: "chain-loop",
    what: "a chain that leads to its start",
    break: (queue, driver) => {
      queue.descriptor(0, { at: driver.alloc(64), length: 64 }, NEXT, 1);
      queue.descriptor(1, { at: driver.alloc(64), length: 64 }, NEXT, 0);
      queue.offerHead(0);
    },
  },
  {
    kind: "descriptor-in-use",
    what: "a descriptor that occurs in two chains",
    queue: 0,
    break: (queue, driver) => {
      queue.descriptor(0, { at: driver.alloc(64), length: 64, write: true }, 0, 0);
      queue.offerHead(0);
      queue.offerHead(0);
    },
  },
  {
    kind: "readable-after-writable",
    what: "a device-readable part behind a device-writable one",
    break: (queue, driver) => {
      queue.descriptor(0, { at: driver.alloc(64), length: 64, write: true }, NEXT, 1);
      queue.descriptor(1, { at: driver.alloc(64), length: 64 }, 0, 0);
      queue.offerHead(0);
    },
  },
  {
    kind: "descriptor-flags",
    what: "a flag that does not exist",
    break: (queue, driver) => {
      queue.descriptor(0, { at: driver.alloc(64), length: 64 }, 0x80, 0);
      queue.offerHead(0);
    },
  },
  {
    kind: "chain-too-many-bytes",
    what: "a chain of more than 2^32 bytes",
    break: (queue, driver) => {
      for (const i of [0, 1])
        queue.descriptor(i, { at: driver.alloc(64), length: 0xffffffff }, i === 0 ? NEXT : 0, 1);
      queue.offerHead(0);
    },
  },
  {
    kind: "avail-index-jump",
    what: "an available index that moves by more than the ring",
    break: (queue) => queue.publish(SIZE + 1),
  },
  {
    kind: "avail-index-jump",
    what: "an available index that goes back",
    break: (queue, driver) => {
      queue.offer([{ at: driver.alloc(64), length: 64 }]);
      driver.step();
      queue.publish(0);
    },
  },
  {
    kind: "avail-flags",
    what: "flags in the available ring with EVENT_IDX",
    break: (queue, driver) => {
      driver.memory.view.u16[queue.avail / 2] = 1;
      queue.offer([{ at: driver.alloc(64), length: 64 }]);
    },
  },
  {
    kind: "transmit-too-short",
    what: "a frame shorter than its header",
    break: (queue, driver) => queue.offer([{ at: driver.alloc(64), length: 11 }]),
  },
  {
    kind: "writable-transmit",
    what: "a device-writable chain in a transmit queue",
    break: (queue, driver) => queue.offer([{ at: driver.alloc(64), length: 64, write: true }]),
  },
  {
    kind: "readable-receive",
    what: "a device-readable chain in a receive queue",
    queue: 0,
    break: (queue, driver) => {
      queue.offer([{ at: driver.alloc(64), length: 64 }]);
      driver.send(ethernet(60));
    },
  },
  {
    kind: "receive-too-short",
    what: "a receive buffer shorter than the header",
    queue: 0,
    break: (queue, driver) => {
      queue.offer([{ at: driver.alloc(64), length: 11, write: true }]);
      driver.send(ethernet(60));
    },
  },
  {
    kind: "indirect-not-negotiated",
    what: "an indirect descriptor without the feature",
    without: v.F_INDIRECT_DESC,
    break: (queue, driver) => {
      indirect(queue, driver, 16);
      queue.offerHead(0);
    },
  },
  {
    kind: "indirect-and-next",
    what: "an indirect descriptor that goes on",
    break: (queue, driver) => {
      indirect(queue, driver, 16, NEXT);
      queue.offerHead(0);
    },
  },
  {
    kind: "indirect-length",
    what: "an indirect table that is not whole entries",
    break: (queue, driver) => {
      indirect(queue, driver, 24);
      queue.offerHead(0);
    },
  },
  {
    kind: "indirect-nested",
    what: "an indirect descriptor in an indirect table",
    break: (queue, driver) => {
      const table = indirect(queue, driver, 16);
      queue.descriptorAt(table, { at: table, length: 16 }, INDIRECT, 0);
      queue.offerHead(0);
    },
  },
  {
    kind: "chain-loop",
    what: "an indirect table that leads to itself",
    break: (queue, driver) => {
      const table = indirect(queue, driver, 32);
      queue.descriptorAt(table, { at: table, length: 16 }, NEXT, 0);
      queue.offerHead(0);
    },
  },
  {
    kind: "next-out-of-range",
    what: "an indirect next beyond its table",
    break: (queue, driver) => {
      const table = indirect(queue, driver, 32);
      queue.descriptorAt(table, { at: table, length: 16 }, NEXT, 2);
      queue.offerHead(0);
    },
  },
  {
    kind: "chain-longer-than-queue",
    what: "an indirect chain longer than the queue",
    break: (queue, driver) => {
      const table = indirect(queue, driver, 16 * 20);
      for (let i = 0; i < 20; i++)
        queue.descriptorAt(table + 16 * i, { at: table, length: 16 }, i < 19 ? NEXT : 0, i + 1);
      queue.offerHead(0);
    },
  },
  {
    kind: "not-in-order",
    what: "a head out of order with IN_ORDER",
    net: { inOrder: true },
    break: (queue, driver) => {
      queue.descriptor(3, { at: driver.alloc(64), length: 64 }, 0, 0);
      queue.offerHead(3);
    },
  },
  {
    kind: "not-in-order",
    what: "a chain out of order with IN_ORDER",
    net: { inOrder: true },
    break: (queue, driver) => {
      queue.descriptor(0, { at: driver.alloc(64), length: 64 }, NEXT, 2);
      queue.descriptor(2, { at: driver.alloc(64), length: 64 }, 0, 0);
      queue.offerHead(0);
    },
  },
];

for (const { kind, what, net, without, queue = 1, break: breakIt } of CASES) {
  test(`${what} (${kind}) ends in DEVICE_NEEDS_RESET, and a reset mends it`, (t) => {
    const sim = machine(t);
    const driver = card(t, sim, { net: { ...net }, backend: { kind: "loop" } });
    const features =
      without === undefined ? driver.offered : driver.offered & ~(1n << BigInt(without));
    driver.start({ features, size: SIZE });
    breakIt(driver.queue(queue), driver);
    sim.step(3);
    t.true(driver.needsReset);
    t.deepEqual(driver.violations, [kind]);
    const used = driver.queue(queue).usedIndex;
    driver.queue(1).publish(3);
    sim.step(3);
    t.is(driver.queue(queue).usedIndex, used); // it has stopped
    driver.start({ features, size: SIZE });
    driver.send(ethernet(60));
    sim.step();
    t.is(driver.queue(1).usedIndex, 1);
    t.is(driver.fn.report.violationCount, 1);
    t.is(driver.fn.report.faultCount, 0);
  });
}

test("an error after DRIVER_OK raises the configuration interrupt", (t) => {
  const sim = machine(t);
  const driver = card(t, sim).start();
  const got: number[] = [];
  driver.fn.enableVectors(1, (vector) => got.push(vector));
  driver.write(v.CFG_COMMON, 16, 2, 0);
  driver.queue(1).offerHead(999);
  sim.step();
  t.deepEqual(got, [0]);
});

test("a chain of direct descriptors that ends in an indirect one is read whole, its WRITE flag ignored", (t) => {
  const sim = machine(t);
  const driver = card(t, sim).start({ size: SIZE });
  const queue = driver.queue(1);
  const data = driver.alloc(256);
  const table = driver.alloc(64);
  queue.descriptor(0, { at: data, length: 12 }, NEXT, 5);
  queue.descriptor(5, { at: table, length: 32 }, INDIRECT | WRITE, 0);
  queue.descriptorAt(table, { at: data + 12, length: 30 }, NEXT, 1);
  queue.descriptorAt(table + 16, { at: data + 42, length: 30 }, 0, 0);
  queue.offerHead(0);
  sim.step();
  t.is(driver.fn.report.counters.txBytes, 60);
  t.deepEqual(queue.takeUsed(), [{ id: 0, length: 0 }]);
  t.deepEqual(driver.violations, []);
});

test("the indices wrap at 65,536 without a loss", (t) => {
  const sim = machine(t);
  const driver = card(t, sim).start({ size: SIZE });
  const queue = driver.queue(1);
  const at = driver.alloc(72);
  for (let i = 0; i < 66_000; i++) {
    queue.offer([{ at, length: 72 }]);
    if (i % SIZE === SIZE - 1) sim.step();
  }
  t.is(driver.fn.report.counters.txFrames, 66_000);
  t.is(queue.usedIndex, 66_000 & 0xffff);
  t.deepEqual(driver.violations, []);
});

test("with EVENT_IDX an interrupt comes when the used index passes used_event, and only then", (t) => {
  const sim = machine(t);
  const driver = card(t, sim);
  const got: number[] = [];
  driver.fn.setBusMaster(true);
  driver.fn.enableVectors(1, (vector) => got.push(vector));
  driver.negotiate();
  const queue = driver.enable(1, SIZE, 0);
  driver.status = driver.status | v.STATUS_DRIVER_OK;
  const at = driver.alloc(72);
  const event = (queue.avail + v.usedEventOffset(SIZE)) / 2;
  driver.memory.view.u16[event] = 2; // after the third
  for (let i = 0; i < 5; i++) {
    queue.offer([{ at, length: 72 }]);
    sim.step();
    t.is(got.length, i < 2 ? 0 : 1, `${i}`);
  }
  t.is(driver.memory.view.u16[(queue.used + v.availEventOffset(SIZE)) / 2], 5);
});

test("without EVENT_IDX the flag of the available ring suppresses interrupts", (t) => {
  const sim = machine(t);
  const driver = card(t, sim, { net: { eventIdx: false } });
  const got: number[] = [];
  driver.fn.setBusMaster(true);
  driver.fn.enableVectors(1, (vector) => got.push(vector));
  driver.negotiate();
  const queue = driver.enable(1, SIZE, 0);
  driver.status = driver.status | v.STATUS_DRIVER_OK;
  const at = driver.alloc(72);
  for (const flag of [0, 1, 0]) {
    driver.memory.view.u16[queue.avail / 2] = flag;
    queue.offer([{ at, length: 72 }]);
    sim.step();
  }
  t.is(got.length, 2);
  t.deepEqual(driver.violations, []);
});

test("with IN_ORDER a burst of sent frames is one used entry, with the last one's id", (t) => {
  const sim = machine(t);
  const driver = card(t, sim, { net: { inOrder: true } }).start({ size: SIZE });
  const queue = driver.queue(1);
  const at = driver.alloc(72);
  for (let i = 0; i < 5; i++) queue.offer([{ at, length: 72 }]);
  sim.step();
  t.is(queue.usedIndex, 5);
  const [first] = queue.takeUsed();
  t.deepEqual(first, { id: 4, length: 0 });
});
