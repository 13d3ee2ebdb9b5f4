// Reading pcap, and what pcap and pcapng have in common: a pass over a file, its frames, its errors. A capture comes from
// anywhere, so every length in it is checked against what is left of the file before it is used, and nothing is allocated
// by a number found in it.
//
// Format: draft-ietf-opsawg-pcap-08 ("pcap" below); versions before 2.4 as libpcap reads them (its sf-pcap.c). "ng" is
// the draft of pcapng-read.ts.

/** Bytes of the longest frame that is taken: more than any Ethernet sends. */
const FRAME_BYTES_MAX = 65535;

const PCAP_HEADER_BYTES = 24; // pcap 4
const PCAP_RECORD_BYTES = 16; // pcap 5
// LinkType and additional information, pcap 4, figure 2
const LINK_TYPE_MASK = 0xffff;
const LINK_RESERVED_MASK = 0x0bff0000; // R and Reserved3: "a reader SHOULD treat a non-zero value as an error"
const LINK_FCS_PRESENT = 0x04000000; // P
const LINK_FCS_SHIFT = 28; // in words of 16 bits

const DROP_FRAME = "drop it with editcap, which takes the numbers of frames to leave out";

const LINKTYPE_ETHERNET = 1;
/** draft-ietf-opsawg-pcaplinktype: those that users meet. */
const LINK_TYPES: Readonly<Record<number, string>> = {
  0: "BSD loopback",
  1: "Ethernet",
  9: "PPP",
  101: "raw IP",
  105: "802.11",
  108: "OpenBSD loopback",
  113: "Linux cooked, from -i any",
  127: "802.11 with radiotap",
  189: "USB",
  195: "802.15.4",
  201: "Bluetooth HCI",
  220: "USB",
  228: "raw IPv4",
  229: "raw IPv6",
  239: "NFLOG",
  276: "Linux cooked v2, from -i any",
};

/** Why a capture could not be loaded; `code` is for programs, the message for people. */
export class CaptureError extends Error {
  readonly code: string;

  constructor(path: string, code: string, what: string, options?: ErrorOptions) {
    super(`${JSON.stringify(path)} ${what}`, options); // quoted: a path may hold control characters
    this.name = "CaptureError";
    this.code = code;
  }
}

export function refuse(path: string, code: string, what: string): never {
  throw new CaptureError(path, code, what);
}

/**
 * Where the frames are; see Capture. One that is too short for the file holds as many as go into it: a typed array ignores
 * writes beyond its end.
 */
export interface FrameTable {
  readonly offsets: Uint32Array;
  readonly lengths: Uint32Array;
  readonly originalLengths: Uint32Array;
  readonly timesNs: Float64Array;
}

/** A pass over a file; scanPcap and scanPcapng check all of it, write its frames to `table` and count them. */
export interface Scan {
  readonly path: string;
  readonly file: DataView;
  readonly table: FrameTable;
  /** Frames found so far. */
  frames: number;
}

export function scanPcap(scan: Scan, little: boolean, nsPerUnit: number): void {
  const { path, file } = scan;
  needBytes(scan, 0, PCAP_HEADER_BYTES, "its file header");
  const major = file.getUint16(4, little);
  const minor = file.getUint16(6, little);
  if (major !== 2) {
    refuse(
      path,
      "ERR_CAPTURE_FORMAT",
      `is of pcap version ${major}.${minor}, and only 2 is read: record it again`,
    );
  }
  const snaplen = file.getUint32(16, little); // 0 is forbidden and occurs: no limit
  const link = file.getUint32(20, little);
  checkLinkType(scan, link & LINK_TYPE_MASK);
  if ((link & LINK_RESERVED_MASK) !== 0) {
    refuse(
      path,
      "ERR_CAPTURE_FORMAT",
      `sets reserved bits beside its link type (0x${link.toString(16)}): its header is damaged; record it again`,
    );
  }
  const fcsBytes = (link & LINK_FCS_PRESENT) !== 0 ? (link >>> LINK_FCS_SHIFT) * 2 : 0;

  let firstSeconds = 0;
  let firstFraction = 0;
  for (let at = PCAP_HEADER_BYTES; at < file.byteLength; ) {
    needBytes(scan, at, PCAP_RECORD_BYTES, `frame ${scan.frames + 1}`);
    const seconds = file.getUint32(at, little); // pcap 5, from here
    const fraction = file.getUint32(at + 4, little);
    let captured = file.getUint32(at + 8, little);
    let original = file.getUint32(at + 12, little);
    // Before 2.3 the two lengths were the other way round, and in 2.3 they are in either.
    if (minor < 3 || (minor === 3 && captured > original)) {
      [captured, original] = [original, captured];
    }
    if (scan.frames === 0) {
      firstSeconds = seconds;
      firstFraction = fraction;
    }
    const timeNs = (seconds - firstSeconds) * 1e9 + (fraction - firstFraction) * nsPerUnit;
    at += PCAP_RECORD_BYTES;
    checkLength(scan, captured, snaplen);
    needBytes(scan, at, captured, `frame ${scan.frames + 1}`);
    addFrame(scan, at, captured, original, fcsBytes, timeNs);
    at += captured;
  }
}

export function needBytes(scan: Scan, at: number, bytes: number, what: string): void {
  const left = scan.file.byteLength - at;
  if (bytes <= left) return;
  refuse(
    scan.path,
    "ERR_CAPTURE_TRUNCATED",
    `ends in the middle of ${what} (needs ${bytes} bytes at offset ${at}, ${left} are left): the capture is truncated; ` +
      "record it again or copy its whole frames with editcap",
  );
}

export function checkLinkType(scan: Scan, type: number): void {
  if (type === LINKTYPE_ETHERNET) return;
  const name = LINK_TYPES[type];
  refuse(
    scan.path,
    "ERR_CAPTURE_LINKTYPE",
    `is of link type ${type}${name === undefined ? "" : ` (${name})`}, and only 1 (Ethernet) is supported: record it on an Ethernet interface`,
  );
}

export function checkLength(scan: Scan, captured: number, snaplen: number): void {
  const { path } = scan;
  const frame = `frame ${scan.frames + 1}`;
  if (captured === 0) {
    refuse(path, "ERR_CAPTURE_FRAME", `has nothing in ${frame}: ${DROP_FRAME}`);
  }
  if (captured > FRAME_BYTES_MAX) {
    refuse(
      path,
      "ERR_CAPTURE_FRAME",
      `has ${captured} bytes in ${frame}, and at most ${FRAME_BYTES_MAX} are taken: cut it with editcap -s, or record it without segmentation offload`,
    );
  }
  if (snaplen !== 0 && captured > snaplen) {
    refuse(
      path,
      "ERR_CAPTURE_FRAME",
      `has ${captured} bytes in ${frame}, more than its own limit of ${snaplen}: it is damaged; record it again`,
    );
  }
}

/** Adds a frame whose bytes were checked to be there. The frame check sequence ends it on the wire and is left out. */
export function addFrame(
  scan: Scan,
  at: number,
  captured: number,
  original: number,
  fcsBytes: number,
  timeNs: number,
): void {
  const { table, frames } = scan;
  // ng 4.3 and pcap 5: a reader may raise an original length that is below the captured one.
  const wire = Math.max(original, captured) - fcsBytes;
  if (wire <= 0) {
    refuse(
      scan.path,
      "ERR_CAPTURE_FRAME",
      `has only a frame check sequence in frame ${frames + 1}: ${DROP_FRAME}`,
    );
  }
  table.offsets[frames] = at;
  table.lengths[frames] = Math.min(captured, wire);
  table.originalLengths[frames] = wire;
  table.timesNs[frames] = timeNs;
  scan.frames = frames + 1;
}
