// What a device can reach: mappings of chunks in a space, against a target that records what it was asked for.

import test from "ava";
import fc from "fast-check";
import { type DmaTarget, type IovaRange, type Mapping, Space } from "../src/dma/space.js";
import { Arena, type Chunk, GRANULE_BYTES } from "../src/memory/arena.js";
import { seedOf } from "./fixtures/seed.js";

const ALL: IovaRange = { first: 0n, last: 2n ** 48n - 1n };
const NARROW: IovaRange = { first: 0x200000n, last: 0x3ffffffn };
const GIB4 = 2n ** 32n;
const GRANULE = BigInt(GRANULE_BYTES);

/** Records the ranges that are mapped; refuses what no IOMMU would do. */
class RecordingTarget implements DmaTarget {
  readonly ranges: readonly IovaRange[];
  readonly mapped = new Map<bigint, { offset: number; bytes: number }>();
  failMap = false;
  /** Bytes that an unmap does less than it was asked for. */
  short = 0;

  constructor(...ranges: IovaRange[]) {
    this.ranges = ranges;
  }

  map(iova: bigint, _arena: Arena, offset: number, bytes: number): void {
    if (this.failMap) throw new Error("no");
    const last = iova + BigInt(bytes) - 1n;
    for (const [other, { bytes: size }] of this.mapped)
      if (other <= last && iova < other + BigInt(size)) throw new Error("mapped twice");
    this.mapped.set(iova, { offset, bytes });
  }

  unmap(iova: bigint, bytes: number): number {
    if (this.short > 0) return bytes - this.short;
    if (this.mapped.get(iova)?.bytes !== bytes) throw new Error("not mapped like that");
    this.mapped.delete(iova);
    return bytes;
  }
}

/** A chunk that need not be committed: no target here touches its memory. */
function chunkAt(granule: number, granules: number): Chunk {
  return {
    offset: granule * GRANULE_BYTES,
    bytes: granules * GRANULE_BYTES,
    firstSlot: 0,
    slots: 0,
  };
}

const arena = new Arena({ bytes: 64 * GRANULE_BYTES });
test.after(() => arena.close());

test("what is mapped reaches the target once with its offset and size, and what is unmapped leaves it", (t) => {
  const target = new RecordingTarget(ALL);
  const space = new Space("s", arena, target);
  const chunks = [arena.commitBytes(1), arena.commitBytes(3 * GRANULE_BYTES)];
  const mappings = chunks.map((chunk) => space.map(chunk));
  t.deepEqual(
    [...target.mapped],
    mappings.map(({ iova, chunk: { offset, bytes } }) => [iova, { offset, bytes }]),
  );
  space.unmap(mappings[0]);
  t.deepEqual([...target.mapped.keys()], [mappings[1].iova]);
  t.deepEqual([...space.mappings.keys()], [chunks[1]]);
  space.unmap(mappings[1]);
  t.is(target.mapped.size + space.mappings.size, 0);
  for (const chunk of chunks) arena.decommit(chunk);
});

test("in a window the low word of an IOVA is the arena offset, and the high word is constant and never 0", (t) => {
  for (const range of [ALL, { first: 0x1000n, last: 2n ** 39n - 1n }]) {
    const space = new Space("s", arena, new RecordingTarget(range));
    const { translation } = space;
    if (translation.kind !== "window") return t.fail(translation.kind);
    t.true(translation.highWord >= 1);
    for (const chunk of [chunkAt(0, 1), chunkAt(5, 3), chunkAt(1023, 1)]) {
      const { iova } = space.map(chunk);
      t.is(iova & 0xffffffffn, BigInt(chunk.offset));
      t.is(iova >> 32n, BigInt(translation.highWord));
      t.is(space.iova(chunk.offset + 17), iova + 17n);
    }
  }
});

test("a window lies whole within one range, above everything below it", (t) => {
  const high = { first: 0x5_0000_1000n, last: 0x7_ffff_ffffn };
  const windows = [
    [{ first: 0n, last: 0x1_7fff_ffffn }, 1],
    [{ first: 0n, last: 0x1_7fff_fffen }, undefined],
    [high, 6],
  ] as const;
  for (const [range, highWord] of windows) {
    const { translation } = new Space("s", arena, new RecordingTarget(range));
    t.is(translation.kind === "window" ? translation.highWord : undefined, highWord);
  }
});

test("where no window fits, the table says by granule where a chunk is, and 0 where nothing is", (t) => {
  const space = new Space(
    "s",
    arena,
    new RecordingTarget(NARROW, { first: GIB4, last: (GIB4 * 3n) / 2n - 2n }),
  );
  const { translation } = space;
  if (translation.kind !== "table") return t.fail(translation.kind);
  const low = new Uint32Array(translation.low);
  const high = new Uint32Array(translation.high);
  const below = space.map(chunkAt(3, 4));
  const above = space.map(chunkAt(40, 31)); // more than is left of the first range
  t.is(below.iova, 0x200000n);
  t.is(above.iova, GIB4);
  const entry = (granule: number): bigint => (BigInt(high[granule]) << 32n) | BigInt(low[granule]);
  for (let i = 0; i < 4; i++) t.is(entry(3 + i), below.iova + BigInt(i) * GRANULE);
  for (let i = 0; i < 31; i++) t.is(entry(40 + i), above.iova + BigInt(i) * GRANULE);
  for (const granule of [0, 2, 7, 39, 71]) t.is(entry(granule), 0n);
  space.unmap(above);
  t.is(entry(40) | entry(70), 0n);
  t.is(entry(3), below.iova);
});

test("no placement touches the null granule, the MSI range, another one or a 4 GiB line, or leaves the ranges", (t) => {
  const bounds = fc.tuple(
    fc.constantFrom(0n, 0x1000n, 0x3ff000n, 0xfd000000n, 0xfee00000n, 0xff000000n, GIB4 - GRANULE),
    fc.bigInt(1n, 0x8000000n),
  );
  const op = fc.record({ map: fc.boolean(), granules: fc.integer({ min: 1, max: 12 }) });
  const property = fc.property(bounds, fc.array(op, { maxLength: 40 }), ([first, size], ops) => {
    const range = { first, last: first + size - 1n };
    const target = new RecordingTarget(range);
    const space = new Space("s", arena, target);
    const mappings: Mapping[] = [];
    let granule = 0;
    for (const { map, granules } of ops) {
      if (!map) {
        const mapping = mappings.shift();
        if (mapping !== undefined) space.unmap(mapping);
        continue;
      }
      const chunk = chunkAt(granule, granules);
      granule += granules;
      try {
        mappings.push(space.map(chunk));
      } catch (error) {
        if ((error as { code?: string }).code !== "ENOSPC") throw error;
        continue;
      }
      const at = mappings[mappings.length - 1].iova;
      const end = at + BigInt(chunk.bytes) - 1n;
      const wrong =
        at < GRANULE ||
        at % GRANULE !== 0n ||
        (at <= 0xfeefffffn && end >= 0xfee00000n) ||
        at / GIB4 !== end / GIB4 ||
        at < range.first ||
        end > range.last;
      if (wrong) throw new Error(`placed at ${at.toString(16)}-${end.toString(16)}`);
    }
    space.close();
    return target.mapped.size === 0;
  });
  fc.assert(property, { seed: seedOf(t), numRuns: 300, includeErrorInReport: true });
  t.pass();
});

test("chunks go around the MSI range and step over the 4 GiB line", (t) => {
  const msi = new Space("s", arena, new RecordingTarget({ first: 0xfec00000n, last: 0xffffffffn }));
  t.is(msi.map(chunkAt(0, 1)).iova, 0xfec00000n);
  t.is(msi.map(chunkAt(1, 1)).iova, 0xff000000n);
  const line = new Space(
    "s",
    arena,
    new RecordingTarget({ first: 0xffe00000n, last: 0x1_00ffffffn }),
  );
  t.is(line.map(chunkAt(0, 2)).iova, GIB4);
  t.is(line.map(chunkAt(2, 1)).iova, 0xffe00000n);
});

test("a chunk is mapped at most once, and one that is not mapped is not unmapped", (t) => {
  const target = new RecordingTarget(ALL);
  const space = new Space("s", arena, target);
  const chunk = chunkAt(1, 1);
  const mapping = space.map(chunk);
  t.throws(() => space.map(chunk), { code: "EEXIST", message: /mapped in s already/ });
  t.is(target.mapped.size, 1);
  t.throws(() => space.unmap({ ...mapping }), { code: "ENOENT" });
  t.throws(() => space.iova(0), { code: "ENOENT" });
  t.throws(() => space.iova(chunk.offset + chunk.bytes), { code: "ENOENT" });
  space.unmap(mapping);
  t.throws(() => space.unmap(mapping), { code: "ENOENT" });
  t.throws(() => space.iova(chunk.offset), { code: "ENOENT" });
});

test("what fits nowhere is ENOSPC, leaves nothing, and fits once something was unmapped", (t) => {
  const target = new RecordingTarget(NARROW);
  const space = new Space("s", arena, target);
  const first = space.map(chunkAt(0, 31)); // all of it
  t.throws(() => space.map(chunkAt(31, 1)), { code: "ENOSPC", message: /use fewer buffers/ });
  t.is(space.mappings.size, 1);
  space.unmap(first);
  t.is(space.map(chunkAt(31, 1)).iova, 0x200000n);
  t.throws(() => new Space("s", arena, new RecordingTarget()).map(chunkAt(0, 1)), {
    code: "ENOSPC",
  });
});

for (const range of [ALL, NARROW]) {
  test(`a target that refuses to map leaves no mapping (up to 0x${range.last.toString(16)})`, (t) => {
    const target = new RecordingTarget(range);
    const space = new Space("s", arena, target);
    target.failMap = true;
    const chunk = chunkAt(2, 1);
    t.throws(() => space.map(chunk), { message: "no" });
    t.is(space.mappings.size, 0);
    const { translation } = space;
    if (translation.kind === "table") t.is(new Uint32Array(translation.low)[2], 0);
    target.failMap = false;
    t.notThrows(() => space.map(chunk));
  });
}

test("an unmap that comes back short is EIO and keeps its mapping", (t) => {
  const target = new RecordingTarget(ALL);
  const space = new Space("s", arena, target);
  const mapping = space.map(chunkAt(0, 2));
  target.short = 4096;
  t.throws(() => space.unmap(mapping), { code: "EIO", message: /4190208 of 4194304/ });
  t.is(space.mappings.get(mapping.chunk), mapping);
  target.short = 0;
  space.unmap(mapping);
  t.is(space.mappings.size, 0);
});

test("close unmaps all that it can, throws every error together, and tries the rest again", (t) => {
  const target = new RecordingTarget(ALL);
  const space = new Space("s", arena, target);
  const mappings = [0, 1, 2].map((granule) => space.map(chunkAt(granule, 1)));
  target.mapped.delete(mappings[0].iova); // two that the target will not unmap
  target.mapped.delete(mappings[2].iova);
  const error = t.throws(() => space.close(), { instanceOf: AggregateError });
  t.deepEqual(
    error.errors.map(({ message }: Error) => message),
    ["not mapped like that", "not mapped like that"],
  );
  t.is(target.mapped.size, 0);
  t.deepEqual([...space.mappings.values()], [mappings[0], mappings[2]]);
  for (const { iova, chunk } of [mappings[0], mappings[2]])
    target.mapped.set(iova, { offset: chunk.offset, bytes: chunk.bytes });
  space.close();
  t.is(target.mapped.size + space.mappings.size, 0);
});

test("nothing is mapped in a closed space", (t) => {
  const target = new RecordingTarget(ALL);
  const space = new Space("s", arena, target);
  space.close();
  t.throws(() => space.map(chunkAt(0, 1)), { code: "ENODEV" });
  t.is(target.mapped.size + space.mappings.size, 0);
});

test("the space of a software port maps without a target", (t) => {
  const space = new Space("s", arena);
  const mapping = space.map(chunkAt(4, 1));
  t.deepEqual(space.translation, { kind: "window", highWord: 1 });
  space.unmap(mapping);
  space.close();
  t.is(space.mappings.size, 0);
});
