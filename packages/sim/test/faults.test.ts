/** Injected faults: each does what its name says, none when off, and a seed replays them. */
import { createHash } from "node:crypto";
import { SteppedExecutor } from "@weir/core";
import test, { type ExecutionContext } from "ava";
import { FAULT_NAMES, type FaultName, parseFaults } from "../src/faults.js";
import { SimMachine } from "../src/sim-machine.js";
import { card, ethernet, memory, SEED, TestDriver } from "./fixtures/driver.js";

const FRAMES = 400;

interface Entry {
  readonly id: number;
  readonly length: number;
}

interface Run {
  readonly sent: Entry[];
  readonly received: Entry[];
  readonly driver: TestDriver;
  readonly usedIndex: number;
}

/** Sends frames through a card that loops them back, one at a time. */
function run(
  t: ExecutionContext,
  seed: number,
  rates: object,
  net: object = {},
  frames = FRAMES,
): Run {
  const sim = new SimMachine(seed);
  const driver = card(t, sim, { backend: { kind: "loop" }, faults: { rates }, net });
  driver.start({ size: 256 });
  const [rx, tx] = [driver.queue(0), driver.queue(1)];
  const at = driver.alloc(256);
  const buffer = driver.alloc(256);
  driver.memory.view.u8.set(ethernet(60), at + 12);
  const sent: Entry[] = [];
  const received: Entry[] = [];
  for (let i = 0; i < frames && !driver.needsReset; i++) {
    if (((tx.availIdx - tx.usedIndex) & 0xffff) < 200) tx.offer([{ at, length: 72 }]);
    if (((rx.availIdx - rx.usedIndex) & 0xffff) < 200)
      rx.offer([{ at: buffer, length: 200, write: true }]);
    sim.step(2);
    sent.push(...tx.takeUsed());
    received.push(...rx.takeUsed());
  }
  sim.step(250);
  sent.push(...tx.takeUsed());
  received.push(...rx.takeUsed());
  return { sent, received, driver, usedIndex: tx.usedIndex };
}

const inSequence = (entries: Entry[]): boolean => entries.every(({ id }, i) => id === i % 256);

test("with no faults every completion is true, in sequence, and nothing is injected", (t) => {
  const { sent, received, driver } = run(t, SEED, {});
  t.is(sent.length, FRAMES);
  t.is(received.length, FRAMES);
  t.true(inSequence(sent) && inSequence(received));
  t.true(sent.every(({ length }) => length === 0));
  t.true(received.every(({ length }) => length === 72));
  t.deepEqual(driver.fn.report.injected, {});
  t.deepEqual(driver.violations, []);
});

test("late and reordered completions all come, but not in sequence", (t) => {
  t.log(`seed ${SEED}`);
  for (const rates of [{ late: 100 }, { late: 300, reorder: 500 }]) {
    const { sent, driver } = run(t, SEED, rates);
    t.is(new Set(sent.map(({ id }) => id)).size, 256);
    t.is(sent.length, driver.queue(1).availIdx);
    t.false(inSequence(sent));
    t.deepEqual(driver.violations, []);
  }
});

test("with IN_ORDER late completions hold up those behind them and nothing is reordered or lost", (t) => {
  t.log(`seed ${SEED}`);
  const rates = { late: 100, reorder: 500, lost: 500 };
  const { sent, driver } = run(t, SEED, rates, { inOrder: true });
  t.is(sent.length, driver.queue(1).availIdx);
  t.true(inSequence(sent));
  t.deepEqual(Object.keys(driver.fn.report.injected), ["late"]);
});

test("a lost completion never comes", (t) => {
  t.log(`seed ${SEED}`);
  const { sent, received, driver } = run(t, SEED, { lost: 100 });
  const lost = driver.fn.report.injected.lost ?? 0;
  t.true(lost > 0);
  const { availIdx } = driver.queue(1);
  t.true(sent.length < availIdx);
  t.true(availIdx - sent.length + driver.queue(0).availIdx - received.length >= lost);
});

test("a hostile id is out of range, or one that the driver does not wait for", (t) => {
  t.log(`seeds ${SEED} to ${SEED + 9}`);
  const seen = { outOfRange: 0, free: 0, twice: 0 };
  for (let seed = SEED; seed < SEED + 10; seed++) {
    const sim = new SimMachine(seed);
    const driver = card(t, sim, { faults: { rates: { "hostile-id": 300 } } });
    driver.start();
    // Fewer than the ring holds: no descriptor is offered twice, so that each true id comes once at most.
    for (let i = 0; i < 100; i++) driver.send(ethernet(60));
    sim.step(10);
    const ids = driver
      .queue(1)
      .takeUsed()
      .map(({ id }) => id);
    for (const [i, id] of ids.entries()) {
      if (id >= 256) seen.outOfRange++;
      else if (id >= 100) seen.free++;
      else if (ids.indexOf(id) < i) seen.twice++;
    }
  }
  t.true(seen.outOfRange > 0 && seen.twice > 0, JSON.stringify(seen));
});

test("hostile lengths are zero or longer than the buffer", (t) => {
  t.log(`seed ${SEED}`);
  const { received } = run(t, SEED, { "hostile-len": 200 });
  t.true(received.some(({ length }) => length === 0));
  t.true(received.some(({ length }) => length > 200));
});

test("a used index jumps by more than the ring", (t) => {
  t.log(`seed ${SEED}`);
  const sim = new SimMachine(SEED);
  const driver = card(t, sim, { faults: { rates: { "idx-jump": 1000 } } });
  driver.start();
  driver.send(ethernet(60));
  sim.step();
  t.true(driver.queue(1).usedIndex > 256);
});

test("num_buffers lies", (t) => {
  t.log(`seed ${SEED}`);
  const { driver } = run(t, SEED, { "num-buffers": 1000 });
  t.true((driver.fn.report.injected["num-buffers"] ?? 0) > 0);
});

test("the link flaps, and comes back each time", (t) => {
  t.log(`seed ${SEED}`);
  const sim = new SimMachine(SEED);
  const driver = card(t, sim, { faults: { rates: { flap: 100 } } });
  driver.start();
  const seen = new Set<number>();
  for (let i = 0; i < 2000; i++) {
    sim.step();
    seen.add(driver.read(4, 6, 2) & 1);
  }
  t.deepEqual(
    [...seen].sort((a, b) => a - b),
    [0, 1],
  );
  t.true((driver.fn.report.injected.flap ?? 0) > 10);
});

test("the card dies at the step that was named, not before", (t) => {
  const sim = new SimMachine(SEED);
  const driver = card(t, sim, { faults: { rates: {}, dieAt: 5 } });
  driver.start();
  sim.step(4);
  t.not(driver.status, 0xff);
  sim.step();
  t.is(driver.status, 0xff);
  t.is(driver.fn.report.steps, 5);
});

test("under the stepped scheduler a seed replays every byte of the rings, and another seed does not", async (t) => {
  const all = Object.fromEntries(FAULT_NAMES.map((name) => [name, 60]));
  const digest = async (seed: number): Promise<string> => {
    t.log(`seed ${seed}`);
    const executor = new SteppedExecutor(seed);
    const sim = new SimMachine(executor);
    const fn = sim.create({ name: "replayed", backend: { kind: "loop" }, faults: { rates: all } });
    const driver = new TestDriver(fn, memory(t), () => undefined);
    driver.start();
    const { chunk, view } = driver.memory;
    const at = driver.alloc(256);
    const hash = createHash("sha256");
    let turns = 0;
    const done = new Promise<void>((resolve) => {
      const leave = executor.add({
        name: "driver",
        step() {
          driver.queue(1).offer([{ at, length: 72 }]);
          driver.queue(0).offer([{ at: at + 128, length: 100, write: true }]);
          hash.update(view.u8.subarray(chunk.offset, chunk.offset + 65536));
          if (++turns < 100) return;
          leave();
          resolve();
        },
      });
    });
    await executor.run(done);
    hash.update(JSON.stringify(fn.report));
    fn.close();
    return hash.digest("hex");
  };
  const first = await digest(SEED);
  t.is(await digest(SEED), first);
  t.not(await digest(SEED + 1), first);
});

test("faults are read from a device's argument, and a wrong one says what is known", (t) => {
  t.deepEqual(parseFaults("late:5+lost:1", "x"), { rates: { late: 5, lost: 1 } });
  t.deepEqual(parseFaults("flap:1000,die-at:77", "x"), { rates: { flap: 1000 }, dieAt: 77 });
  const names: FaultName[] = [...FAULT_NAMES];
  for (const bad of ["late", "late:x", "late:1001", "foo:1", "die-at:0"])
    t.throws(() => parseFaults(bad, "net_sim0"), { message: new RegExp(names.join(" ")) }, bad);
});
