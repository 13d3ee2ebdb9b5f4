/** The PCI function around the model: configuration space, BARs, capabilities, MSI-X, reset, death. */
import { attachBar } from "@weir/core";
import test from "ava";
import * as pci from "../src/pci/registers.js";
import * as v from "../src/virtio/constants.js";
import { card, machine } from "./fixtures/driver.js";

test("the identity is that of a virtio 1 network card, and a legacy driver does not take it", (t) => {
  const { fn } = card(t, machine(t));
  t.deepEqual(
    { ...fn.ids },
    {
      vendor: 0x1af4,
      device: 0x1041,
      subsystemVendor: 0x1af4,
      subsystem: 0x41,
      revision: 1,
      classCode: 0x020000,
    },
  );
});

test("writing all ones to a BAR and reading it back gives its size and type", (t) => {
  const { fn } = card(t, machine(t));
  for (const [index, type] of [
    [2, 4],
    [4, 0],
  ] as const) {
    const before = fn.configRead(pci.BAR(index), 4);
    fn.configWrite(pci.BAR(index), 4, 0xffffffff);
    const sizing = fn.configRead(pci.BAR(index), 4);
    t.is(sizing & 0xf, type);
    t.is((~(sizing & ~0xf) >>> 0) + 1, fn.bar(index).bytes);
    fn.configWrite(pci.BAR(index), 4, before);
    t.is(fn.configRead(pci.BAR(index), 4), before);
  }
  fn.configWrite(pci.BAR(3), 4, 0xffffffff);
  t.is(fn.configRead(pci.BAR(3), 4), 0xffffffff); // the high half of BAR 2
  for (const index of [0, 1, 5]) {
    fn.configWrite(pci.BAR(index), 4, 0xffffffff);
    t.is(fn.configRead(pci.BAR(index), 4), 0);
    t.throws(() => fn.bar(index), { code: "ENODEV" });
  }
});

test("read-only fields of the header stay as they are", (t) => {
  const { fn } = card(t, machine(t));
  for (const offset of [0, 2, 8, 0x0e, 0x2c, 0x34]) {
    const before = fn.configRead(offset, 1);
    fn.configWrite(offset, 1, ~before & 0xff);
    t.is(fn.configRead(offset, 1), before);
  }
});

test("without the Memory bit a BAR reads all ones and takes no write", (t) => {
  const driver = card(t, machine(t));
  driver.fn.configWrite(pci.COMMAND, 2, 0);
  driver.status = v.STATUS_ACKNOWLEDGE;
  t.is(driver.status, 0xff);
  driver.fn.configWrite(pci.COMMAND, 2, pci.COMMAND_MEMORY);
  t.is(driver.status, 0);
});

test("without bus master the card reads no ring", (t) => {
  const sim = machine(t);
  const driver = card(t, sim).start();
  driver.fn.setBusMaster(false);
  driver.send(new Uint8Array(60));
  sim.step(5);
  t.is(driver.fn.report.counters.txFrames, 0);
  driver.fn.setBusMaster(true);
  sim.step();
  t.is(driver.fn.report.counters.txFrames, 1);
});

test("an interrupt arrives once when enabled, waits while masked or without bus master, and never arrives disabled", (t) => {
  const sim = machine(t);
  const driver = card(t, sim);
  const { fn } = driver;
  const got: number[] = [];
  fn.setBusMaster(true);
  driver.negotiate();
  driver.enable(0);
  driver.enable(1, undefined, 1);
  driver.status = driver.status | v.STATUS_DRIVER_OK;
  const send = (): void => {
    driver.memory.view.u16[(driver.queue(1).avail + v.usedEventOffset(driver.queue(1).size)) / 2] =
      driver.queue(1).usedIndex;
    driver.send(new Uint8Array(60));
    sim.step(2);
  };
  send();
  t.deepEqual(got, []); // MSI-X is off
  fn.enableVectors(3, (vector) => got.push(vector));
  send();
  t.deepEqual(got, [1]);
  fn.bar(4).write(16 + 12, 4, 1); // PCI 6.8.2.9: masked
  send();
  t.deepEqual(got, [1]);
  t.is(fn.bar(4).read(0x1000, 4), 0b10); // pending
  fn.bar(4).write(16 + 12, 4, 0);
  sim.step();
  t.deepEqual(got, [1, 1]);
  t.is(fn.bar(4).read(0x1000, 4), 0);
  fn.disableVectors();
  send();
  t.deepEqual(got, [1, 1]);
  t.throws(() => fn.enableVectors(99, () => undefined), { code: "EINVAL" });
  t.deepEqual(driver.violations, []);
});

test("a message to an address that is no interrupt is a refused access", (t) => {
  const sim = machine(t);
  const driver = card(t, sim);
  driver.fn.setBusMaster(true);
  driver.fn.enableVectors(2, () => t.fail());
  driver.fn.bar(4).write(0, 4, 0x1000);
  driver.negotiate();
  driver.write(v.CFG_COMMON, 16, 2, 0);
  driver.status = driver.status | v.STATUS_DRIVER_OK;
  driver.fn.command({ type: "link", up: false });
  sim.step();
  const [fault] = driver.fn.report.faults;
  t.is(fault?.iova, 0x1000);
  t.is(fault?.access, "write");
});

test("a function level reset stops the card, turns bus master and MSI-X off, and keeps the BARs", (t) => {
  const sim = machine(t);
  const driver = card(t, sim).start();
  const { fn } = driver;
  const bars = [2, 4].map((i) => fn.configRead(pci.BAR(i), 4));
  fn.enableVectors(2, () => undefined);
  fn.reset();
  t.is(driver.status, 0);
  t.is(fn.configRead(pci.COMMAND, 2), pci.COMMAND_MEMORY);
  t.deepEqual(
    [2, 4].map((i) => fn.configRead(pci.BAR(i), 4)),
    bars,
  );
  fn.setBusMaster(true);
  driver.send(new Uint8Array(60));
  sim.step();
  t.is(fn.report.counters.txFrames, 0);
});

test("a dead card reads all ones everywhere, also in memory that an lcore mapped, and moves nothing", (t) => {
  const sim = machine(t);
  const driver = card(t, sim).start();
  const { fn } = driver;
  const view = attachBar(fn.bar(2).image);
  t.is(view.u32[0], 0);
  fn.command({ type: "die" });
  t.is(fn.configRead(0, 2), 0xffff);
  t.is(driver.status, 0xff);
  t.is(view.u32[0], 0xffffffff);
  view.u32[0x3000 / 4] = 0; // a late doorbell is harmless
  driver.send(new Uint8Array(60));
  sim.step(10);
  t.is(driver.queue(1).usedIndex, 0);
  t.true(fn.report.dead);
  t.notThrows(() => fn.reset());
});

test("the window in configuration space reaches the same registers as the BAR", (t) => {
  const { fn } = card(t, machine(t));
  const at = (type: number): number => {
    for (let cap = fn.configRead(0x34, 1); cap !== 0; cap = fn.configRead(cap + 1, 1))
      if (fn.configRead(cap, 1) === 9 && fn.configRead(cap + 3, 1) === type) return cap;
    return 0;
  };
  const window = at(5);
  const common = fn.configRead(at(1) + 8, 4);
  const access = (offset: number, length: number): void => {
    fn.configWrite(window + 4, 1, 2);
    fn.configWrite(window + 8, 4, common + offset);
    fn.configWrite(window + 12, 4, length);
  };
  access(20, 1);
  fn.configWrite(window + 16, 1, 1); // device_status: ACKNOWLEDGE
  t.is(fn.configRead(window + 16, 1), 1);
  access(18, 2);
  t.is(fn.configRead(window + 16, 2), 3); // num_queues
  t.is(fn.report.violationCount, 0);
  access(19, 2);
  fn.configRead(window + 16, 2);
  t.deepEqual(
    fn.report.violations.map(({ kind }) => kind),
    ["pci-cfg-access"],
  );
});
