// Reading and writing captures: what tcpdump and Wireshark write is read as they read it, and they read what we write.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import test, { type ExecutionContext } from "ava";
import { type Capture, loadCapture } from "../src/vdev/pcap-file.js";
import {
  PCAP_FILE_HEADER_BYTES,
  PCAP_RECORD_HEADER_BYTES,
  writePcapFileHeader,
  writePcapRecordHeader,
} from "../src/vdev/pcap-write.js";
import {
  block,
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
  SHIPPED_B,
  scratch,
  scratchPath,
  section,
  simple,
  testWith,
  u16,
  u32,
} from "./fixtures/capture-bytes.js";

interface Seen {
  readonly length: number;
  readonly original: number;
  readonly ns: number;
  readonly md5: string;
}

function md5(bytes: Uint8Array): string {
  return createHash("md5").update(bytes).digest("hex");
}

function frameBytes(capture: Capture, i: number): Buffer {
  return Buffer.from(new Uint8Array(capture.bytes, capture.offsets[i], capture.lengths[i]));
}

function framesOf(capture: Capture): Seen[] {
  return Array.from({ length: capture.frames }, (_, i) => ({
    length: capture.lengths[i] as number,
    original: capture.originalLengths[i] as number,
    ns: capture.timesNs[i] as number,
    md5: md5(frameBytes(capture, i)),
  }));
}

/** The same of tshark; seconds and nanoseconds apart, because their sum is no double. */
function framesOfTshark(path: string): Seen[] {
  const fields = ["frame.cap_len", "frame.len", "frame.time_epoch", "frame.md5_hash"];
  const rows = run(
    "tshark",
    ...["-n", "-r", path, "-o", "frame.generate_md5_hash:TRUE", "-T", "fields"],
    ...fields.flatMap((field) => ["-e", field]),
  );
  let first: bigint | undefined;
  return rows
    .trim()
    .split("\n")
    .map((row) => {
      const [length, original, time, hash] = row.split("\t") as [string, string, string, string];
      const ns = BigInt(time.replace(".", ""));
      first ??= ns;
      return {
        length: Number(length),
        original: Number(original),
        ns: Number(ns - first),
        md5: hash,
      };
    });
}

function check(
  t: ExecutionContext,
  path: string,
  frames: readonly Uint8Array[],
  timesNs: readonly number[],
): Capture {
  const capture = loadCapture(path);
  t.is(capture.frames, frames.length);
  t.deepEqual([...capture.timesNs], timesNs);
  t.deepEqual(
    frames.map((_, i) => frameBytes(capture, i).toString("hex")),
    frames.map((frame) => Buffer.from(frame).toString("hex")),
  );
  return capture;
}

// --- Against other programs ---

for (const path of [SHIPPED_A, SHIPPED_B]) {
  const name = path.slice(path.lastIndexOf("/") + 1);

  testWith(["tshark"], `the shipped ${name} holds the frames that tshark finds in it`, (t) => {
    const capture = loadCapture(path);
    t.is(capture.format, "pcap");
    t.deepEqual(framesOf(capture), framesOfTshark(path));
  });

  test(`the shipped ${name} holds runts from 14 bytes, tagged frames and frames of 9,014 bytes, none of them cut`, (t) => {
    const capture = loadCapture(path);
    const frames = Array.from({ length: capture.frames }, (_, i) => frameBytes(capture, i));
    t.deepEqual(capture.lengths, capture.originalLengths);
    t.is(Math.min(...capture.lengths), 14);
    t.is(Math.max(...capture.lengths), 9014);
    t.true(
      frames.filter((frame) => frame.length < 60 && frame.readUInt16BE(12) === 0x88b5).length >= 15,
    );
    t.true(frames.filter((frame) => frame.readUInt16BE(12) === 0x8100).length >= 15);
    // The addresses that make-captures.sh gives its two sides: nothing of the recording machine is in it.
    t.true(frames.every((frame) => frame.subarray(6, 10).toString("hex") === "02000000"));
  });

  for (const format of ["pcap", "nsecpcap", "pcapng"]) {
    testWith(["editcap"], `${name} holds the same frames after editcap -F ${format}`, (t) => {
      const out = scratchPath();
      run("editcap", "-F", format, path, out);
      const [before, after] = [framesOf(loadCapture(path)), framesOf(loadCapture(out))];
      t.deepEqual(
        after.map((frame) => frame.md5),
        before.map((frame) => frame.md5),
      );
      // Microseconds cut both the time of the frame and that of the first.
      const exact = format !== "pcap";
      t.true(
        after.every((frame, i) => Math.abs(frame.ns - (before[i] as Seen).ns) < (exact ? 1 : 1000)),
      );
      t.is(loadCapture(out).format, format === "pcapng" ? "pcapng" : "pcap");
    });
  }

  for (const precision of ["micro", "nano"]) {
    testWith(
      ["tcpdump", "tshark"],
      `${name} written again by tcpdump in ${precision}seconds is read as tshark reads it`,
      (t) => {
        const out = scratchPath();
        run("tcpdump", "-r", path, "-w", out, `--time-stamp-precision=${precision}`);
        t.deepEqual(framesOf(loadCapture(out)), framesOfTshark(out));
      },
    );
  }
}

testWith(
  ["editcap", "tshark"],
  "frames that editcap cut have a captured and an original length",
  (t) => {
    const out = scratchPath();
    run("editcap", "-F", "pcapng", "-s", "50", SHIPPED_B, out);
    const seen = framesOf(loadCapture(out));
    t.deepEqual(seen, framesOfTshark(out));
    t.true(seen.some((frame) => frame.length === 50 && frame.original === 9014));
  },
);

testWith(["mergecap", "tshark"], "a pcapng of two interfaces is read as tshark reads it", (t) => {
  const out = scratchPath();
  run("mergecap", "-F", "pcapng", "-w", out, SHIPPED_A, SHIPPED_B);
  t.deepEqual(framesOf(loadCapture(out)), framesOfTshark(out));
});

testWith(
  ["mergecap", "tshark"],
  "two pcapng files behind each other are read as tshark reads them",
  (t) => {
    const [a, b] = [scratchPath(), scratchPath()];
    run("mergecap", "-F", "pcapng", "-w", a, SHIPPED_A);
    run("mergecap", "-F", "pcapng", "-w", b, SHIPPED_B);
    const both = scratch(readFileSync(a), readFileSync(b));
    t.deepEqual(framesOf(loadCapture(both)), framesOfTshark(both));
  },
);

/** Frames of all lengths up to a jumbo frame's, written into one buffer as the data path does it. */
function written(): { readonly path: string; readonly frames: Seen[] } {
  const out = new Uint8Array(100_000);
  const frames: Seen[] = [];
  let at = writePcapFileHeader(out);
  for (const [i, length] of [14, 15, 60, 61, 1514, 9014, 65535].entries()) {
    const bytes = out.subarray(at + PCAP_RECORD_HEADER_BYTES).subarray(0, length);
    const original = length === 61 ? 1500 : length;
    const nanoseconds = 999_999_999 - i;
    at = writePcapRecordHeader(out, at, 2_000_000_000 + i, nanoseconds, length, original);
    bytes.set(Buffer.from("02000000000b02000000000a88b5", "hex"));
    bytes.fill(i, 14);
    frames.push({ length, original, ns: i * (1e9 - 1), md5: md5(bytes) });
    at += length;
  }
  return { path: scratch(out.subarray(0, at)), frames };
}

test("what we write we read back, in every field", (t) => {
  const { path, frames } = written();
  t.deepEqual(framesOf(loadCapture(path)), frames);
});

testWith(["tshark"], "what we write tshark reads back, in every field", (t) => {
  const { path, frames } = written();
  t.deepEqual(framesOfTshark(path), frames);
});

testWith(["tcpdump"], "what we write tcpdump reads back", (t) => {
  const { path, frames } = written();
  const lines = run("tcpdump", "-n", "-e", "-tt", "--time-stamp-precision=nano", "-r", path);
  t.deepEqual(
    [...lines.matchAll(/^(\d+\.\d{9}) .*? length (\d+)/gm)].map((line) => [
      line[1],
      Number(line[2]),
    ]),
    frames.map((frame, i) => [`${2_000_000_000 + i}.${999_999_999 - i}`, frame.original]),
  );
});

test("the headers we write are those of the draft, byte by byte, at any offset", (t) => {
  const header = new Uint8Array(PCAP_FILE_HEADER_BYTES);
  t.is(writePcapFileHeader(header), PCAP_FILE_HEADER_BYTES);
  const expected = pcapHeader({ magic: 0xa1b23c4d, snaplen: 262144 });
  t.is(Buffer.from(header).toString("hex"), expected.toString("hex"));
  for (const at of [0, 1, 2, 3]) {
    const record = new Uint8Array(at + PCAP_RECORD_HEADER_BYTES + 1).fill(0xee);
    t.is(writePcapRecordHeader(record, at, 0xfedcba98, 999_999_999, 60, 9014), at + 16);
    const fields = Buffer.concat([u32(0xfedcba98), u32(999_999_999), u32(60), u32(9014)]);
    t.is(Buffer.from(record).toString("hex"), `${"ee".repeat(at)}${fields.toString("hex")}ee`);
  }
});

// --- pcap by hand ---

for (const little of [true, false]) {
  for (const [magic, unit] of [
    [0xa1b2c3d4, 1000],
    [0xa1b23c4d, 1],
  ] as const) {
    const name = `${little ? "little" : "big"}-endian pcap in ${unit === 1 ? "nano" : "micro"}seconds`;
    test(`a ${name} is read`, (t) => {
      const path = scratch(
        pcapHeader({ magic, little }),
        pcapRecord(1_800_000_000, 999_999, FRAME, 1500, little),
        pcapRecord(1_800_000_001, 3, OTHER, OTHER.length, little),
        pcapRecord(1_799_999_999, 999_999, FRAME, FRAME.length, little),
      );
      const capture = check(t, path, [FRAME, OTHER, FRAME], [0, 1e9 - 999_996 * unit, -1e9]);
      t.deepEqual([...capture.originalLengths], [1500, OTHER.length, FRAME.length]);
      t.is(capture.format, "pcap");
    });
  }
}

test("a pcap without frames is a capture of none", (t) => {
  t.is(loadCapture(scratch(pcapHeader())).frames, 0);
});

test("all arrays of a capture are shared memory and as long as it has frames", (t) => {
  const capture = loadCapture(scratch(pcapHeader(), pcapRecord(0, 0, FRAME)));
  t.true(capture.bytes instanceof SharedArrayBuffer);
  for (const array of [
    capture.offsets,
    capture.lengths,
    capture.originalLengths,
    capture.timesNs,
  ]) {
    t.true(array.buffer instanceof SharedArrayBuffer);
    t.is(array.length, 1);
  }
});

test("before pcap 2.3 the original length comes first, and in 2.3 it may", (t) => {
  const fields = (first: number, second: number): Buffer =>
    Buffer.concat([u32(0), u32(0), u32(first), u32(second), FRAME]);
  for (const [minor, record] of [
    [1, fields(1500, 23)],
    [2, fields(1500, 23)],
    [3, fields(1500, 23)],
    [3, fields(23, 1500)],
    [4, fields(23, 1500)],
  ] as const) {
    const capture = check(t, scratch(pcapHeader({ minor }), record), [FRAME], [0]);
    t.is(capture.originalLengths[0], 1500, `2.${minor}`);
  }
});

test("a frame check sequence told beside the link type is left out, of cut frames too", (t) => {
  const path = scratch(
    pcapHeader({ link: 0x24000001 }), // P, two words of 16 bits
    pcapRecord(0, 0, FRAME), // whole: its last four bytes are the sequence
    pcapRecord(0, 0, FRAME, 25), // two bytes of the sequence were cut
    pcapRecord(0, 0, FRAME, 100),
  );
  const capture = check(t, path, [FRAME.subarray(0, 19), FRAME.subarray(0, 21), FRAME], [0, 0, 0]);
  t.deepEqual([...capture.originalLengths], [19, 21, 96]);
});

test("an original length below the captured one is raised to it", (t) => {
  const capture = loadCapture(scratch(pcapHeader(), pcapRecord(0, 0, FRAME, 5)));
  t.deepEqual([capture.lengths[0], capture.originalLengths[0]], [23, 23]);
});

test("a snapshot length of zero is no limit", (t) => {
  check(t, scratch(pcapHeader({ snaplen: 0 }), pcapRecord(0, 0, FRAME)), [FRAME], [0]);
});

test("a frame of 65,535 bytes is read", (t) => {
  const jumbo = Buffer.alloc(65535, 7);
  check(t, scratch(pcapHeader(), pcapRecord(0, 0, jumbo)), [jumbo], [0]);
});

// --- pcapng by hand ---

for (const little of [true, false]) {
  test(`a ${little ? "little" : "big"}-endian pcapng is read, without the blocks and options that are unknown`, (t) => {
    const path = scratch(
      section(little),
      block(0x80000001, Buffer.from("private!"), little),
      iface([option(2, Buffer.from("eth0"), little), option(0x8001, FRAME, little)], 0, 1, little),
      enhanced(0, 1_800_000_000_000_001n, FRAME, [option(1, Buffer.from("hello"), little)], little),
      block(5, Buffer.alloc(12), little),
      enhanced(0, 1_800_000_000_000_003n, OTHER, [], little),
    );
    t.is(check(t, path, [FRAME, OTHER], [0, 2000]).format, "pcapng");
  });
}

test("each section of a pcapng has its own byte order and its own interfaces", (t) => {
  const nano = (little: boolean): Buffer => option(9, Buffer.of(9), little);
  const path = scratch(
    section(true),
    iface(),
    enhanced(0, 1_000_000n, FRAME),
    section(false),
    iface([nano(false)], 0, 1, false),
    enhanced(0, 3_000_000_005n, OTHER, [], false),
    section(true, 1, 2),
    iface([nano(true)]),
    enhanced(0, 1_000_000_001n, FRAME),
  );
  check(t, path, [FRAME, OTHER, FRAME], [0, 2_000_000_005, 1]);
});

test("each interface of a pcapng has its own resolution and offset", (t) => {
  const offset = Buffer.alloc(8);
  offset.writeBigInt64LE(-7n);
  const path = scratch(
    section(),
    iface([option(9, Buffer.of(9))]),
    iface([option(9, Buffer.of(0x80 | 20)), option(14, offset), option(0, Buffer.of())]),
    iface([option(9, Buffer.of(0))]),
    iface(),
    enhanced(0, 1_800_000_000_123_456_789n, FRAME),
    enhanced(1, (1_800_000_008n << 20n) | (1n << 19n), FRAME),
    enhanced(2, 1_800_000_002n, FRAME),
    enhanced(3, 1_800_000_000_123_457n, FRAME),
    enhanced(0, 1_800_000_000_123_456_790n, FRAME),
    enhanced(1, (1_800_000_008n << 20n) | (1n << 19n) | 1024n, FRAME),
    enhanced(0, 1_799_999_999_123_456_789n, FRAME),
  );
  const times = [0, 1_376_543_211, 1_876_543_211, 211, 1, 1_376_543_211 + 976_562.5, -1e9];
  check(t, path, Array<Buffer>(7).fill(FRAME), times);
});

test("a simple packet block has the interface's snapshot length and the time of the frame before", (t) => {
  const path = scratch(
    section(),
    iface([], 20),
    simple(1500, FRAME.subarray(0, 20)),
    enhanced(0, 10n, FRAME.subarray(0, 20)),
    enhanced(0, 15n, FRAME.subarray(0, 20)),
    simple(14, FRAME.subarray(0, 14)),
  );
  const cut = FRAME.subarray(0, 20);
  const capture = check(t, path, [cut, cut, cut, FRAME.subarray(0, 14)], [0, 0, 5000, 5000]);
  t.deepEqual([...capture.originalLengths], [1500, 20, 20, 14]);
  check(t, scratch(section(), iface(), simple(23, FRAME)), [FRAME], [0]);
});

test("an obsolete packet block is read", (t) => {
  const fields = Buffer.concat([u16(1), u16(0xffff), u32(0), u32(9), u32(23), u32(60)]);
  const path = scratch(
    section(),
    iface(),
    iface(),
    block(2, Buffer.concat([fields, padded(FRAME)])),
  );
  t.is(check(t, path, [FRAME], [0]).originalLengths[0], 60);
});

test("a frame check sequence told by the interface or the flags of a frame is left out", (t) => {
  const flags = (octets: number): Buffer => option(2, u32(octets << 5));
  for (const told of [4, 32]) {
    const path = scratch(
      section(),
      iface([option(13, Buffer.of(told))]),
      enhanced(0, 0n, FRAME),
      enhanced(0, 0n, FRAME, [flags(0)]),
      enhanced(0, 0n, FRAME, [flags(2)]),
      iface(),
      enhanced(1, 0n, FRAME),
      enhanced(1, 0n, FRAME, [flags(4)]),
    );
    const frames = [19, 19, 21, 23, 19].map((length) => FRAME.subarray(0, length));
    check(t, path, frames, [0, 0, 0, 0, 0]);
  }
});

test("a pcapng without frames or without interfaces is a capture of none", (t) => {
  t.is(loadCapture(scratch(section())).frames, 0);
  t.is(loadCapture(scratch(section(), iface())).frames, 0);
});
