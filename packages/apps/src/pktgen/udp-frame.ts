/** Lifetime path: the frame that pktgen generates, UDP over IPv4 over Ethernet, with right checksums. */
import { FRAME_BYTES_MAX, parseMac } from "@weir/core";

const FCS_BYTES = 4;
const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;
const UDP_BYTES = 8;
const HEADERS_BYTES: number = ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES;
const ETHERTYPE_IPV4 = 0x0800;
const PROTOCOL_UDP = 17;
const TTL = 64;
/** As Pktgen: ports 1234 to 5678. */
const SOURCE_PORT = 1234;
const DESTINATION_PORT = 5678;

/** Sizes with the FCS, as Pktgen counts. */
export const FRAME_SIZE_MIN = 64;
export const FRAME_SIZE_MAX: number = FRAME_BYTES_MAX + FCS_BYTES;

export interface UdpFrameOptions {
  /** Bytes on the wire, FCS included. */
  readonly size: number;
  readonly source: string;
  readonly destination: string;
  /** The sending port: it goes from 198.18.PORT.1 to 198.18.PORT.2, addresses for benchmarks (RFC 2544, C.2.2). */
  readonly port: number;
}

/** The frame without its FCS, which a port adds. */
export function udpFrame({ size, source, destination, port }: UdpFrameOptions): Uint8Array {
  const frame = new Uint8Array(size - FCS_BYTES);
  const view = new DataView(frame.buffer);
  frame.set(parseMac(destination) ?? [], 0);
  frame.set(parseMac(source) ?? [], 6);
  view.setUint16(12, ETHERTYPE_IPV4);

  const ip = ETHERNET_BYTES; // RFC 791, 3.1
  view.setUint8(ip, 0x45);
  view.setUint16(ip + 2, frame.length - ETHERNET_BYTES);
  view.setUint8(ip + 8, TTL);
  view.setUint8(ip + 9, PROTOCOL_UDP);
  frame.set([198, 18, port & 0xff, 1], ip + 12);
  frame.set([198, 18, port & 0xff, 2], ip + 16);
  view.setUint16(ip + 10, checksum(view, ip, IPV4_BYTES, 0));

  const udp = ip + IPV4_BYTES; // RFC 768
  const bytes = frame.length - udp;
  view.setUint16(udp, SOURCE_PORT);
  view.setUint16(udp + 2, DESTINATION_PORT);
  view.setUint16(udp + 4, bytes);
  for (let i = HEADERS_BYTES; i < frame.length; i++) frame[i] = i - HEADERS_BYTES;
  const pseudoHeader = sum(view, ip + 12, 8) + PROTOCOL_UDP + bytes;
  view.setUint16(udp + 6, checksum(view, udp, bytes, pseudoHeader) || 0xffff); // 0 would mean "none"
  return frame;
}

/** The Internet checksum (RFC 1071). */
function checksum(view: DataView, at: number, bytes: number, start: number): number {
  let total = start + sum(view, at, bytes);
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return ~total & 0xffff;
}

function sum(view: DataView, at: number, bytes: number): number {
  let total = 0;
  for (let i = 0; i + 1 < bytes; i += 2) total += view.getUint16(at + i);
  if (bytes % 2 === 1) total += view.getUint8(at + bytes - 1) << 8;
  return total;
}
