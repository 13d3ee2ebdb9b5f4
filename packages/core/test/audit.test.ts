// The audit can fail: each way in which the ledger, the free lists and the counters may disagree is found and named.

import test, { type ExecutionContext } from "ava";
import { audit } from "../src/mempool/audit.js";
import { attachFrames, type Frames } from "../src/mempool/frames.js";
import type { LcoreMemory } from "../src/mempool/lcore-memory.js";
import { HOLDER_SHIFT } from "../src/mempool/ledger.js";
import { PacketMemory } from "../src/mempool/packet-memory.js";
import type { Pool } from "../src/mempool/pool.js";
import { SHAPE_CHAINED, SHAPE_SHARED } from "../src/mempool/table.js";
import { closeClean } from "./fixtures/accounts.js";

interface Bench {
  readonly memory: PacketMemory;
  readonly pool: Pool;
  readonly lcore: LcoreMemory;
  readonly frames: Frames;
  /** A buffer that lcore 1 holds. */
  readonly held: number;
  /** A buffer that lcore 1 caches, with its neighbour in the cache below it. */
  readonly cached: number;
  /** Buffers that nobody caches: the oldest entry of the common ring. */
  readonly common: number;
}

function bench(): Bench {
  const memory = new PacketMemory({ threads: ["ctl", "lcore 1"], bytes: 2 ** 22 });
  const pool = memory.createPool({ name: "p", buffers: 100, cacheSize: 8 });
  const lcore = memory.attach(1);
  const frames = attachFrames(lcore, pool.id);
  const held = frames.alloc();
  const { ring, caches } = pool.freeHandles();
  return { memory, pool, lcore, frames, held, cached: caches[1].handles[1], common: ring[0] };
}

/** A store and how it was before, so that the test can end on a clean account. */
function poke(column: { [at: number]: number }, at: number, value: number): () => void {
  const before = column[at];
  column[at] = value;
  return () => {
    column[at] = before;
  };
}

/** The audit has a problem that says `message`, and none once the damage is undone. */
function found(t: ExecutionContext, b: Bench, message: string, undo: () => void): void {
  const { problems } = audit(b.memory);
  t.true(problems.includes(message), `"${message}" is not among:\n${problems.join("\n")}`);
  undo();
  t.deepEqual(audit(b.memory).problems, []);
  b.frames.free(b.held);
  closeClean(b.memory);
}

test("a healthy memory has no problem, and names who holds what", (t) => {
  const b = bench();
  const { problems, held, free, total } = audit(b.memory);
  t.deepEqual(problems, []);
  t.deepEqual(
    held.map(({ holder, buffers }) => [holder.name, buffers]),
    [["lcore 1", 1]],
  );
  t.is(free + 1, total);
  b.frames.free(b.held);
  closeClean(b.memory);
});

test("a ledger word of nobody is found", (t) => {
  const b = bench();
  const undo = poke(b.memory.table.ledger, b.held, 4000 << HOLDER_SHIFT);
  t.true(audit(b.memory).problems.some((each) => /^the ledger counts \d+ buffers/.test(each)));
  found(t, b, `buffer ${b.held} is held by 4000, which is nobody`, undo);
});

test("a handle that is twice in a cache is found, and so is the one that it displaced", (t) => {
  const b = bench();
  const stack = new Uint32Array(b.pool.image.caches[1].memory, 64);
  const undo = poke(stack, 0, b.cached);
  const displaced = stack[0] === b.cached ? b.pool.freeHandles().caches[1].handles[0] : 0;
  t.is(displaced, b.cached);
  const { problems } = audit(b.memory);
  t.true(problems.some((each) => /^buffer \d+ is lost: "lcore 1 cache of p" has it/.test(each)));
  found(t, b, `buffer ${b.cached} is on two free lists, or twice on one`, undo);
});

test("a handle that is in the common ring and in a cache is found", (t) => {
  const b = bench();
  const entries = new Uint32Array(b.pool.image.ring.entries);
  const undo = poke(entries, entries.indexOf(b.common), b.cached);
  const { problems } = audit(b.memory);
  t.true(problems.includes(`buffer ${b.common} is lost: "free" has it and does not list it`));
  found(t, b, `buffer ${b.cached} is on two free lists, or twice on one`, undo);
});

test("a held buffer that is on a free list is found", (t) => {
  const b = bench();
  const entries = new Uint32Array(b.pool.image.ring.entries);
  const undo = poke(entries, entries.indexOf(b.common), b.held);
  const holder = b.memory.threadHolders[1].id;
  found(t, b, `buffer ${b.held} is on the free list of holder 0, the ledger says ${holder}`, undo);
});

test("a buffer that its cache no longer lists is found", (t) => {
  const b = bench();
  const depth = new Int32Array(b.pool.image.caches[1].memory, 0, 1);
  const top = b.pool.freeHandles().caches[1].handles[depth[0] - 1];
  const undo = poke(depth, 0, depth[0] - 1);
  found(t, b, `buffer ${top} is lost: "lcore 1 cache of p" has it and does not list it`, undo);
});

test("a free buffer that the ledger gives to the wrong list is found", (t) => {
  const b = bench();
  const holder = b.pool.image.caches[1].holder;
  const undo = poke(b.memory.table.ledger, b.common, holder << HOLDER_SHIFT);
  found(
    t,
    b,
    `buffer ${b.common} is on the free list of holder 0, the ledger says ${holder}`,
    undo,
  );
});

test("a counter that is off by one is found", (t) => {
  const b = bench();
  const holder = b.memory.threadHolders[1].id;
  const undo = poke(b.lcore.row, holder, b.lcore.row[holder] + 1);
  found(t, b, "lcore 1 holds 1 buffers by the ledger and 2 by the counters", undo);
});

test("a chain bit without a next buffer is found, and a next buffer without the bit", (t) => {
  const b = bench();
  const { kind, next } = b.memory.table;
  const lone = poke(next, b.held, b.common);
  t.true(
    audit(b.memory).problems.includes(`buffer ${b.held} has next ${b.common} against shape 0`),
  );
  lone();
  const undo = poke(kind, b.held, kind[b.held] | SHAPE_CHAINED);
  found(t, b, `buffer ${b.held} has next 0 against shape ${SHAPE_CHAINED}`, undo);
});

test("a reference too many is found, and one too few", (t) => {
  const b = bench();
  const { refs } = b.memory.table;
  const few = poke(refs, b.held, 0);
  t.true(
    audit(b.memory).problems.includes(
      `buffer ${b.held} has 0 references, against 1 of its own and 0 of clones`,
    ),
  );
  few();
  const undo = poke(refs, b.held, 2);
  found(t, b, `buffer ${b.held} has 2 references, against 1 of its own and 0 of clones`, undo);
});

test("a cloned buffer without its mark is found, and a clone without its base", (t) => {
  const b = bench();
  const { kind, base } = b.memory.table;
  const clone = b.frames.clone(b.held);
  t.is(clone, 0); // an empty frame has none
  b.frames.setLength(b.held, 60);
  const real = b.frames.clone(b.held);
  const baseless = poke(base, real, 0);
  t.true(audit(b.memory).problems.includes(`buffer ${real} has base 0 against shape 2`));
  baseless();
  const unmarked = poke(kind, b.held, kind[b.held] & ~SHAPE_SHARED);
  t.true(audit(b.memory).problems.includes(`buffer ${b.held} has 1 clones against shape 0`));
  unmarked();
  b.frames.free(real);
  b.frames.free(b.held);
  closeClean(b.memory);
});

test("a buffer that is held by clones, and has none, is found", (t) => {
  const b = bench();
  const undo = poke(b.memory.table.ledger, b.held, 1 << HOLDER_SHIFT);
  found(t, b, `buffer ${b.held} is kept alive by no clone`, undo);
});

test("a free buffer with a shape is found", (t) => {
  const b = bench();
  const { kind } = b.memory.table;
  const undo = poke(kind, b.common, kind[b.common] | SHAPE_SHARED);
  found(t, b, `buffer ${b.common} is free and has shape ${SHAPE_SHARED}`, undo);
});

test("flags without their mark are found", (t) => {
  const b = bench();
  const undo = poke(b.memory.table.flags, b.held, 1);
  found(t, b, `buffer ${b.held} has flags 1 against shape 0`, undo);
});

test("a buffer that says another pool is found", (t) => {
  const b = bench();
  const { kind } = b.memory.table;
  const undo = poke(kind, b.common, 9 << 8);
  t.true(audit(b.memory).problems.includes(`buffer ${b.common} is on a free list of pool p`));
  found(t, b, `buffer ${b.common} of pool p says pool 9`, undo);
});

test("a memory in ruins is reported in at most 20 sentences", (t) => {
  const b = bench();
  const { refs } = b.memory.table;
  const before = refs.slice();
  refs.fill(7);
  t.is(audit(b.memory).problems.length, 20);
  refs.set(before);
  b.frames.free(b.held);
  closeClean(b.memory);
});
