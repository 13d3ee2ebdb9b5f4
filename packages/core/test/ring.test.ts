// Both rings: against a plain array in one thread, with indices about to wrap, and with every entry followed across threads.

import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import test from "ava";
import fc from "fast-check";
import { attachMpmcRing, createMpmcRing, type MpmcRingImage } from "../src/ring/mpmc-ring.js";
import {
  attachSpscConsumer,
  attachSpscProducer,
  createSpscRing,
  type SpscRingImage,
} from "../src/ring/spsc-ring.js";
import type { RingWork } from "./fixtures/ring-worker.js";
import { seedOf } from "./fixtures/seed.js";

/** Where the free-running indices start: anywhere near the two places where they wrap, as signed and as unsigned words. */
const start = fc
  .tuple(fc.constantFrom(0, 2 ** 31, 2 ** 32), fc.integer({ min: -40, max: 40 }))
  .map(([at, off]) => (at + off) | 0);
const capacity = fc.constantFrom(1, 2, 4, 8, 32);
const moves = fc.array(fc.record({ put: fc.boolean(), n: fc.integer({ min: -1, max: 40 }) }), {
  maxLength: 120,
  size: "max",
});

/** Every index of a ring, each at the start of a cache line, set to `at`. */
function preset({ words }: MpmcRingImage | SpscRingImage, at: number): void {
  const all = new Int32Array(words);
  for (let i = 0; i < all.length; i += 16) all[i] = at;
}

test("an mpmc ring is a bounded queue, wherever its indices wrap", (t) => {
  const property = fc.property(capacity, start, moves, (size, at, ops) => {
    const image = createMpmcRing(size);
    preset(image, at);
    const rings = [attachMpmcRing(image, "a"), attachMpmcRing(image, "b")];
    const model: number[] = [];
    let next = 0xffffff00; // entries are u32
    for (const [i, { put, n }] of ops.entries()) {
      const ring = rings[i & 1];
      const handles = new Uint32Array(60);
      const want = Math.max(0, n);
      if (put) {
        for (let k = 0; k < want; k++) handles[3 + k] = next + k;
        const moved = ring.enqueue(handles, 3, n);
        if (moved !== Math.min(want, size - model.length)) return false;
        for (let k = 0; k < moved; k++) model.push((next + k) >>> 0);
        next = (next + moved) >>> 0;
      } else {
        const moved = ring.dequeue(handles, 5, n);
        if (moved !== Math.min(want, model.length)) return false;
        for (let k = 0; k < moved; k++) if (handles[5 + k] !== model.shift()) return false;
        if (handles[4] !== 0 || handles[5 + moved] !== 0) return false;
      }
      if (ring.count() !== model.length) return false;
      if (ring.snapshot().join() !== model.join()) return false;
    }
    return true;
  });
  fc.assert(property, { seed: seedOf(t), numRuns: 300 });
  t.pass();
});

test("an spsc ring is a bounded queue whose entries are seen when published and freed when released", (t) => {
  const property = fc.property(
    capacity,
    start,
    fc.array(
      fc.record({
        side: fc.constantFrom("push", "publish", "pop", "release"),
        n: fc.integer({ min: 1, max: 40 }),
      }),
      { maxLength: 150, size: "max" },
    ),
    (size, at, ops) => {
      const image = createSpscRing(size);
      preset(image, at);
      const producer = attachSpscProducer(image, "p");
      const consumer = attachSpscConsumer(image, "c");
      // Entry i of all is i: put in and not published, published, taken out, and released.
      let [staged, published, taken, released] = [0, 0, 0, 0];
      for (const { side, n } of ops) {
        if (side === "push") {
          // A producer asks for the room beyond what it staged.
          const room = producer.room(n);
          if (room !== Math.min(n, size - (staged - released))) return false;
          for (let k = 0; k < room; k++) producer.push(0xfffffff0 + staged++);
        } else if (side === "publish") {
          producer.publish();
          published = staged;
        } else if (side === "pop") {
          const ready = consumer.ready(n);
          if (ready !== Math.min(n, published - taken)) return false;
          for (let k = 0; k < ready; k++)
            if (consumer.pop() !== (0xfffffff0 + taken++) >>> 0) return false;
        } else {
          consumer.release();
          released = taken;
        }
      }
      return true;
    },
  );
  fc.assert(property, { seed: seedOf(t), numRuns: 300 });
  t.pass();
});

test("an spsc side that is attached anew goes on where the one before it published or released", (t) => {
  const image = createSpscRing(8);
  const producer = attachSpscProducer(image, "p");
  producer.push(1);
  producer.publish();
  producer.push(2); // never published
  const again = attachSpscProducer(image, "p");
  again.push(3);
  again.publish();
  const consumer = attachSpscConsumer(image, "c");
  t.is(consumer.ready(8), 2);
  t.deepEqual([consumer.pop(), consumer.pop()], [1, 3]);
  const late = attachSpscConsumer(image, "c");
  t.is(late.ready(8), 2);
  t.is(late.pop(), 1);
});

test("a ring of a capacity that is no power of two is refused", (t) => {
  for (const wrong of [0, 3, -4, 2 ** 31, Number.NaN]) {
    t.throws(() => createMpmcRing(wrong), { code: "ERR_WEIR_BUG" });
    t.throws(() => createSpscRing(wrong), { code: "ERR_WEIR_BUG" });
  }
});

// --- Across threads ---

const ENTRIES = 1_000_000;
const DEADLINE_MS = 100_000;

/** Runs the workers; each consumer's answer is all it took out, in its order. */
async function runWorkers(works: readonly Omit<RingWork, "stop">[]): Promise<Uint32Array[]> {
  const stop = new SharedArrayBuffer(4);
  const deadline = setTimeout(() => {
    Atomics.store(new Int32Array(stop), 0, 1);
  }, DEADLINE_MS);
  try {
    return await Promise.all(
      works.map((work) => {
        const worker = new Worker(new URL("./fixtures/ring-worker.js", import.meta.url), {
          workerData: { ...work, stop } satisfies RingWork,
        });
        return new Promise<Uint32Array>((resolve, reject) => {
          worker.once("message", resolve);
          worker.once("error", reject);
        });
      }),
    );
  } finally {
    clearTimeout(deadline);
  }
}

/** True when the entries of each producer, `first` to `first + count - 1`, come in ascending order. */
function inOrder(taken: Uint32Array, producers: number, each: number): boolean {
  const last = new Int32Array(producers).fill(-1);
  for (const entry of taken) {
    const producer = Math.floor(entry / each);
    if (entry <= last[producer]) return false;
    last[producer] = entry;
  }
  return true;
}

function onceEach(takens: readonly Uint32Array[]): { missing: number; twice: number } {
  const seen = new Uint8Array(ENTRIES);
  let twice = 0;
  for (const taken of takens) {
    for (const entry of taken) {
      if (seen[entry] !== 0) twice++;
      seen[entry] = 1;
    }
  }
  return { missing: seen.filter((count) => count === 0).length, twice };
}

test("a million entries of two producers reach two consumers of an mpmc ring once each, in the order of each producer", async (t) => {
  t.timeout(DEADLINE_MS + 20_000);
  const ring = createMpmcRing(1024);
  preset(ring, 2 ** 31 - 5000);
  const taken = new SharedArrayBuffer(4);
  const half = ENTRIES / 2;
  const [, , ...takens] = await runWorkers([
    { kind: "mpmc", side: "producer", ring, first: 0, count: half, total: ENTRIES, taken },
    { kind: "mpmc", side: "producer", ring, first: half, count: half, total: ENTRIES, taken },
    { kind: "mpmc", side: "consumer", ring, first: 0, count: 0, total: ENTRIES, taken },
    { kind: "mpmc", side: "consumer", ring, first: 0, count: 0, total: ENTRIES, taken },
  ]);
  t.deepEqual(onceEach(takens), { missing: 0, twice: 0 });
  for (const each of takens) t.true(inOrder(each, 2, half));
  t.is(attachMpmcRing(ring, "after").count(), 0);
});

for (const [side, other, head, tail] of [
  ["producer", "consumers", 0, 16],
  ["consumer", "producers", 32, 48],
] as const) {
  test(`what a ${side} of an mpmc ring has done is not seen by the ${other} before an earlier ${side} is done too`, async (t) => {
    t.timeout(DEADLINE_MS + 20_000);
    const ring = createMpmcRing(8);
    const words = new Int32Array(ring.words);
    if (side === "consumer") attachMpmcRing(ring, "fill").enqueue(Uint32Array.of(7, 8, 9), 0, 3);
    words[head] = 2; // somebody has reserved two places, and was preempted
    const work: Omit<RingWork, "stop"> = {
      kind: "mpmc",
      side,
      ring,
      first: 5,
      count: 1,
      total: 1,
      taken: new SharedArrayBuffer(4),
    };
    const ended = runWorkers([work]);
    while (Atomics.load(words, head) !== 3) await sleep(1);
    await sleep(20);
    t.is(Atomics.load(words, tail), 0);
    Atomics.store(words, tail, 2); // and goes on
    const [taken] = await ended;
    t.is(Atomics.load(words, tail), 3);
    if (side === "consumer") t.deepEqual([...taken], [9]);
    else t.is(new Uint32Array(ring.entries)[2], 5);
  });
}

test("a million entries over two spsc rings, a thread at each end, arrive once each and in order", async (t) => {
  t.timeout(DEADLINE_MS + 20_000);
  const half = ENTRIES / 2;
  const works = [0, 1].flatMap((i) => {
    const ring = createSpscRing(256);
    preset(ring, 2 ** 31 - 5000);
    const taken = new SharedArrayBuffer(4);
    const common = {
      kind: "spsc" as const,
      ring,
      first: i * half,
      count: half,
      total: half,
      taken,
    };
    return [
      { ...common, side: "producer" as const },
      { ...common, side: "consumer" as const },
    ];
  });
  const [, first, , second] = await runWorkers(works);
  t.deepEqual(
    first,
    Uint32Array.from({ length: half }, (_, i) => i),
  );
  t.deepEqual(
    second,
    Uint32Array.from({ length: half }, (_, i) => half + i),
  );
});
