// Regions, CPU placement and frame bursts of the native addon, each against the kernel itself.

import { once } from "node:events";
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { Worker } from "node:worker_threads";
import test from "ava";
import { native } from "../src/native/addon.js";
import { packetPair, pipePair } from "./fixtures/libc.js";
import { PAGE_BYTES, scratchFile } from "./fixtures/scratch-file.js";

const GIB = 2 ** 30;
const SHARED = { shared: true, write: true, populate: true };
const EBADF = 9;
const EAGAIN = 11;
const EINVAL = 22;
const EIO = 5;
const ENODATA = 61;
const EPIPE = 32;

// ---- regions ----

test("a region reads as zeros and keeps what is stored in it", (t) => {
  const region = native.regionReserve(4 * PAGE_BYTES);
  const words = new Int32Array(native.regionView(region, 0, 4 * PAGE_BYTES));
  t.true(words.every((word) => word === 0));
  words[1023] = 7;
  t.is(new Int32Array(native.regionView(region, 0, PAGE_BYTES))[1023], 7);
  native.regionRelease(region);
});

test("a view at an offset shows the bytes at that offset", (t) => {
  const region = native.regionReserve(4 * PAGE_BYTES);
  new Int32Array(native.regionView(region, 0, 4 * PAGE_BYTES))[1024] = 9;
  t.is(new Int32Array(native.regionView(region, PAGE_BYTES, PAGE_BYTES))[0], 9);
  native.regionRelease(region);
});

test("a released range is emptied, kept under live views, and given to the next region of its size", (t) => {
  const bytes = 77 * PAGE_BYTES; // a size that no other test uses
  const first = native.regionReserve(bytes);
  const address = native.regionAddress(first);
  const words = new Int32Array(native.regionView(first, 0, bytes));
  words[5] = 1;
  native.regionRelease(first);
  t.is(words[5], 0);
  words[5] = 2; // a late store
  const second = native.regionReserve(bytes);
  t.not(second, first);
  t.is(native.regionAddress(second), address);
  t.is(words[5], 0);
  t.throws(() => native.regionView(first, 0, bytes), { code: "EINVAL" });
  t.throws(() => native.regionRelease(first), { code: "EINVAL" });
  t.throws(() => native.regionAddress(first), { code: "EINVAL" });
  native.regionRelease(second);
});

test("regionReset zeroes its range under a live view and nothing beside it", (t) => {
  const region = native.regionReserve(3 * PAGE_BYTES);
  const words = new Int32Array(native.regionView(region, 0, 3 * PAGE_BYTES)).fill(4);
  native.regionReset(region, PAGE_BYTES, PAGE_BYTES);
  t.is(words[1023], 4);
  t.true(words.subarray(1024, 2048).every((word) => word === 0));
  t.is(words[2048], 4);
  native.regionRelease(region);
});

test("a 2 GiB region is viewed whole, and its last word is a word like any other", (t) => {
  const region = native.regionReserve(2 * GIB);
  const words = new Int32Array(native.regionView(region, 0, 2 * GIB));
  t.is(words.length, 2 ** 29);
  words[2 ** 29 - 1] = 6;
  t.is(words[2 ** 29 - 1], 6);
  t.is(native.regionAddress(region) % BigInt(GIB), 0n);
  native.regionRelease(region);
  t.is(words[2 ** 29 - 1], 0);
});

test("a region a page longer than 2 GiB can be reserved", (t) => {
  const region = native.regionReserve(2 * GIB + PAGE_BYTES);
  t.is(native.regionView(region, 0, 2 * GIB + PAGE_BYTES).byteLength, 2 * GIB + PAGE_BYTES);
  native.regionRelease(region);
});

test("a region of no bytes, of part of a page, or of more than 4 GiB is refused", (t) => {
  for (const bytes of [
    0,
    1,
    4095,
    PAGE_BYTES + 1,
    -PAGE_BYTES,
    4 * GIB + PAGE_BYTES,
    Number.NaN,
    0.5,
  ]) {
    t.throws(() => native.regionReserve(bytes), { code: "EINVAL" });
  }
  t.throws(() => native.regionReserve("4096" as unknown as number), { code: "EINVAL" });
});

test("offsets and lengths outside a region are refused by every function that takes them", (t) => {
  const region = native.regionReserve(2 * PAGE_BYTES);
  const fd = scratchFile(4, 1);
  const bad = [
    [0, 3 * PAGE_BYTES],
    [2 * PAGE_BYTES, PAGE_BYTES],
    [PAGE_BYTES, 2 * PAGE_BYTES],
    [0, 0],
    [1, PAGE_BYTES],
    [-PAGE_BYTES, PAGE_BYTES],
    [2 ** 53 - 4096, PAGE_BYTES],
  ];
  for (const [offset, bytes] of bad) {
    t.throws(() => native.regionView(region, offset, bytes), { code: "EINVAL" });
    t.throws(() => native.regionReset(region, offset, bytes), { code: "EINVAL" });
    t.throws(() => native.regionRevoke(region, offset, bytes), { code: "EINVAL" });
    t.throws(() => native.regionMapFd(region, offset, bytes, fd, 0, SHARED), { code: "EINVAL" });
    t.throws(() => native.guardAdd(region, offset, bytes, PAGE_BYTES), { code: "EINVAL" });
  }
  t.throws(() => native.regionView(0, 0, PAGE_BYTES), { code: "EINVAL" });
  native.regionRelease(region);
  closeSync(fd);
});

test("a shared mapping writes to the file, a private one does not", (t) => {
  const fd = scratchFile(2, 3);
  const region = native.regionReserve(4 * PAGE_BYTES);
  native.regionMapFd(region, 0, PAGE_BYTES, fd, PAGE_BYTES, SHARED);
  native.regionMapFd(region, PAGE_BYTES, PAGE_BYTES, fd, 0, { ...SHARED, shared: false });
  const words = new Int32Array(native.regionView(region, 0, 4 * PAGE_BYTES));
  t.is(words[0], 3);
  words[0] = 10;
  words[1024] = 11;
  const file = new Int32Array(2048);
  readSync(fd, file, 0, file.byteLength, 0);
  t.is(file[1024], 10);
  t.is(file[0], 3);
  t.is(words[2048], 0);
  native.regionRelease(region);
  readSync(fd, file, 0, file.byteLength, 0);
  t.is(file[1024], 10);
  closeSync(fd);
});

test("a fd may be closed once it is mapped", (t) => {
  const fd = scratchFile(1, 3);
  const region = native.regionReserve(PAGE_BYTES);
  native.regionMapFd(region, 0, PAGE_BYTES, fd, 0, SHARED);
  closeSync(fd);
  t.is(new Int32Array(native.regionView(region, 0, PAGE_BYTES))[9], 3);
  native.regionRelease(region);
});

test("a mapping that is refused leaves the range as it was", (t) => {
  const region = native.regionReserve(2 * PAGE_BYTES);
  const words = new Int32Array(native.regionView(region, 0, 2 * PAGE_BYTES)).fill(8);
  const fd = scratchFile(1, 1);
  const directory = openSync("/", "r");
  const readOnly = openSync("/proc/self/exe", "r");
  const map = (target: number, options: Partial<typeof SHARED> = {}, fdOffset = 0): void =>
    native.regionMapFd(region, 0, 2 * PAGE_BYTES, target, fdOffset, { ...SHARED, ...options });
  t.throws(() => map(999), { code: "EBADF", message: /fd 999/ });
  t.throws(() => map(-1), { code: "EINVAL" });
  t.throws(() => map(directory, { write: false, populate: false }), { code: "ENODEV" });
  t.throws(() => map(readOnly), { code: "EACCES" });
  t.throws(() => map(fd), { code: "EINVAL", message: /file has 4096 bytes, 8192 are needed/ });
  t.throws(() => map(fd, {}, 5), { code: "EINVAL" });
  t.throws(() => native.regionMapFd(region, 0, PAGE_BYTES, fd, 0, undefined as never), {
    code: "EINVAL",
  });
  t.true(words.every((word) => word === 8));
  for (const open of [fd, directory, readOnly]) closeSync(open);
  native.regionRelease(region);
});

test("two workers and the main thread see each other's stores in one region", async (t) => {
  const region = native.regionReserve(PAGE_BYTES);
  const workers = [0, 1].map(
    (index) =>
      new Worker(new URL("./fixtures/peer-worker.js", import.meta.url), {
        workerData: { region, bytes: PAGE_BYTES, index },
      }),
  );
  await Promise.all(workers.map((worker) => once(worker, "message")));
  const words = new Int32Array(native.regionView(region, 0, PAGE_BYTES));
  t.is(words[16], 100);
  t.is(words[32], 101);
  const answers = workers.map((worker) => once(worker, "message"));
  for (const worker of workers) worker.postMessage("go");
  const [[first], [second]] = (await Promise.all(answers)) as [{ seen: number; tid: number }][];
  t.is(first.seen, 101);
  t.is(second.seen, 100);
  t.is(new Set([first.tid, second.tid, native.gettid()]).size, 3);
  native.regionRelease(region);
});

test("views survive the worker that made them, and collection", async (t) => {
  const region = native.regionReserve(PAGE_BYTES);
  for (let i = 0; i < 3; i++) {
    const worker = new Worker(new URL("./fixtures/peer-worker.js", import.meta.url), {
      workerData: { region, bytes: PAGE_BYTES, index: 0 },
    });
    await once(worker, "message");
    await worker.terminate();
  }
  const words = new Int32Array(native.regionView(region, 0, PAGE_BYTES));
  t.is(words[16], 100);
  native.regionRelease(region);
});

// ---- CPU ----

test("pin moves the calling thread and affinity says so", (t) => {
  const all = native.affinity();
  const last = all[all.length - 1];
  native.pin([last]);
  t.deepEqual(native.affinity(), [last]);
  native.pin(all);
  t.deepEqual(native.affinity(), all);
  t.throws(() => native.pin([]), { code: "EINVAL" });
  t.throws(() => native.pin([8191]), { code: "EINVAL", message: /Cpus_allowed_list/ });
  t.throws(() => native.pin([8192]), { code: "EINVAL" });
});

/** Where a task of this process may run, or nothing when it has ended. */
function allowedOf(tid: string): string | undefined {
  try {
    const status = readFileSync(`/proc/self/task/${tid}/status`, "utf8");
    return /Cpus_allowed_list:\s*(\S+)/.exec(status)?.[1];
  } catch {
    return undefined;
  }
}

// Serial: a worker that another test starts afterwards inherits this thread's affinity, not the others'.
test.serial("pinOthers moves every task but the caller and the excepted ones", async (t) => {
  const all = native.affinity();
  const region = native.regionReserve(PAGE_BYTES);
  const worker = new Worker(new URL("./fixtures/peer-worker.js", import.meta.url), {
    workerData: { region, bytes: PAGE_BYTES, index: 0 },
  });
  t.teardown(async () => {
    native.pinOthers(all, []);
    await worker.terminate();
  });
  await once(worker, "message");
  const own = String(native.gettid());
  const excepted = readdirSync("/proc/self/task").find((tid) => tid !== own);
  const before = allowedOf(own);

  const moved = native.pinOthers([all[0]], [Number(excepted)]);
  const places = readdirSync("/proc/self/task").map((tid) => ({ tid, allowed: allowedOf(tid) }));
  const stayed = places.filter(({ tid }) => tid === own || tid === excepted);
  const others = places.filter(({ tid }) => tid !== own && tid !== excepted);
  t.deepEqual(
    stayed.map(({ allowed }) => allowed),
    [before, before],
  );
  t.true(
    others.every(({ allowed }) => allowed === undefined || allowed === String(all[0])),
    JSON.stringify(places),
  );
  t.true(moved >= others.length - 1 && others.length > 0);
});

test("the time stamp counter does not run backwards and fence returns", (t) => {
  let last = native.tsc();
  for (let i = 0; i < 1000; i++) {
    native.fence();
    const now = native.tsc();
    t.true(now >= last);
    last = now;
  }
});

// ---- frames ----

const ROOM = 64;

/** A base of its own, a pair of sockets, and a status word. */
function wire(): {
  a: number;
  b: number;
  base: Uint8Array;
  status: Int32Array;
  lengths: Uint32Array;
} {
  const [a, b] = packetPair();
  return {
    a,
    b,
    base: new Uint8Array(64 * 1024),
    status: new Int32Array([-1]),
    lengths: new Uint32Array(64),
  };
}

const u32 = (...values: number[]): Uint32Array => new Uint32Array(values);
const text = (base: Uint8Array, at: number, bytes: number): string =>
  Buffer.from(base.subarray(at, at + bytes)).toString();

test("frames of several segments cross a packet socket whole and in order", (t) => {
  const { a, b, base, status, lengths } = wire();
  base.set(Buffer.from("one"), 100);
  base.set(Buffer.from("two-"), 200);
  base.set(Buffer.from("halves"), 300);
  t.is(
    native.framesWrite(
      a,
      base,
      u32(100, 200, 300),
      u32(3, 4, 6),
      new Uint8Array([1, 2]),
      2,
      status,
    ),
    2,
  );
  t.is(status[0], 0);
  t.is(native.framesRead(b, base, u32(1000, 2000), 1, ROOM, 2, lengths, status), 2);
  t.is(status[0], 0);
  t.deepEqual([...lengths.subarray(0, 2)], [3, 10]);
  t.is(text(base, 1000, 3), "one");
  t.is(text(base, 2000, 10), "two-halves");
  closeSync(a);
  closeSync(b);
});

test("a frame is spread over its segments, each filled to its room before the next", (t) => {
  const { a, b, base, status, lengths } = wire();
  base.set(Buffer.from("abcdefghij"), 0);
  t.is(native.framesWrite(a, base, u32(0), u32(10), new Uint8Array([1]), 1, status), 1);
  t.is(native.framesRead(b, base, u32(500, 600, 700), 3, 4, 1, lengths, status), 1);
  t.is(lengths[0], 10);
  t.is(text(base, 500, 4), "abcd");
  t.is(base[504], 0);
  t.is(text(base, 600, 4), "efgh");
  t.is(text(base, 700, 2), "ij");
  closeSync(a);
  closeSync(b);
});

test("a burst that finds fewer frames than asked for is short and says EAGAIN", (t) => {
  const { a, b, base, status, lengths } = wire();
  t.is(native.framesRead(b, base, u32(0), 1, ROOM, 1, lengths, status), 0);
  t.is(status[0], EAGAIN);
  base.set(Buffer.from("xyz"));
  native.framesWrite(a, base, u32(0, 0), u32(3, 2), new Uint8Array([1, 1]), 2, status);
  t.is(native.framesRead(b, base, u32(100, 200, 300), 1, ROOM, 3, lengths, status), 2);
  t.is(status[0], EAGAIN);
  t.deepEqual([...lengths.subarray(0, 3)], [3, 2, 0]);
  closeSync(a);
  closeSync(b);
});

test("a burst into a full socket is short, says EAGAIN, and what it counted arrives", (t) => {
  const { a, b, base, status, lengths } = wire();
  const n = 4096;
  const positions = new Uint32Array(n);
  const sent = native.framesWrite(
    a,
    base,
    positions,
    new Uint32Array(n).fill(1024),
    new Uint8Array(n).fill(1),
    n,
    status,
  );
  t.true(sent > 0 && sent < n);
  t.is(status[0], EAGAIN);
  let received = 0;
  for (let got = -1; got !== 0; received += got) {
    got = native.framesRead(b, base, positions.subarray(0, 64), 1, 1024, 64, lengths, status);
  }
  t.is(received, sent);
  closeSync(a);
  closeSync(b);
});

test("a burst of no frames does nothing and says 0", (t) => {
  const { a, b, base, status, lengths } = wire();
  t.is(native.framesRead(b, base, u32(), 1, ROOM, 0, lengths, status), 0);
  t.is(status[0], 0);
  t.is(native.framesWrite(a, base, u32(), u32(), new Uint8Array(0), 0, status), 0);
  t.is(status[0], 0);
  closeSync(a);
  closeSync(b);
});

test("a position outside the base ends the burst with EINVAL, and the frames before it count", (t) => {
  const { a, b, base, status, lengths } = wire();
  const ones = new Uint8Array(4).fill(1);
  t.is(native.framesWrite(a, base, u32(0, base.length - 7), u32(8, 8), ones, 2, status), 1);
  t.is(status[0], EINVAL);
  t.is(native.framesWrite(a, base, u32(0xffffffff), u32(8), ones, 1, status), 0);
  t.is(status[0], EINVAL);
  t.is(native.framesWrite(a, base, u32(8), u32(0xffffffff), ones, 1, status), 0);
  t.is(status[0], EINVAL);
  t.is(native.framesRead(b, base, u32(0, base.length - ROOM + 1), 1, ROOM, 2, lengths, status), 1);
  t.is(status[0], EINVAL);
  t.is(native.framesWrite(a, base, u32(base.length - 8), u32(8), ones, 1, status), 1);
  t.is(native.framesRead(b, base, u32(base.length - ROOM), 1, ROOM, 1, lengths, status), 1);
  closeSync(a);
  closeSync(b);
});

test("counts that do not fit their arrays are refused with EINVAL before anything moves", (t) => {
  const { a, b, base, status, lengths } = wire();
  const read = (
    segs: number,
    room: number,
    n: number,
    out = lengths,
    positions = u32(0, 64),
  ): number => native.framesRead(b, base, positions, segs, room, n, out, status);
  const write = (counts: number[], n: number, segLengths = u32(4, 4)): number =>
    native.framesWrite(a, base, u32(0, 64), segLengths, new Uint8Array(counts), n, status);
  const refused = [
    () => read(1, ROOM, 3),
    () => read(2, ROOM, 2),
    () => read(0, ROOM, 1),
    () => read(256, ROOM, 1, lengths, new Uint32Array(256)),
    () => read(1, 0, 1),
    () => read(1, ROOM, -1),
    () => read(1, ROOM, 2, u32(0)),
    () => write([1], 2),
    () => write([3], 1),
    () => write([0], 1),
    () => write([2], 1, u32(4)),
    () => write([2], 1, u32(0, 0)),
    () => native.framesRead(b, u32(0) as never, u32(0), 1, 1, 1, lengths, status),
    () => native.framesRead(b, base, "positions" as never, 1, 1, 1, lengths, status),
    () => native.framesRead(b, base, new Int32Array(1) as never, 1, 1, 1, lengths, status),
  ];
  for (const call of refused) {
    status[0] = 0;
    t.is(call(), 0, String(call));
    t.is(status[0], EINVAL, String(call));
  }
  t.is(read(1, ROOM, 2), 0);
  t.is(status[0], EAGAIN);
  t.is((native.framesRead as () => number)(), 0);
  closeSync(a);
  closeSync(b);
});

test("a closed fd says EBADF, a gone reader EPIPE, a gone writer ENODATA", (t) => {
  const { a, b, base, status, lengths } = wire();
  const write = (): number =>
    native.framesWrite(a, base, u32(0), u32(4), new Uint8Array([1]), 1, status);
  const read = (fd: number): number =>
    native.framesRead(fd, base, u32(0), 1, ROOM, 1, lengths, status);
  t.is(read(9999), 0);
  t.is(status[0], EBADF);
  closeSync(b);
  t.is(write(), 0);
  t.is(status[0], EPIPE);
  t.is(read(a), 0);
  t.is(status[0], ENODATA);
  closeSync(a);
});

test("an fd that takes part of a frame says EIO and does not count the frame", (t) => {
  const [out, into] = pipePair();
  const base = new Uint8Array(64 * 1024);
  const status = new Int32Array(1);
  const frame = 48 * 1024; // two do not fit a pipe
  t.is(
    native.framesWrite(into, base, u32(0, 0), u32(frame, frame), new Uint8Array([1, 1]), 2, status),
    1,
  );
  t.is(status[0], EIO);
  closeSync(out);
  closeSync(into);
});

test("bytesWrite into a full pipe counts what went in and says EAGAIN", (t) => {
  const [out, into] = pipePair();
  const status = new Int32Array(1);
  t.is(native.bytesWrite(into, new Uint8Array(100_000), 0, 100_000, status), 65_536);
  t.is(status[0], EAGAIN);
  closeSync(out);
  closeSync(into);
});

test("frames go to and from a region's view", (t) => {
  const region = native.regionReserve(2 * PAGE_BYTES);
  const base = new Uint8Array(native.regionView(region, 0, 2 * PAGE_BYTES));
  const { a, b, status, lengths } = wire();
  base.fill(0x42, 0, 60);
  t.is(native.framesWrite(a, base, u32(0), u32(60), new Uint8Array([1]), 1, status), 1);
  t.is(native.framesRead(b, base, u32(PAGE_BYTES), 1, 2048, 1, lengths, status), 1);
  t.true(base.subarray(PAGE_BYTES, PAGE_BYTES + 60).every((byte) => byte === 0x42));
  native.regionRelease(region);
  closeSync(a);
  closeSync(b);
});

test("bytesWrite writes exactly the named bytes, and refuses what lies outside", (t) => {
  const fd = scratchFile(1, 0);
  const base = new Uint8Array(10_000).map((_, i) => i);
  const status = new Int32Array(1);
  t.is(native.bytesWrite(fd, base, 3, 9000, status), 9000);
  t.is(status[0], 0);
  const file = new Uint8Array(fstatSync(fd).size);
  readSync(fd, file, 0, file.length, 0);
  t.deepEqual(Buffer.from(file.subarray(file.length - 9000)).compare(base.subarray(3, 9003)), 0);
  for (const [offset, length] of [
    [1, 10_000],
    [10_001, 0],
    [-1, 5],
    [0, 2 ** 53],
  ]) {
    t.is(native.bytesWrite(fd, base, offset, length, status), 0);
    t.is(status[0], EINVAL);
  }
  t.is(native.bytesWrite(9999, base, 0, 1, status), 0);
  t.is(status[0], EBADF);
  closeSync(fd);
});
