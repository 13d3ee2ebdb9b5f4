// Frames of many segments, their clones and fragments, against a model.

import test from "ava";
import fc from "fast-check";
import { attachFrames, type Frames } from "../src/mempool/frames.js";
import { PacketMemory } from "../src/mempool/packet-memory.js";
import { closeClean } from "./fixtures/accounts.js";
import { bufferOps, frameOps, runOps } from "./fixtures/packet-model.js";
import { seedOf } from "./fixtures/seed.js";

test("no sequence of operations on frames loses a byte or a buffer, or leaves a half-done frame", (t) => {
  const op = fc.oneof({ weight: 3, arbitrary: frameOps }, { weight: 1, arbitrary: bufferOps });
  fc.assert(fc.property(fc.array(op, { maxLength: 60, size: "max" }), fc.nat(), runOps), {
    seed: seedOf(t),
    numRuns: 60,
    includeErrorInReport: true,
  });
  t.pass();
});

function frameMemory(buffers: number): { memory: PacketMemory; frames: Frames; other: Frames } {
  const memory = new PacketMemory({ threads: ["ctl", "lcore 1"], bytes: 2 ** 22 });
  const pool = memory.createPool({ name: "p", buffers, cacheSize: 8 });
  return {
    memory,
    frames: attachFrames(memory.ctl, pool.id),
    other: attachFrames(memory.attach(1), pool.id),
  };
}

const source: Uint8Array = Uint8Array.from({ length: 300 * 2048 }, (_, i) => i);

for (const [name, keepFirst] of [
  ["the original goes first", false],
  ["the clones go first", true],
] as const) {
  test(`a frame with a clone and a clone of that is whole until its last holder gives it back, when ${name}`, (t) => {
    const { memory, frames } = frameMemory(40);
    const original = frames.fromBytes(source, 0, 5000);
    const clone = frames.clone(original);
    const second = frames.clone(clone);
    const order = [original, clone, second];
    if (keepFirst) order.reverse();
    const out = new Uint8Array(5000);
    for (const handle of order) {
      for (const alive of order.slice(order.indexOf(handle))) {
        out.fill(0);
        t.is(frames.toBytes(alive, out, 0), 5000);
        t.deepEqual(out, source.subarray(0, 5000));
      }
      frames.free(handle);
    }
    t.deepEqual(Object.values(memory.faults()), [0, 0, 0, 0, 0]);
    memory.ctl.flush();
    closeClean(memory);
  });
}

test("what is written through a clone is read through the original", (t) => {
  const { memory, frames } = frameMemory(10);
  const original = frames.fromBytes(source, 0, 64);
  const part = frames.fragment(original, 10, 4);
  frames.bytes[frames.position(part) + 1] = 0xee;
  const out = new Uint8Array(64);
  frames.toBytes(original, out, 0);
  t.is(out[11], 0xee);
  frames.freeBurst(Uint32Array.of(original, part), 2);
  closeClean(memory);
});

test("a frame of 255 segments is made, cloned and given back; of 256 none is made", (t) => {
  const { memory, frames } = frameMemory(600);
  const longest = frames.fromBytes(source, 0, 255 * 2048);
  const clone = frames.clone(longest);
  t.true(longest > 0 && clone > 0);
  t.is(frames.fromBytes(source, 0, 255 * 2048 + 1), 0);
  const one = frames.alloc();
  t.false(frames.chain(longest, one));
  t.false(frames.chain(clone, one));
  frames.freeBurst(Uint32Array.of(longest, one, clone), 3);
  t.deepEqual(Object.values(memory.faults()), [0, 0, 0, 0, 0]);
  closeClean(memory);
});

test("no verb of a frame does anything to a number that is none, or waits for its end", (t) => {
  const { memory, frames } = frameMemory(10);
  const handle = frames.alloc();
  for (const bad of [0, 0xffffffff, memory.arena.slotsMax, memory.arena.slotsMax - 1]) {
    t.false(frames.setLength(bad, 0));
    t.is(frames.prepend(bad, 0), -1);
    t.false(frames.trimFront(bad, 0));
    t.false(frames.trimEnd(bad, 0));
    t.false(frames.chain(bad, handle));
    t.false(frames.chain(handle, bad));
    t.is(frames.clone(bad), 0);
    t.is(frames.fragment(bad, 0, 1), 0);
  }
  frames.free(handle);
  t.deepEqual(Object.values(memory.faults()), [0, 0, 0, 0, 0]);
  closeClean(memory);
});

test("a chain that was bent into a loop is given back once, and counted", (t) => {
  const { memory, frames } = frameMemory(10);
  const head = frames.fromBytes(source, 0, 5000);
  const last = frames.next(frames.next(head));
  memory.table.next[last] = head;
  frames.free(head);
  t.deepEqual(memory.faults(), {
    doubleReturns: 1,
    foreignReturns: 0,
    badHandles: 0,
    foreignSends: 0,
    foreignClones: 0,
  });
  closeClean(memory);
});

test("a chain that was bent into a loop is not moved, and counted", (t) => {
  const { memory, frames } = frameMemory(10);
  const head = frames.fromBytes(source, 0, 3000);
  const last = frames.next(head);
  const [ctl, lcore] = memory.threadHolders;
  memory.table.next[last] = head;
  t.false(memory.ctl.moveFrame(head, ctl.id, lcore.id));
  t.is(memory.faults().foreignSends, 1);
  memory.table.next[last] = 0;
  frames.free(head);
  closeClean(memory);
});

test("a chain with a segment that went to somebody else is given back up to there, and counted", (t) => {
  const { memory, frames, other } = frameMemory(10);
  const head = frames.fromBytes(source, 0, 5000);
  const middle = frames.next(head);
  const [ctl, lcore] = memory.threadHolders;
  t.true(memory.ctl.moveFrame(middle, ctl.id, lcore.id));
  frames.free(head);
  t.is(memory.faults().foreignReturns, 1);
  other.free(middle);
  t.is(memory.faults().foreignReturns, 1);
  closeClean(memory);
});
