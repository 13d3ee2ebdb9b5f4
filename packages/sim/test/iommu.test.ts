/** The IOMMU: what is not mapped cannot be reached, and every attempt is on record. */
import test from "ava";
import { usableRanges } from "../src/iommu.js";
import { card, ethernet, machine, memory } from "./fixtures/driver.js";

const MIB = 2 ** 20;

test("a frame at an address that is not mapped is refused and recorded, and the card asks for a reset", (t) => {
  const sim = machine(t);
  const driver = card(t, sim).start();
  sim.step(3);
  driver.queue(1).offer([{ iova: 0x123456000n, length: 100 }]);
  sim.step();
  t.deepEqual(driver.fn.report.faults, [
    { function: driver.fn.name, iova: 0x123456000, length: 100, access: "read", step: 4 },
  ]);
  t.true(driver.needsReset);
  t.is(driver.queue(1).usedIndex, 0);
});

test("a buffer that reaches beyond its mapping is filled up to there, and the rest is refused", (t) => {
  const sim = machine(t);
  const driver = card(t, sim, { backend: { kind: "loop" } }).start();
  const { chunk } = driver.memory;
  const end = chunk.offset + chunk.bytes;
  driver.queue(0).offer([{ at: end - 30, length: 2000, write: true }]);
  driver.send(ethernet(100));
  sim.step(2);
  t.is(driver.fn.report.faultCount, 1);
  t.is(driver.fn.report.faults[0]?.access, "write");
  t.is(driver.fn.report.faults[0]?.iova, Number(driver.iova(end)));
});

test("once unmap has returned the card reaches nothing there, and mapping it elsewhere works", (t) => {
  const sim = machine(t);
  const driver = card(t, sim).start();
  const { fn, memory: mem } = driver;
  driver.send(new Uint8Array(60));
  sim.step();
  t.is(fn.report.counters.txFrames, 1);
  t.is(fn.dma.unmap(driver.iova(mem.chunk.offset), mem.chunk.bytes), mem.chunk.bytes);
  const before = mem.view.u8.slice(mem.chunk.offset, mem.chunk.offset + mem.chunk.bytes);
  driver.send(new Uint8Array(60).fill(1));
  sim.step(5);
  t.is(fn.report.counters.txFrames, 1);
  t.is(fn.report.faultCount, 1); // then it has stopped
  const used = driver.queue(1).used - mem.chunk.offset;
  t.is(mem.view.u8[mem.chunk.offset + used + 2], before[used + 2]);
  t.is(fn.dma.unmap(driver.iova(mem.chunk.offset), mem.chunk.bytes), 0);
  t.notThrows(() => fn.dma.map(1n << 40n, mem.arena, mem.chunk.offset, mem.chunk.bytes));
  t.is(fn.dma.mapped.length, 1);
});

test("ranges leave the MSI hole out; mappings are whole pages inside of them and never overlap", (t) => {
  t.deepEqual(usableRanges(), [
    { first: 0n, last: 0xfedfffffn },
    { first: 0xfef00000n, last: 0xffffffffffffn },
  ]);
  t.deepEqual(usableRanges(0x200000n, 0x3fffffffn), [{ first: 0x200000n, last: 0x3fffffffn }]);
  t.deepEqual(usableRanges(0xfee00000n, 0xfeefffffn), []);
  const { arena, chunk } = memory(t);
  const fn = machine(t).create({
    name: "narrow",
    ranges: usableRanges(0x200000n, 0x3fffffffn),
  });
  t.teardown(() => fn.close());
  const map = (iova: bigint, offset = chunk.offset, bytes = MIB): void =>
    fn.dma.map(iova, arena, offset, bytes);
  t.throws(() => map(0x100000n), { code: "EINVAL" });
  t.throws(() => map(0x3ff80000n), { code: "EINVAL" });
  t.throws(() => map(0x200800n), { code: "EINVAL" });
  t.throws(() => map(0x200000n, arena.image.bytes - 4096), { code: "EINVAL" });
  map(0x200000n);
  t.throws(() => map(0x280000n), { code: "EEXIST" });
  map(0x300000n);
  t.is(fn.dma.unmap(0x200000n, 2 * MIB), 2 * MIB);
  t.is(fn.dma.mapped.length, 0);
});
