/** Devices in their thread: the same registers, memory and interrupts, and an end of the thread that kills the devices only. */
import { existsSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { attachBar } from "@weir/core";
import test, { type ExecutionContext } from "ava";
import { threadedFunction } from "../src/sim-machine.js";
import { DeviceThread } from "../src/thread/device-thread.js";
import * as v from "../src/virtio/constants.js";
import { ethernet, memory, SEED, TestDriver } from "./fixtures/driver.js";

let names = 0;

function threaded(t: ExecutionContext, options: object = {}): TestDriver {
  const fn = threadedFunction({ name: `threaded${names++}`, ...options }, SEED);
  t.teardown(() => fn.close());
  return new TestDriver(fn, memory(t), () => undefined);
}

/** Gives the device thread time, up to a bound that only a failure reaches. */
async function until(done: () => boolean): Promise<boolean> {
  for (let i = 0; i < 2000 && !done(); i++) await sleep(5);
  return done();
}

const threads = (): number => readdirSync("/proc/self/task").length;

test.serial(
  "two cards on a wire move frames while ctl does nothing, and interrupt it",
  async (t) => {
    const backend = { kind: "wire", name: "threaded" };
    const a = threaded(t, { backend });
    const b = threaded(t, { backend });
    a.start();
    b.fn.setBusMaster(true);
    b.negotiate();
    b.enable(0, undefined, 1);
    b.status = b.status | v.STATUS_DRIVER_OK;
    const got: number[] = [];
    b.fn.enableVectors(2, (vector) => got.push(vector));
    const buffers = b.postReceive(8, 2048);
    const frame = ethernet(500);
    a.send(frame);
    t.true(await until(() => got.length > 0));
    t.is(got[0], 1);
    const [entry] = b.queue(0).takeUsed();
    t.is(entry?.length, 512);
    const at = (buffers[entry?.id ?? 0] as number) + 12;
    t.deepEqual(b.memory.view.u8.slice(at, at + 500), frame);
    t.deepEqual([...a.violations, ...b.violations], []);
    t.is(a.fn.report.faultCount + b.fn.report.faultCount, 0);
  },
);

test.serial("once unmap has returned the thread reaches nothing there", async (t) => {
  const driver = threaded(t).start();
  const { chunk } = driver.memory;
  const at = driver.alloc(72);
  for (let i = 0; i < 200; i++) driver.queue(1).offer([{ at, length: 72 }]);
  const unmapped = driver.fn.dma.unmap(driver.iova(chunk.offset), chunk.bytes);
  t.is(unmapped, chunk.bytes);
  const { used } = driver.queue(1);
  driver.memory.view.u8.fill(0x5a, used, used + 64);
  driver.queue(1).publish(250);
  t.true(await until(() => driver.fn.report.faultCount > 0));
  t.true(driver.memory.view.u8.subarray(used, used + 64).every((byte) => byte === 0x5a));
});

test.serial(
  "the thread ends with its last device, and the next device gets a new one",
  async (t) => {
    const before = threads();
    for (let i = 0; i < 3; i++) {
      const a = threadedFunction({ name: "first" }, SEED);
      const b = threadedFunction({ name: "second" }, SEED);
      t.is(a.ids.device, 0x1041);
      a.close();
      t.is(b.ids.device, 0x1041);
      t.is(b.configRead(0, 2), 0x1af4);
      b.close();
      t.is(b.configRead(0, 2), 0xffff);
    }
    t.true(await until(() => threads() <= before));
  },
);

test.serial("what cannot be made is refused as it is without a thread, and leaves nothing", (t) => {
  const backend = { kind: "wire", name: "full" } as const;
  const ends = [0, 1].map((i) => threadedFunction({ name: `end${i}`, backend }, SEED));
  t.throws(() => threadedFunction({ name: "third", backend }, SEED), {
    code: "EBUSY",
    message: /wire=full/,
  });
  for (const end of ends) end.close();
});

for (const how of ["throw", "exit"] as const) {
  test.serial(
    `when the thread ends by ${how} every device reads all ones, and unmapping works`,
    async (t) => {
      const driver = threaded(t).start();
      const other = threaded(t);
      const view = attachBar(driver.fn.bar(2).image);
      DeviceThread.current().break(how);
      t.is(driver.status, 0xff);
      t.is(driver.fn.configRead(0, 4), 0xffffffff);
      t.is(other.fn.configRead(0, 4), 0xffffffff);
      t.is(view.u32[0], 0xffffffff);
      const { chunk } = driver.memory;
      t.is(driver.fn.dma.unmap(driver.iova(chunk.offset), chunk.bytes), chunk.bytes);
      t.false(driver.fn.alive);
      const next = threaded(t);
      t.is(next.fn.ids.vendor, 0x1af4);
      await sleep(0); // its error event must not end the process
    },
  );
}

test.serial("a thread that hangs is ended, and ctl goes on", (t) => {
  const driver = threaded(t).start();
  DeviceThread.current().break("hang");
  t.is(driver.status, 0xff);
  const { chunk } = driver.memory;
  t.is(driver.fn.dma.unmap(driver.iova(chunk.offset), chunk.bytes), chunk.bytes);
});

test.serial(
  "a card that dies in its thread takes its BARs along, and leaves the other cards alone",
  async (t) => {
    const driver = threaded(t, { faults: { rates: {}, dieAt: 500 } }).start();
    const other = threaded(t).start();
    const view = attachBar(driver.fn.bar(2).image);
    t.true(await until(() => driver.fn.report.dead));
    t.is(driver.status, 0xff);
    t.is(view.u32[0], 0xffffffff);
    other.send(ethernet(60));
    t.true(await until(() => other.queue(1).usedIndex === 1));
    t.true(existsSync("/proc/self"));
  },
);
