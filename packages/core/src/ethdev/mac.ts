/** MAC addresses: six bytes, written with colons. */
import { randomBytes } from "node:crypto";

const PATTERN = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;

/** The bytes of "02:00:00:00:00:01"; undefined when it is no such address. */
export function parseMac(text: string): Uint8Array | undefined {
  if (!PATTERN.test(text)) return undefined;
  return Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
}

export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes.subarray(0, 6), (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** A locally administered unicast address that nobody else has. */
export function randomMac(): Uint8Array {
  const bytes = Uint8Array.from(randomBytes(6));
  bytes[0] = (bytes[0] & 0xfc) | 0x02;
  return bytes;
}
