// Pools, their caches and the ledger: against a model, at their limits, and under two threads at once.

import { Worker } from "node:worker_threads";
import test from "ava";
import fc from "fast-check";
import { audit } from "../src/mempool/audit.js";
import { attachFrames } from "../src/mempool/frames.js";
import { HOLDERS_MAX } from "../src/mempool/ledger.js";
import { PacketMemory } from "../src/mempool/packet-memory.js";
import { createSpscRing } from "../src/ring/spsc-ring.js";
import { closeClean } from "./fixtures/accounts.js";
import { bufferOps, runOps } from "./fixtures/packet-model.js";
import type { PoolWork } from "./fixtures/pool-worker.js";
import { seedOf } from "./fixtures/seed.js";

const THREADS = ["ctl", "lcore 1", "lcore 2"];

test("no sequence of operations on buffers loses one, gives one out twice, or miscounts a fault", (t) => {
  fc.assert(fc.property(fc.array(bufferOps, { maxLength: 80, size: "max" }), fc.nat(), runOps), {
    seed: seedOf(t),
    numRuns: 60,
    includeErrorInReport: true,
  });
  t.pass();
});

test("each kind of wrong return and of wrong send is counted by its name, and changes nothing else", (t) => {
  const memory = new PacketMemory({ threads: THREADS, bytes: 2 ** 22 });
  const pool = memory.createPool({ name: "p", buffers: 100, cacheSize: 8 });
  const one = attachFrames(memory.attach(1), pool.id);
  const lcore2 = memory.attach(2);
  const two = attachFrames(lcore2, pool.id);
  const handle = one.alloc();
  two.free(handle);
  t.is(memory.faults().foreignReturns, 1);
  one.free(handle);
  one.free(handle);
  two.free(handle);
  t.is(memory.faults().doubleReturns, 2);
  for (const bad of [0, 0xffffffff, memory.arena.slotsMax, memory.arena.slotsMax - 1])
    one.free(bad);
  t.is(memory.faults().badHandles, 4);
  const [, first, second] = memory.threadHolders;
  for (const bad of [0, 0xffffffff, handle]) t.false(lcore2.moveFrame(bad, second.id, first.id));
  t.is(memory.faults().foreignSends, 3);
  closeClean(memory);
});

for (const cacheSize of [0, 1, 512]) {
  test(`a burst longer than a pool with caches of ${cacheSize} gets every buffer once, and all come back in one burst`, (t) => {
    const memory = new PacketMemory({ threads: THREADS, bytes: 2 ** 23 });
    const pool = memory.createPool({ name: "p", buffers: 2000, cacheSize });
    const frames = attachFrames(memory.attach(1), pool.id);
    const handles = new Uint32Array(pool.buffers + 100);
    for (let round = 0; round < 3; round++) {
      t.is(frames.allocBurst(handles, handles.length), pool.buffers);
      t.is(new Set(handles.subarray(0, pool.buffers)).size, pool.buffers);
      t.is(frames.alloc(), 0);
      frames.freeBurst(handles, pool.buffers);
    }
    closeClean(memory);
  });
}

test("a thread gets the buffers that another one flushed, and not those that it caches", (t) => {
  const memory = new PacketMemory({ threads: THREADS, bytes: 2 ** 22 });
  const pool = memory.createPool({ name: "p", buffers: 900, cacheSize: 512 });
  const lcore1 = memory.attach(1);
  const one = attachFrames(lcore1, pool.id);
  const two = attachFrames(memory.attach(2), pool.id);
  const handles = new Uint32Array(pool.buffers);
  one.freeBurst(handles, one.allocBurst(handles, pool.buffers));
  const cached = pool.freeHandles().caches[1].handles.length;
  t.true(cached > 0);
  const got = two.allocBurst(handles, pool.buffers);
  t.is(got, pool.buffers - cached);
  lcore1.flush();
  t.is(two.allocBurst(handles.subarray(got), pool.buffers), cached);
  two.freeBurst(handles, pool.buffers);
  closeClean(memory);
});

test("a pool with a held buffer refuses to close, says how many, and closes once it is given back", (t) => {
  const memory = new PacketMemory({ threads: THREADS, bytes: 2 ** 22 });
  const pool = memory.createPool({ name: "p", buffers: 10, cacheSize: 4 });
  const frames = attachFrames(memory.ctl, pool.id);
  const handle = frames.alloc();
  t.throws(() => memory.closePool(pool), {
    code: "EBUSY",
    message: /pool p .*: 1 of its buffers/,
  });
  t.deepEqual(audit(memory).problems, []);
  frames.free(handle);
  closeClean(memory);
});

test("a pool that is closed while a thread caches its buffers leaves the counters of the others right", (t) => {
  const memory = new PacketMemory({ threads: THREADS, bytes: 2 ** 23 });
  const gone = memory.createPool({ name: "gone", buffers: 100, cacheSize: 32 });
  memory.createPool({ name: "stays", buffers: 100, cacheSize: 32 });
  const frames = attachFrames(memory.attach(1), gone.id);
  frames.free(frames.alloc());
  t.true(gone.freeHandles().caches[1].handles.length > 0);
  memory.closePool(gone);
  t.deepEqual(audit(memory).problems, []);
  const next = memory.createPool({ name: "next", buffers: 100, cacheSize: 32 });
  t.is(next.id, gone.id);
  t.deepEqual(audit(memory).problems, []);
  closeClean(memory);
});

test("a pool that finds no memory or no holder leaves nothing behind", (t) => {
  const memory = new PacketMemory({ threads: THREADS, bytes: 2 ** 22 });
  const before = memory.holders.all().length;
  t.throws(() => memory.createPool({ name: "p", buffers: 3000, cacheSize: 0 }), {
    code: "ENOMEM",
    message: /3000 more buffers do not fit/,
  });
  const many = Array.from({ length: HOLDERS_MAX - before - 2 }, (_, i) =>
    memory.holders.add("ring", `r${i}`),
  );
  t.throws(() => memory.createPool({ name: "p", buffers: 10, cacheSize: 0 }), {
    code: "ERR_WEIR_LIMIT",
  });
  t.is(memory.holders.all().length, before + many.length);
  t.is(memory.arena.chunks.size, 0);
  for (const holder of many) memory.holders.remove(holder);
  memory.createPool({ name: "p", buffers: 10, cacheSize: 0 });
  closeClean(memory);
});

test("a pool of no buffers, a cache above 512 and a name above 26 are refused as usage", (t) => {
  const memory = new PacketMemory({ threads: THREADS, bytes: 2 ** 22 });
  for (const wrong of [
    { buffers: 0 },
    { buffers: Number.NaN },
    { cacheSize: -1 },
    { cacheSize: 513 },
    { name: "x".repeat(27) },
  ]) {
    t.throws(() => memory.createPool({ name: "p", buffers: 10, cacheSize: 0, ...wrong }), {
      code: "ERR_WEIR_USAGE",
    });
  }
  closeClean(memory);
});

test("the age of a held buffer is counted from when its holder got it, also across the wrap of the clock", (t) => {
  const memory = new PacketMemory({ threads: THREADS, bytes: 2 ** 22 });
  const pool = memory.createPool({ name: "p", buffers: 10, cacheSize: 0 });
  const frames = attachFrames(memory.ctl, pool.id);
  memory.setTick(2 ** 20 - 2);
  const handles = Uint32Array.of(frames.alloc(), 0);
  memory.setTick(2 ** 20 + 3);
  handles[1] = frames.alloc();
  const [held] = audit(memory).held;
  t.deepEqual([held.holder.name, held.buffers, held.oldestMs], ["ctl", 2, 500]);
  frames.freeBurst(handles, 2);
  closeClean(memory);
});

test("two threads that allocate, clone and free at once, and free each other's clones, leave every buffer accounted for", async (t) => {
  t.timeout(120_000);
  const memory = new PacketMemory({ threads: THREADS, bytes: 2 ** 23 });
  const pool = memory.createPool({ name: "p", buffers: 1800, cacheSize: 64 });
  // More than there are buffers: a push always fits.
  const rings = [createSpscRing(2048), createSpscRing(2048)];
  const done = new SharedArrayBuffer(4);
  const totals = await Promise.all(
    [1, 2].map((thread) => {
      const work: PoolWork = {
        memory: memory.image,
        thread,
        holder: memory.threadHolders[thread].id,
        peer: memory.threadHolders[3 - thread].id,
        pool: pool.id,
        out: rings[thread - 1],
        in: rings[2 - thread],
        frames: 200_000,
        done,
      };
      const worker = new Worker(new URL("./fixtures/pool-worker.js", import.meta.url), {
        workerData: work,
      });
      return new Promise<number>((resolve, reject) => {
        worker.once("message", resolve);
        worker.once("error", reject);
      });
    }),
  );
  t.is(totals[0] + totals[1], 400_000);
  t.deepEqual(Object.values(memory.faults()), [0, 0, 0, 0, 0]);
  closeClean(memory);
});
