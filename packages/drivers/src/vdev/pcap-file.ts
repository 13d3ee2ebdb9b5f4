// Loading a capture: the whole file into shared memory, every frame found and checked, once, before any traffic.
// The formats are read in pcap-read.ts and pcapng-read.ts, and written in pcap-write.ts.

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { CaptureError, type FrameTable, refuse, type Scan, scanPcap } from "./pcap-read.js";
import { scanPcapng } from "./pcapng-read.js";

export { CaptureError } from "./pcap-read.js";

export const CAPTURE_BYTES_MAX_DEFAULT: number = 1024 ** 3;
/** Whatever `bytesMax` says: beyond this an offset is no longer an int32, and typed-array loads are slow on Node 26. */
const CAPTURE_BYTES_MAX = 2 ** 31 - 1;
const READ_BYTES_MAX = 64 * 1024 ** 2;

// The first four bytes of a file, as a little-endian word (pcap 4, ng 4.1).
const PCAP_MICROSECONDS = 0xa1b2c3d4;
const PCAP_MICROSECONDS_SWAPPED = 0xd4c3b2a1;
const PCAP_NANOSECONDS = 0xa1b23c4d;
const PCAP_NANOSECONDS_SWAPPED = 0x4d3cb2a1;
const PCAPNG = 0x0a0d0d0a;

/** Files that are often handed over as a capture, by their first bytes. */
const OTHER_FILES: readonly (readonly [hex: string, what: string])[] = [
  ["1f8b", "is compressed with gzip: gunzip it first"],
  ["28b52ffd", "is compressed with zstd: unzstd it first"],
  ["fd377a58", "is compressed with xz: unxz it first"],
  ["425a68", "is compressed with bzip2: bunzip2 it first"],
  ["04224d18", "is compressed with lz4: unlz4 it first"],
  ["34cdb2a1", "is a pcap file of a modified kind: convert it with editcap -F pcap"],
  ["a1b2cd34", "is a pcap file of a modified kind: convert it with editcap -F pcap"],
  ["736e6f6f70", "is a snoop file: convert it with editcap -F pcap"],
];

/**
 * A whole capture, checked: each frame is a range of `bytes` that lies inside it. Nothing writes to it after loading;
 * all five arrays lie in SharedArrayBuffers, so that every worker sees the same copy.
 */
export interface Capture {
  /** The file as it is on the disk. */
  readonly bytes: SharedArrayBuffer;
  /** Byte offset of frame i in `bytes`. */
  readonly offsets: Uint32Array;
  /** Bytes of frame i in the file, 1 to 65,535, without a frame check sequence. */
  readonly lengths: Uint32Array;
  /** Bytes of frame i on the wire, without a frame check sequence; at least `lengths[i]`. */
  readonly originalLengths: Uint32Array;
  /**
   * Nanoseconds from the first frame to frame i, as the file tells them: negative where it goes back in time, exact up
   * to 104 days. A pcapng Simple Packet Block has no time of its own and is given that of the frame before.
   */
  readonly timesNs: Float64Array;
  readonly frames: number;
  readonly format: "pcap" | "pcapng";
}

export interface CaptureLimits {
  /** The largest file, in bytes. */
  readonly bytesMax?: number;
}

/**
 * Loads the pcap or pcapng file at `path`. Takes time and memory in proportion to the file: call it while starting.
 *
 * Throws a CaptureError whose message is one sentence that names the file, says what is wrong and what to do, and whose
 * code is ERR_CAPTURE_FORMAT, ERR_CAPTURE_TRUNCATED, ERR_CAPTURE_LINKTYPE, ERR_CAPTURE_FRAME (a frame of a length that
 * cannot be sent), ERR_CAPTURE_SIZE, ERR_CAPTURE_NOT_A_FILE, EISDIR, or that of the failed system call (ENOENT, EACCES).
 */
export function loadCapture(path: string, limits: CaptureLimits = {}): Capture {
  const bytes = readWhole(
    path,
    Math.min(limits.bytesMax ?? CAPTURE_BYTES_MAX_DEFAULT, CAPTURE_BYTES_MAX),
  );
  const view = new DataView(bytes);
  // Twice: first to check and count, with a table that holds nothing, then to fill one of the right size.
  const count: Scan = { path, file: view, table: allocateTable(path, 0), frames: 0 };
  const format = scan(count);
  const table = allocateTable(path, count.frames);
  const fill: Scan = { path, file: view, table, frames: 0 };
  scan(fill);
  return { bytes, ...table, frames: fill.frames, format };
}

/** Finds and checks all frames of the file. */
function scan(pass: Scan): Capture["format"] {
  const { path, file } = pass;
  if (file.byteLength === 0) {
    refuse(path, "ERR_CAPTURE_FORMAT", "is empty, without even a file header: record it again");
  }
  let start = "";
  for (let at = 0; at < Math.min(file.byteLength, 8); at++) {
    start += file.getUint8(at).toString(16).padStart(2, "0");
  }
  for (const [magic, what] of OTHER_FILES) {
    if (start.startsWith(magic)) refuse(path, "ERR_CAPTURE_FORMAT", what);
  }
  switch (file.byteLength < 4 ? 0 : file.getUint32(0, true)) {
    case PCAP_MICROSECONDS:
      scanPcap(pass, true, 1000);
      return "pcap";
    case PCAP_MICROSECONDS_SWAPPED:
      scanPcap(pass, false, 1000);
      return "pcap";
    case PCAP_NANOSECONDS:
      scanPcap(pass, true, 1);
      return "pcap";
    case PCAP_NANOSECONDS_SWAPPED:
      scanPcap(pass, false, 1);
      return "pcap";
    case PCAPNG:
      scanPcapng(pass);
      return "pcapng";
    default:
      return refuse(
        path,
        "ERR_CAPTURE_FORMAT",
        `is not a pcap or pcapng file (it starts with the bytes ${start}): check the path`,
      );
  }
}

function readWhole(path: string, bytesMax: number): SharedArrayBuffer {
  let fd: number;
  try {
    // O_NONBLOCK: to open a FIFO that nobody writes to must not hang.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw systemError(path, "opened", error);
  }
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) refuse(path, "EISDIR", "is a directory: name a capture file in it");
    if (!stat.isFile()) {
      const kind = stat.isFIFO() ? "a FIFO" : "a device";
      refuse(
        path,
        "ERR_CAPTURE_NOT_A_FILE",
        `is ${kind}: a capture is loaded whole, so copy it into a file first`,
      );
    }
    if (stat.size > bytesMax) {
      refuse(
        path,
        "ERR_CAPTURE_SIZE",
        `has ${stat.size} bytes, and at most ${bytesMax} are loaded: split it with editcap -c`,
      );
    }
    const bytes = allocate(path, stat.size);
    for (let at = 0; at < stat.size; ) {
      const view = new Uint8Array(bytes, at, Math.min(READ_BYTES_MAX, stat.size - at));
      const n = readSync(fd, view, 0, view.length, at);
      if (n === 0) {
        refuse(
          path,
          "ERR_CAPTURE_TRUNCATED",
          "shrank while it was read: load it when its writer is done",
        );
      }
      at += n;
    }
    return bytes;
  } catch (error) {
    throw error instanceof CaptureError ? error : systemError(path, "read", error);
  } finally {
    closeSync(fd);
  }
}

function allocateTable(path: string, frames: number): FrameTable {
  return {
    offsets: new Uint32Array(allocate(path, frames * Uint32Array.BYTES_PER_ELEMENT)),
    lengths: new Uint32Array(allocate(path, frames * Uint32Array.BYTES_PER_ELEMENT)),
    originalLengths: new Uint32Array(allocate(path, frames * Uint32Array.BYTES_PER_ELEMENT)),
    timesNs: new Float64Array(allocate(path, frames * Float64Array.BYTES_PER_ELEMENT)),
  };
}

function allocate(path: string, bytes: number): SharedArrayBuffer {
  try {
    return new SharedArrayBuffer(bytes);
  } catch {
    return refuse(
      path,
      "ERR_CAPTURE_SIZE",
      `needs ${bytes} bytes of memory that are not there: split it with editcap -c`,
    );
  }
}

const REMEDIES: Readonly<Record<string, string>> = {
  ENOENT: "does not exist: check the path",
  EACCES: "may not be read by this user: change its permissions or run as its owner",
  ENXIO: "is a socket: name a capture file",
  ERR_INVALID_ARG_VALUE: "cannot be a path, with a zero byte in it: name a capture file",
};

function systemError(path: string, verb: string, cause: unknown): CaptureError {
  const { code = "EIO", message } = cause as NodeJS.ErrnoException;
  return new CaptureError(path, code, REMEDIES[code] ?? `could not be ${verb}: ${message}`, {
    cause,
  });
}
