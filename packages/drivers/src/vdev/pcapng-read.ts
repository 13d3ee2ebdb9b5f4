// Reading pcapng: its blocks, the interfaces they describe and the clocks of those.
//
// Format: draft-ietf-opsawg-pcapng of 2 March 2026 ("ng" below). Read are Section Header, Interface Description, Enhanced
// Packet, Simple Packet and the obsolete Packet Block; all other blocks are skipped (ng 3.1).

import { addFrame, checkLength, checkLinkType, needBytes, refuse, type Scan } from "./pcap-read.js";

/** Interfaces of one pcapng section; an interface takes 20 bytes of the file and more of memory. */
const INTERFACES_MAX = 4096;

const BLOCK_SECTION = 0x0a0d0d0a; // ng 4.1; the same in both byte orders
const BLOCK_INTERFACE = 1; // ng 4.2
const BLOCK_PACKET = 2; // ng appendix A, obsolete
const BLOCK_SIMPLE_PACKET = 3; // ng 4.4
const BLOCK_ENHANCED_PACKET = 6; // ng 4.3
const BYTE_ORDER_MAGIC = 0x1a2b3c4d; // ng 4.1
const BLOCK_BYTES_MIN = 12; // type and twice the length, ng 3.1

const OPTION_END = 0; // opt_endofopt, ng 3.5
const IF_TSRESOL = 9; // ng 4.2
const IF_FCSLEN = 13;
const IF_TSOFFSET = 14;
const EPB_FLAGS = 2; // ng 4.3

/** An interface of a section, ng 4.2, and the clock of its frames. */
interface Interface {
  readonly snaplen: number; // 0: no limit
  readonly fcsBytes: number;
  readonly ticksPerSecond: bigint;
  readonly nsPerTick: number;
  readonly offsetSeconds: bigint;
  /** Its first frame: the two words of the timestamp, and nanoseconds since the first frame of the file. */
  base: { readonly high: number; readonly low: number; readonly ns: number } | undefined;
}

/** A section, ng 4.1, and what outlives it. */
interface Section {
  little: boolean;
  interfaces: Interface[];
  /** Nanoseconds since 1970 of the file's first timestamp. */
  firstNs: bigint | undefined;
  /** Time of the last frame, for blocks that have none. */
  lastNs: number;
}

export function scanPcapng(scan: Scan): void {
  const { file } = scan;
  const section: Section = { little: true, interfaces: [], firstNs: undefined, lastNs: 0 };
  for (let at = 0; at < file.byteLength; ) {
    needBytes(scan, at, BLOCK_BYTES_MIN, "a block");
    if (file.getUint32(at, true) === BLOCK_SECTION) startSection(scan, section, at);
    const type = file.getUint32(at, section.little);
    const length = file.getUint32(at + 4, section.little);
    if (length < blockBytesMin(type) || length % 4 !== 0) {
      damagedBlock(scan, at, `gives ${length} as its length`);
    }
    needBytes(scan, at, length, isPacket(type) ? `frame ${scan.frames + 1}` : "a block");
    const trailer = file.getUint32(at + length - 4, section.little);
    if (trailer !== length) {
      damagedBlock(
        scan,
        at,
        `gives ${length} as its length at its start and ${trailer} at its end`,
      );
    }
    if (type === BLOCK_INTERFACE) addInterface(scan, section, at, length);
    else if (type === BLOCK_SIMPLE_PACKET) addSimplePacket(scan, section, at, length);
    else if (isPacket(type)) addPacket(scan, section, at, length, type);
    at += length;
  }
}

function isPacket(type: number): boolean {
  return type === BLOCK_ENHANCED_PACKET || type === BLOCK_SIMPLE_PACKET || type === BLOCK_PACKET;
}

/** Its fixed fields, with the length at its end. */
function blockBytesMin(type: number): number {
  if (type === BLOCK_SECTION) return 28;
  if (type === BLOCK_INTERFACE) return 20;
  if (type === BLOCK_SIMPLE_PACKET) return 16;
  return isPacket(type) ? 32 : BLOCK_BYTES_MIN;
}

/** ng 4.1. The section's own length is not used: it may be -1, and the blocks say the same. */
function startSection(scan: Scan, section: Section, at: number): void {
  const { path, file } = scan;
  needBytes(scan, at, blockBytesMin(BLOCK_SECTION), "a section header");
  section.little = file.getUint32(at + 8, true) === BYTE_ORDER_MAGIC;
  section.interfaces = [];
  if (!section.little && file.getUint32(at + 8, false) !== BYTE_ORDER_MAGIC) {
    damagedBlock(scan, at, "has no byte-order magic");
  }
  const major = file.getUint16(at + 12, section.little);
  const minor = file.getUint16(at + 14, section.little);
  if (major !== 1 || (minor !== 0 && minor !== 2)) {
    refuse(
      path,
      "ERR_CAPTURE_FORMAT",
      `is of pcapng version ${major}.${minor}, and only 1.0 is read: save it as that or as pcap`,
    );
  }
}

/** ng 4.2 */
function addInterface(scan: Scan, section: Section, at: number, length: number): void {
  const { file, path } = scan;
  const { interfaces, little } = section;
  checkLinkType(scan, file.getUint16(at + 8, little));
  if (interfaces.length === INTERFACES_MAX) {
    refuse(
      path,
      "ERR_CAPTURE_SIZE",
      `describes more than ${INTERFACES_MAX} interfaces: convert it with editcap -F pcap`,
    );
  }
  const option = (code: number, bytes: number): number =>
    findOption(scan, at, at + 16, at + length - 4, little, code, bytes);
  const resolutionAt = option(IF_TSRESOL, 1);
  const fcsAt = option(IF_FCSLEN, 1);
  const offsetAt = option(IF_TSOFFSET, 8);
  const resolution = resolutionAt === 0 ? 6 : file.getUint8(resolutionAt);
  const ticksPerSecond =
    (resolution & 0x80) === 0 ? 10n ** BigInt(resolution) : 2n ** BigInt(resolution & 0x7f);
  // The draft says bits and gives 4 as its example; Wireshark writes octets. On Ethernet both mean the same four octets.
  const fcs = fcsAt === 0 ? 0 : file.getUint8(fcsAt);
  interfaces.push({
    snaplen: file.getUint32(at + 12, little),
    fcsBytes: fcs === 32 ? 4 : fcs,
    ticksPerSecond,
    nsPerTick: 1e9 / Number(ticksPerSecond),
    offsetSeconds: offsetAt === 0 ? 0n : file.getBigInt64(offsetAt, little),
    base: undefined,
  });
}

/** ng 4.3, and appendix A: they differ in the width of the interface's number. */
function addPacket(scan: Scan, section: Section, at: number, length: number, type: number): void {
  const { file } = scan;
  const { little } = section;
  const id =
    type === BLOCK_PACKET ? file.getUint16(at + 8, little) : file.getUint32(at + 8, little);
  const from = interfaceOf(scan, section, at, id);
  const captured = file.getUint32(at + 20, little);
  const original = file.getUint32(at + 24, little);
  const end = at + length - 4;
  checkLength(scan, captured, from.snaplen);
  if (captured > end - (at + 28)) {
    damagedBlock(scan, at, `is too short for the ${captured} bytes of its frame`);
  }
  const optionsAt = at + 28 + ((captured + 3) & ~3);
  const flagsAt = findOption(scan, at, optionsAt, end, little, EPB_FLAGS, 4); // pack_flags of a Packet Block are the same
  const flagsFcsBytes = flagsAt === 0 ? 0 : (file.getUint32(flagsAt, little) >>> 5) & 0xf; // ng 4.3.1: overrides if_fcslen
  section.lastNs = timeOf(
    section,
    from,
    file.getUint32(at + 12, little),
    file.getUint32(at + 16, little),
  );
  addFrame(
    scan,
    at + 28,
    captured,
    original,
    flagsFcsBytes === 0 ? from.fcsBytes : flagsFcsBytes,
    section.lastNs,
  );
}

/** ng 4.4: of interface 0, without a time or a captured length of its own. */
function addSimplePacket(scan: Scan, section: Section, at: number, length: number): void {
  const from = interfaceOf(scan, section, at, 0);
  const original = scan.file.getUint32(at + 8, section.little);
  const captured = from.snaplen === 0 ? original : Math.min(original, from.snaplen);
  checkLength(scan, captured, 0);
  if (captured > length - 16) {
    damagedBlock(scan, at, `is too short for the ${captured} bytes of its frame`);
  }
  addFrame(scan, at + 12, captured, original, from.fcsBytes, section.lastNs);
}

function interfaceOf(scan: Scan, section: Section, at: number, id: number): Interface {
  const from = section.interfaces[id];
  if (from === undefined) {
    damagedBlock(
      scan,
      at,
      `names interface ${id}, and ${section.interfaces.length} are described before it`,
    );
  }
  return from;
}

/** Nanoseconds since the first frame. In whole numbers once per interface, then by what its counter moved since. */
function timeOf(section: Section, from: Interface, high: number, low: number): number {
  if (from.base === undefined) {
    const ticks = (BigInt(high) << 32n) | BigInt(low);
    const ns = (ticks * 1_000_000_000n) / from.ticksPerSecond + from.offsetSeconds * 1_000_000_000n;
    section.firstNs ??= ns;
    from.base = { high, low, ns: Number(ns - section.firstNs) };
  }
  return (
    from.base.ns + ((high - from.base.high) * 2 ** 32 + (low - from.base.low)) * from.nsPerTick
  );
}

/** ng 3.5: the byte offset of the value of the first option `code`, of `bytes` bytes, between `at` and `end`, or 0. */
function findOption(
  scan: Scan,
  blockAt: number,
  at: number,
  end: number,
  little: boolean,
  code: number,
  bytes: number,
): number {
  const { file } = scan;
  while (end - at >= 4) {
    const found = file.getUint16(at, little);
    const length = file.getUint16(at + 2, little);
    if (found === OPTION_END) return 0;
    if (length > end - at - 4) {
      damagedBlock(scan, blockAt, `has an option of ${length} bytes that goes beyond its end`);
    }
    if (found === code) {
      if (length !== bytes) {
        damagedBlock(scan, blockAt, `has ${length} bytes in option ${code}, which has ${bytes}`);
      }
      return at + 4;
    }
    at += 4 + ((length + 3) & ~3);
  }
  return 0;
}

function damagedBlock(scan: Scan, at: number, what: string): never {
  return refuse(
    scan.path,
    "ERR_CAPTURE_FORMAT",
    `is damaged: the block at offset ${at} ${what}; record it again`,
  );
}
