// The arena: chunks against a model, the sealed file, and that nothing stays behind in the process.

import { ftruncateSync, readdirSync, readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import test from "ava";
import fc from "fast-check";
import { Arena, attachArena, type Chunk, GRANULE_BYTES, hugepages } from "../src/memory/arena.js";
import { SLOT_STRIDE } from "../src/memory/slot.js";
import { seedOf } from "./fixtures/seed.js";

const GRANULES = 12;
const BYTES: number = GRANULES * GRANULE_BYTES;
const ZEROS: Uint8Array = new Uint8Array(BYTES);

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

function checkChunk(arena: Arena, chunk: Chunk, others: Iterable<Chunk>): void {
  const { offset, bytes, firstSlot, slots } = chunk;
  check(offset % GRANULE_BYTES === 0 && bytes % GRANULE_BYTES === 0, "whole granules");
  check(bytes > 0 && offset >= 0 && offset + bytes <= arena.image.bytes, "inside the arena");
  check(firstSlot >= 1, "slot 0 is not used");
  check(firstSlot * SLOT_STRIDE >= offset, "the first slot lies inside");
  check((firstSlot + slots) * SLOT_STRIDE <= offset + bytes, "the last slot lies inside");
  check((firstSlot + slots + 1) * SLOT_STRIDE > offset + bytes, "no slot is left out");
  for (const other of others)
    check(other.offset + other.bytes <= offset || offset + bytes <= other.offset, "no overlap");
}

const ops = fc.array(
  fc.oneof(
    fc.record({ op: fc.constant("slots" as const), n: fc.integer({ min: 1, max: 3500 }) }),
    fc.record({ op: fc.constant("bytes" as const), n: fc.integer({ min: 1, max: 3 * 2 ** 21 }) }),
    fc.record({ op: fc.constant("decommit" as const), n: fc.nat() }),
  ),
  { maxLength: 40 },
);

test("chunks committed and given back in any order never overlap, never use slot 0, and begin as zeros", (t) => {
  const arena = new Arena({ bytes: BYTES });
  const { u8 } = attachArena(arena.image);
  const property = fc.property(ops, (sequence) => {
    const chunks: Chunk[] = [];
    for (const { op, n } of sequence) {
      if (op === "decommit") {
        const [chunk] = chunks.splice(n % (chunks.length + 1), 1);
        if (chunk === undefined) continue;
        arena.decommit(chunk);
        u8[chunk.offset] = 0x55; // a late store, which nobody may see
        continue;
      }
      const before = arena.committedBytes;
      try {
        const chunk = op === "slots" ? arena.commitSlots(n) : arena.commitBytes(n);
        checkChunk(arena, chunk, chunks);
        check(op === "slots" ? chunk.slots >= n : chunk.bytes >= n, "as much as was asked for");
        const content = u8.subarray(chunk.offset, chunk.offset + chunk.bytes);
        check(Buffer.compare(content, ZEROS.subarray(0, chunk.bytes)) === 0, "zeros");
        content.fill(0xaa);
        chunks.push(chunk);
      } catch (error) {
        if ((error as { code?: string }).code !== "ENOMEM") throw error;
        check(arena.committedBytes === before, "nothing is left behind");
      }
    }
    check(arena.chunks.size === chunks.length, "as many chunks as were not given back");
    for (const { offset, bytes } of chunks) {
      check(u8[offset] === 0xaa && u8[offset + bytes - 1] === 0xaa, "nobody wrote over it");
    }
    for (const chunk of chunks) arena.decommit(chunk);
    arena.decommit(arena.commitBytes(BYTES)); // all of it is one range again
  });
  fc.assert(property, { seed: seedOf(t), numRuns: 40, includeErrorInReport: true });
  arena.close();
  t.pass();
});

test("a full arena says ENOMEM and what to do, and has room again once a chunk was given back", (t) => {
  const arena = new Arena({ bytes: 2 * GRANULE_BYTES });
  const chunk = arena.commitSlots(arena.slotsMax - 1);
  t.is(chunk.slots, arena.slotsMax - 1);
  for (const commit of [() => arena.commitSlots(1), () => arena.commitBytes(1)]) {
    t.throws(commit, { code: "ENOMEM", message: /do not fit in the arena of 4 MiB .* fewer/ });
    t.deepEqual([...arena.chunks], [chunk]);
    t.is(arena.committedBytes, 2 * GRANULE_BYTES);
  }
  arena.decommit(chunk);
  t.throws(() => arena.commitSlots(arena.slotsMax), { code: "ENOMEM" }); // slot 0 is nobody's
  t.is(arena.commitBytes(2 * GRANULE_BYTES).offset, 0);
  arena.close();
});

test("more hugepages than are free is ENOMEM with the number that is needed, and takes none of them", (t) => {
  const { free } = hugepages();
  t.log(`${free} are free`);
  if (free >= 1023) {
    t.pass("more than an arena can ask for");
    return;
  }
  const arena = new Arena({ bytes: (free + 1) * GRANULE_BYTES, hugepages: true });
  t.throws(() => arena.commitBytes((free + 1) * GRANULE_BYTES), {
    code: "ENOMEM",
    message: new RegExp(`^${free + 1} hugepages of 2 MiB are needed and ${free} of`),
  });
  t.is(arena.committedBytes, 0);
  t.is(hugepages().free, free);
  arena.close();
});

test.serial("a chunk is given back once, and no buffers are committed in a closed arena", (t) => {
  const arena = new Arena({ bytes: 2 * GRANULE_BYTES });
  const chunk = arena.commitSlots(1);
  arena.decommit(chunk);
  t.throws(() => arena.decommit(chunk), { code: "ERR_WEIR_BUG" });
  arena.close();
  arena.close();
  t.throws(() => arena.commitSlots(1), { code: "ERR_WEIR_BUG" });
});

// Serial: it must not run while a test waits that has opened a file under the number of the closed fd.
test.serial("nothing that is not buffers is committed in a closed arena either", (t) => {
  const arena = new Arena({ bytes: 2 * GRANULE_BYTES });
  arena.close();
  t.throws(() => arena.commitBytes(1), { code: "ERR_WEIR_BUG" });
});

test("the file behind the arena can neither shrink nor grow", (t) => {
  const arena = new Arena({ bytes: 2 * GRANULE_BYTES });
  for (const bytes of [0, GRANULE_BYTES, 3 * GRANULE_BYTES])
    t.throws(() => ftruncateSync(arena.fd, bytes), { code: "EPERM" });
  arena.close();
});

test("a worker sees the bytes that were stored here, and its own stores are seen here", async (t) => {
  const arena = new Arena({ bytes: 2 * GRANULE_BYTES });
  const { offset, bytes } = arena.commitBytes(GRANULE_BYTES);
  const { u8, i32 } = attachArena(arena.image);
  u8[offset] = 7;
  u8[offset + bytes - 1] = 9;
  const source = `
    const { workerData: { module, image, offset, bytes }, parentPort } = require("node:worker_threads");
    import(module).then(({ attachArena }) => {
      const { u8, i32 } = attachArena(image);
      i32[(offset >>> 2) + 5] = u8[offset] * 256 + u8[offset + bytes - 1];
      parentPort.postMessage(u8.length);
    });`;
  const module = new URL("../src/memory/arena.js", import.meta.url).href;
  const workerData = { module, image: arena.image, offset, bytes };
  const worker = new Worker(source, { eval: true, workerData });
  const length = await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  t.is(length, 2 * GRANULE_BYTES);
  t.is(i32[(offset >>> 2) + 5], 7 * 256 + 9);
  arena.close();
});

test.serial(
  "arenas opened and closed 50 times leave no fd, no mapping of a file and no address space behind",
  (t) => {
    const GIB = 2 ** 30;
    const fds = (): number => readdirSync("/proc/self/fd").length;
    const maps = (): string[] => readFileSync("/proc/self/maps", "utf8").trim().split("\n");
    const addressBytes = (): number =>
      Number(readFileSync("/proc/self/statm", "utf8").split(" ")[0]) * 4096;
    const openAndClose = (): void => {
      const arena = new Arena({ bytes: GIB });
      const first = arena.commitSlots(100);
      arena.commitBytes(GRANULE_BYTES);
      arena.decommit(first); // a hole: the range is in several pieces when it is closed
      attachArena(arena.image).u8[0] = 1;
      arena.close();
    };
    openAndClose(); // the range of the first is kept, and given to the next
    const before = { fds: fds(), lines: maps().length, address: addressBytes() };
    for (let i = 0; i < 50; i++) openAndClose();
    t.is(fds(), before.fds);
    t.deepEqual(
      maps().filter((line) => line.includes("weir-arena")),
      [],
    );
    // V8 maps and unmaps a few of its own; one left behind by each arena would be 50 and 50 GiB.
    t.true(maps().length < before.lines + 25, maps().join("\n"));
    t.true(addressBytes() < before.address + 10 * GIB);
  },
);
