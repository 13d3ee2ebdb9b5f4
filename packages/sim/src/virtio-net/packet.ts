/** What the card reads in a frame: addresses, tags, flows, checksums. */
import type { Frame } from "../backend.js";

const ETHERNET_BYTES = 14;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
/** 802.1Q and 802.1ad. */
const ETHERTYPE_VLAN = 0x8100;
const ETHERTYPE_QINQ = 0x88a8;
const TAG_BYTES = 4;
const TAGS_MAX = 2;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;

function be16(frame: Frame, at: number): number {
  const { bytes, at: base, length } = frame;
  return at + 2 > length ? 0 : bytes[base + at] * 256 + bytes[base + at + 1];
}

/** The VLAN of the outer tag; undefined when there is none. */
export function vlanOf(frame: Frame): number | undefined {
  const type = be16(frame, 12);
  return type === ETHERTYPE_VLAN || type === ETHERTYPE_QINQ ? be16(frame, 14) & 0xfff : undefined;
}

/** Bytes in front of what the MTU counts: the Ethernet header with its tags. */
export function linkHeaderBytes(frame: Frame): number {
  let at = 12;
  for (let tags = 0; tags < TAGS_MAX; tags++) {
    const type = be16(frame, at);
    if (type !== ETHERTYPE_VLAN && type !== ETHERTYPE_QINQ) break;
    at += TAG_BYTES;
  }
  return at + ETHERNET_BYTES - 12;
}

/** The same for both directions of a flow: addresses and ports are summed, not put in order. */
export function flowHash(frame: Frame): number {
  const start = linkHeaderBytes(frame);
  const type = be16(frame, start - 2);
  let hash = 0;
  let ports = 0;
  let protocol = 0;
  if (type === ETHERTYPE_IPV4 && frame.length >= start + 20) {
    protocol = frame.bytes[frame.at + start + 9];
    for (let i = 12; i < 20; i += 2) hash += be16(frame, start + i);
    const fragment = (be16(frame, start + 6) & 0x3fff) !== 0;
    if (!fragment) ports = start + (frame.bytes[frame.at + start] & 0x0f) * 4;
  } else if (type === ETHERTYPE_IPV6 && frame.length >= start + 40) {
    protocol = frame.bytes[frame.at + start + 6];
    for (let i = 8; i < 40; i += 2) hash += be16(frame, start + i);
    ports = start + 40;
  } else for (let i = 0; i < 12; i += 2) hash += be16(frame, i);
  if (ports > 0 && (protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP))
    hash += be16(frame, ports) + be16(frame, ports + 2);
  hash = Math.imul(hash + protocol, 0x9e3779b1);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** Replaces the pseudo header's sum by the checksum of everything from `csumStart` on (1.2 5.1.6.2). */
export function completeChecksum(frame: Frame): void {
  if (!frame.needsCsum) return;
  frame.needsCsum = false;
  const { bytes, at, length, csumStart, csumOffset } = frame;
  let sum = 0;
  const end = at + length;
  let i = at + csumStart;
  for (; i + 1 < end; i += 2) sum += bytes[i] * 256 + bytes[i + 1];
  if (i < end) sum += bytes[i] * 256;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  const checksum = ~sum & 0xffff || 0xffff; // RFC 768: 0 would say that there is none
  bytes[at + csumStart + csumOffset] = checksum >>> 8;
  bytes[at + csumStart + csumOffset + 1] = checksum;
}
