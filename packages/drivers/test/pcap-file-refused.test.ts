// What is no capture, or a broken one: each is refused with its own code and one sentence, and no file, however broken,
// does worse than that.

import { spawnSync } from "node:child_process";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import fc from "fast-check";
import { type Capture, CaptureError, loadCapture } from "../src/vdev/pcap-file.js";
import {
  block,
  directory,
  enhanced,
  FRAME,
  iface,
  OTHER,
  option,
  padded,
  pcapHeader,
  pcapRecord,
  run,
  SHIPPED_A,
  scratch,
  scratchPath,
  section,
  simple,
  testWith,
  u16,
  u32,
} from "./fixtures/capture-bytes.js";

function fails(t: ExecutionContext, path: string, code: string, message: RegExp): void {
  const error = t.throws(() => loadCapture(path), { instanceOf: CaptureError });
  t.is(error?.code, code, error?.message);
  t.regex(error?.message ?? "", message);
  t.true(error?.message.startsWith(JSON.stringify(path)), "the message names the file");
  t.notRegex(error?.message ?? "", /\n|\. [A-Z]/, "the message is one sentence");
}

const FORMAT = "ERR_CAPTURE_FORMAT";
const TRUNCATED = "ERR_CAPTURE_TRUNCATED";
const LINKTYPE = "ERR_CAPTURE_LINKTYPE";
const LENGTH = "ERR_CAPTURE_FRAME";
const ng = Buffer.concat([section(), iface()]);
const record = pcapRecord(0, 0, FRAME);
const longRecord = Buffer.concat([u32(0), u32(0), u32(0xffffffff), u32(0xffffffff)]);
const wrongTrailer = Buffer.concat([enhanced(0, 0n, FRAME).subarray(0, -4), u32(99)]);
const tooShort = block(
  6,
  Buffer.concat([u32(0), u32(0), u32(0), u32(24), u32(24), padded(FRAME).subarray(0, 20)]),
);

const refused: readonly (readonly [name: string, bytes: Buffer, code: string, message: RegExp])[] =
  [
    ["an empty file", Buffer.alloc(0), FORMAT, /is empty/],
    [
      "a text",
      Buffer.from("PK\u0003\u0004 no"),
      FORMAT,
      /is not a pcap or pcapng file \(it starts with the bytes 504b0304206e6f\)/,
    ],
    ["a file of one byte", Buffer.of(0xd4), FORMAT, /starts with the bytes d4\)/],
    ["a gzip file", Buffer.from("1f8b0800", "hex"), FORMAT, /gzip: gunzip it first/],
    ["a zstd file", Buffer.from("28b52ffd00", "hex"), FORMAT, /unzstd it first/],
    [
      "a modified pcap",
      pcapHeader({ magic: 0xa1b2cd34 }),
      FORMAT,
      /modified kind: convert it with editcap -F pcap/,
    ],
    [
      "a pcap of version 1",
      pcapHeader({ major: 1 }),
      FORMAT,
      /is of pcap version 1\.4, and only 2 is read/,
    ],
    [
      "a pcap of raw IP",
      pcapHeader({ link: 101 }),
      LINKTYPE,
      /is of link type 101 \(raw IP\), and only 1 \(Ethernet\) is supported/,
    ],
    [
      "a pcap of an unnamed link type",
      pcapHeader({ link: 64999 }),
      LINKTYPE,
      /is of link type 64999, and only 1 \(Ethernet\)/,
    ],
    [
      "a pcap with reserved bits",
      pcapHeader({ link: 0x08000001 }),
      FORMAT,
      /reserved bits beside its link type \(0x8000001\)/,
    ],
    [
      "half a pcap header",
      pcapHeader().subarray(0, 20),
      TRUNCATED,
      /middle of its file header \(needs 24 bytes at offset 0, 20 are left\)/,
    ],
    [
      "a pcap that ends in a record header",
      Buffer.concat([pcapHeader(), record, record.subarray(0, 7)]),
      TRUNCATED,
      /ends in the middle of frame 2 \(needs 16 bytes at offset 63, 7 are left\): the capture is truncated; record it again or/,
    ],
    [
      "a pcap that ends in a frame",
      Buffer.concat([pcapHeader(), record, record.subarray(0, -1)]),
      TRUNCATED,
      /ends in the middle of frame 2 \(needs 23 bytes at offset 79, 22 are left\)/,
    ],
    [
      "a frame of 4 GiB",
      Buffer.concat([pcapHeader(), longRecord]),
      LENGTH,
      /has 4294967295 bytes in frame 1, and at most 65535/,
    ],
    [
      "a frame of 65,536 bytes",
      Buffer.concat([pcapHeader(), pcapRecord(0, 0, Buffer.alloc(65536))]),
      LENGTH,
      /has 65536 bytes in frame 1/,
    ],
    [
      "a frame of no bytes",
      Buffer.concat([pcapHeader(), record, pcapRecord(0, 0, Buffer.alloc(0))]),
      LENGTH,
      /nothing in frame 2/,
    ],
    [
      "a frame above the snapshot length",
      Buffer.concat([pcapHeader({ snaplen: 20 }), record]),
      LENGTH,
      /more than its own limit of 20/,
    ],
    [
      "a frame that is its check sequence",
      Buffer.concat([pcapHeader({ link: 0x24000001 }), pcapRecord(0, 0, Buffer.alloc(4))]),
      LENGTH,
      /only a frame check/,
    ],
    [
      "a pcapng without byte order",
      block(0x0a0d0d0a, Buffer.alloc(16)),
      FORMAT,
      /block at offset 0 has no byte-order magic/,
    ],
    [
      "a pcapng of version 2",
      section(true, 2),
      FORMAT,
      /is of pcapng version 2\.0, and only 1\.0 is read/,
    ],
    [
      "half a section header",
      section().subarray(0, 20),
      TRUNCATED,
      /middle of a section header \(needs 28 bytes at offset 0, 20 are left\)/,
    ],
    [
      "half a block header",
      Buffer.concat([ng, Buffer.alloc(5)]),
      TRUNCATED,
      /middle of a block \(needs 12 bytes at offset 48, 5 are left\)/,
    ],
    [
      "half an enhanced packet",
      Buffer.concat([ng, enhanced(0, 0n, FRAME).subarray(0, 40)]),
      TRUNCATED,
      /middle of frame 1 \(needs 56 bytes/,
    ],
    [
      "a block of no length",
      Buffer.concat([ng, u32(9), u32(0), u32(0)]),
      FORMAT,
      /block at offset 48 gives 0 as its length/,
    ],
    [
      "a block of unaligned length",
      Buffer.concat([ng, u32(9), u32(13), Buffer.alloc(5)]),
      FORMAT,
      /gives 13 as its length/,
    ],
    [
      "a block of 4 GiB",
      Buffer.concat([ng, u32(9), u32(0xfffffffc), u32(0)]),
      TRUNCATED,
      /needs 4294967292 bytes at offset 48, 12 are left/,
    ],
    [
      "a block whose lengths differ",
      Buffer.concat([ng, wrongTrailer]),
      FORMAT,
      /gives 56 as its length at its start and 99 at its end/,
    ],
    [
      "a packet block too short for its fields",
      Buffer.concat([ng, block(6, Buffer.alloc(16))]),
      FORMAT,
      /gives 28 as its length/,
    ],
    [
      "a packet block too short for its frame",
      Buffer.concat([ng, tooShort]),
      FORMAT,
      /is too short for the 24 bytes of its frame/,
    ],
    [
      "a simple packet block too short",
      Buffer.concat([ng, simple(25, FRAME)]),
      FORMAT,
      /is too short for the 25 bytes of its frame/,
    ],
    [
      "a frame of an unknown interface",
      Buffer.concat([ng, enhanced(1, 0n, FRAME)]),
      FORMAT,
      /names interface 1, and 1 are described before it/,
    ],
    [
      "a frame before its interface",
      Buffer.concat([section(), simple(23, FRAME)]),
      FORMAT,
      /names interface 0, and 0 are described/,
    ],
    [
      "a pcapng of cooked frames",
      Buffer.concat([section(), iface([], 0, 113)]),
      LINKTYPE,
      /is of link type 113 \(Linux cooked, from -i any\)/,
    ],
    [
      "a second interface of another type",
      Buffer.concat([ng, enhanced(0, 0n, FRAME), iface([], 0, 105)]),
      LINKTYPE,
      /105 \(802\.11\)/,
    ],
    [
      "an option beyond its block",
      Buffer.concat([section(), iface([u16(2), u16(5), u32(0)])]),
      FORMAT,
      /option of 5 bytes that goes beyond its end/,
    ],
    [
      "a resolution of two bytes",
      Buffer.concat([section(), iface([option(9, Buffer.of(6, 6))])]),
      FORMAT,
      /has 2 bytes in option 9, which has 1/,
    ],
    [
      "too many interfaces",
      Buffer.concat([section(), ...Array<Buffer>(4097).fill(iface())]),
      "ERR_CAPTURE_SIZE",
      /more than 4096 interfaces/,
    ],
  ];

for (const [name, bytes, code, message] of refused) {
  test(`${name} is refused with ${code}`, (t) => fails(t, scratch(bytes), code, message));
}

test("a file that does not exist is refused with ENOENT", (t) => {
  fails(t, join(directory, "nowhere.pcap"), "ENOENT", /does not exist: check the path/);
});

test("a directory is refused with EISDIR", (t) => {
  fails(t, directory, "EISDIR", /is a directory/);
});

test("a file without read permission is refused with EACCES", (t) => {
  const path = scratch(pcapHeader());
  chmodSync(path, 0);
  const root = process.geteuid?.() === 0;
  if (root) chmodSync(directory, 0o755);
  if (root) process.seteuid?.(65534); // root may read everything
  try {
    fails(t, path, "EACCES", /may not be read by this user/);
  } finally {
    if (root) process.seteuid?.(0);
  }
});

testWith(["mkfifo"], "a FIFO that nobody writes to is refused at once", (t) => {
  const path = scratchPath();
  run("mkfifo", path);
  fails(t, path, "ERR_CAPTURE_NOT_A_FILE", /is a FIFO/);
});

test("a device is refused", (t) => {
  fails(t, "/dev/zero", "ERR_CAPTURE_NOT_A_FILE", /is a device/);
});

test("a socket is refused", async (t) => {
  const path = scratchPath();
  const server = createServer();
  await new Promise<void>((listening) => server.listen(path, listening));
  fails(t, path, "ENXIO", /is a socket/);
  await new Promise((closed) => server.close(closed));
});

test("a path that no file can have is refused", (t) => {
  fails(t, "a\0b", "ERR_INVALID_ARG_VALUE", /cannot be a path/);
});

test("a file above the limit is refused, one at the limit is read", (t) => {
  const bytes = Buffer.concat([pcapHeader(), record]);
  const path = scratch(bytes);
  const error = t.throws(() => loadCapture(path, { bytesMax: bytes.length - 1 }), {
    instanceOf: CaptureError,
  });
  t.is(error?.code, "ERR_CAPTURE_SIZE");
  t.regex(
    error?.message ?? "",
    /has 63 bytes, and at most 62 are loaded: split it with editcap -c/,
  );
  t.is(loadCapture(path, { bytesMax: bytes.length }).frames, 1);
});

testWith(
  ["editcap"],
  "what editcap makes of a refused capture is read, as the messages say",
  (t) => {
    const out = scratchPath();
    const whole = readFileSync(SHIPPED_A);
    const all = loadCapture(SHIPPED_A).frames;
    const modified = scratchPath();
    run("editcap", "-F", "modpcap", SHIPPED_A, modified);
    const snoop = scratchPath();
    run("editcap", "-F", "snoop", SHIPPED_A, snoop);
    const cut = scratch(whole.subarray(0, whole.length - 10));
    const empty = scratch(pcapHeader(), record, pcapRecord(0, 0, Buffer.alloc(0)), record);
    const long = scratch(pcapHeader({ snaplen: 0 }), record, pcapRecord(0, 0, Buffer.alloc(66000)));
    for (const [path, code, message, frames, ...args] of [
      [modified, FORMAT, /convert it with editcap -F pcap/, all, "-F", "pcap", modified, out],
      [snoop, FORMAT, /convert it with editcap -F pcap/, all, "-F", "pcap", snoop, out],
      [cut, TRUNCATED, /copy its whole frames with editcap/, all - 1, cut, out],
      [empty, LENGTH, /frame 2: drop it with editcap/, 2, empty, out, "2"],
      [long, LENGTH, /cut it with editcap -s/, 2, "-s", "65535", long, out],
    ] as const) {
      fails(t, path, code, message);
      spawnSync("editcap", args); // its status is 2 for a capture that is cut short
      t.is(loadCapture(out).frames, frames, path);
    }
  },
);

const seeds: Readonly<Record<string, Buffer>> = {
  pcap: Buffer.concat([pcapHeader(), record, pcapRecord(5, 6, OTHER, 1500), record]),
  "big-endian pcap": Buffer.concat([
    pcapHeader({ little: false }),
    pcapRecord(1, 2, FRAME, 23, false),
  ]),
  pcapng: Buffer.concat([
    section(),
    iface(
      [
        option(9, Buffer.of(9)),
        option(14, Buffer.alloc(8)),
        option(13, Buffer.of(4)),
        option(0, Buffer.of()),
      ],
      200,
    ),
    enhanced(0, 1_800_000_000_000_000_000n, FRAME, [option(2, u32(0)), option(0, Buffer.of())]),
    simple(23, FRAME),
    block(2, Buffer.concat([u16(0), u16(0), u32(0), u32(9), u32(23), u32(60), padded(FRAME)])),
    section(false),
    iface([], 0, 1, false),
    enhanced(0, 77n, OTHER, [], false),
  ]),
  "shipped pcap": readFileSync(SHIPPED_A).subarray(
    0,
    (loadCapture(SHIPPED_A).offsets[20] as number) - 16,
  ),
};

/** Values that lengths and counts break on, beside any. */
const byte = fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255));
const mutation = fc.oneof(
  fc.record({
    kind: fc.constant("set" as const),
    at: fc.nat(),
    bytes: fc.array(byte, { minLength: 1, maxLength: 4 }),
  }),
  fc.record({
    kind: fc.constant("insert" as const),
    at: fc.nat(),
    bytes: fc.array(byte, { maxLength: 12 }),
  }),
  fc.record({ kind: fc.constant("cut" as const), at: fc.nat(), bytes: fc.constant([]) }),
);

for (const [name, whole] of Object.entries(seeds)) {
  test(`no mutation of a ${name} does worse than a CaptureError`, (t) => {
    const seed = Number(process.env.WEIR_SEED ?? Date.now() & 0x7fffffff);
    t.log(`WEIR_SEED=${seed}`);
    const path = scratchPath();
    let loaded = 0;
    fc.assert(
      fc.property(fc.array(mutation, { maxLength: 6 }), (mutations) => {
        let bytes = [...whole];
        for (const { kind, at, bytes: put } of mutations) {
          const where = at % (bytes.length + 1);
          if (kind === "cut") bytes = bytes.slice(0, where);
          else bytes.splice(where, kind === "set" ? put.length : 0, ...put);
        }
        writeFileSync(path, Buffer.from(bytes));
        let capture: Capture;
        try {
          capture = loadCapture(path);
        } catch (error) {
          return error instanceof CaptureError && error.code.startsWith("ERR_CAPTURE_");
        }
        loaded++;
        for (let i = 0; i < capture.frames; i++) {
          const [offset, length, original] = [
            capture.offsets[i],
            capture.lengths[i],
            capture.originalLengths[i],
          ] as [number, number, number];
          if (
            length < 1 ||
            length > 65535 ||
            offset + length > capture.bytes.byteLength ||
            original < length
          )
            return false;
          if (!Number.isFinite(capture.timesNs[i])) return false;
        }
        return (
          capture.offsets.length === capture.frames && capture.timesNs.length === capture.frames
        );
      }),
      { seed, numRuns: 2000 },
    );
    t.true(loaded > 50, `${loaded} mutations were still captures`);
  });
}
