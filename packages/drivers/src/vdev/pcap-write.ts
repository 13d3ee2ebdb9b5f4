// Writing captures: pcap 2.4 with nanoseconds, little-endian, Ethernet. Nothing here allocates or checks; the caller
// stages records in a buffer of its own and knows that they fit.
//
// Format: draft-ietf-opsawg-pcap-08, sections 4 (File Header) and 5 (Packet Record).

export const PCAP_FILE_HEADER_BYTES = 24;
export const PCAP_RECORD_HEADER_BYTES = 16;
/** Octets kept of a frame: what tcpdump and Wireshark write when they cut nothing. */
export const PCAP_SNAPLEN = 262144;

const MAGIC_NANOSECONDS = 0xa1b23c4d;
const VERSION_MAJOR = 2;
const VERSION_MINOR = 4;
const LINKTYPE_ETHERNET = 1;

/** Writes the file header to the first PCAP_FILE_HEADER_BYTES of `out`; returns where the first record goes. */
export function writePcapFileHeader(out: Uint8Array): number {
  let at = put32(out, 0, MAGIC_NANOSECONDS);
  at = put32(out, at, VERSION_MAJOR | (VERSION_MINOR << 16)); // two 16-bit fields
  at = put32(out, at, 0); // Reserved1
  at = put32(out, at, 0); // Reserved2
  at = put32(out, at, PCAP_SNAPLEN);
  return put32(out, at, LINKTYPE_ETHERNET); // no FCS: the P bit is clear
}

/**
 * Writes a record header at byte `at` of `out`, which need not be aligned; returns where the `captured` bytes of the
 * frame go, and the next record goes right after them.
 *
 * `seconds` since 1970-01-01 UTC with `nanoseconds` from 0 to 999,999,999; `captured` and `original` in bytes, captured
 * <= original. A field that goes beyond the end of `out` is lost: keep PCAP_RECORD_HEADER_BYTES + captured free.
 */
export function writePcapRecordHeader(
  out: Uint8Array,
  at: number,
  seconds: number,
  nanoseconds: number,
  captured: number,
  original: number,
): number {
  // By bytes, because records follow frames without padding: most are unaligned.
  at = put32(out, at, seconds);
  at = put32(out, at, nanoseconds);
  at = put32(out, at, captured);
  return put32(out, at, original);
}

function put32(out: Uint8Array, at: number, value: number): number {
  out[at] = value;
  out[at + 1] = value >>> 8;
  out[at + 2] = value >>> 16;
  out[at + 3] = value >>> 24;
  return at + 4;
}
