/**
 * Data path, slow half: completes in software the transport checksum that a sender left to the hardware.
 *
 * A frame with FLAG_NEEDS_CSUM carries the sum of its pseudo header where the checksum belongs. The Internet checksum
 * (RFC 1071) from `csumStart` to the end of the frame, put there, makes it whole.
 */
import { FLAG_NEEDS_CSUM, SEGMENTS_LIMIT, SHAPE_FLAGGED, type Table } from "./table.js";

/** Completes the checksum of a frame where it is wanted, and clears its flags. The caller holds the frame alone. */
export function settleChecksum(table: Table, u8: Uint8Array, handle: number): void {
  const { kind, flags, csumStart, csumOffset, packetLength } = table;
  if ((kind[handle] & SHAPE_FLAGGED) === 0) return;
  const wanted = (flags[handle] & FLAG_NEEDS_CSUM) !== 0;
  flags[handle] = 0;
  kind[handle] = kind[handle] & ~SHAPE_FLAGGED;
  const start = csumStart[handle];
  const at = start + csumOffset[handle];
  if (!wanted || at + 2 > packetLength[handle]) return;
  const sum = ~internetSum(table, u8, handle, start) & 0xffff;
  // 0 and 0xffff are the same number in ones' complement; UDP keeps 0 for "none" (RFC 768).
  const checksum = sum === 0 ? 0xffff : sum;
  storeByte(table, u8, handle, at, checksum >>> 8);
  storeByte(table, u8, handle, at + 1, checksum & 0xff);
}

/** Ones' complement sum of the big-endian 16-bit words from byte `start` to the frame's end. */
function internetSum(table: Table, u8: Uint8Array, handle: number, start: number): number {
  const { position, dataLength, next } = table;
  let skip = start;
  let odd = 0;
  let sum = 0;
  let left = SEGMENTS_LIMIT;
  for (let segment = handle; segment !== 0 && left > 0; segment = next[segment], left--) {
    const length = dataLength[segment];
    const from = position[segment];
    for (let i = skip; i < length; i++) {
      sum += odd === 0 ? u8[from + i] << 8 : u8[from + i];
      odd ^= 1;
    }
    skip = skip > length ? skip - length : 0;
    sum = (sum & 0xffff) + (sum >>> 16); // a segment adds less than 2^32: 65,535 bytes at most
  }
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16);
}

function storeByte(table: Table, u8: Uint8Array, handle: number, at: number, value: number): void {
  const { position, dataLength, next } = table;
  let skip = at;
  let segment = handle;
  while (skip >= dataLength[segment] && next[segment] !== 0) {
    skip -= dataLength[segment];
    segment = next[segment];
  }
  if (skip < dataLength[segment]) u8[position[segment] + skip] = value;
}
