/** Answers ARP and ping (ICMP echo over IPv4) for every address it is asked for. */
import { app, type Frames } from "@weir/core";

const BURST = 32;
const ETHERTYPE_ARP = 0x0806;
const ETHERTYPE_IPV4 = 0x0800;
const PROTOCOL_ICMP = 1;
const ECHO_REQUEST = 8;

export default app({
  name: "ping-responder",
  summary: "Answers ARP and ping for every address.",

  lcore({ port, rx, tx, frames }) {
    const burst = new Uint32Array(BURST);
    const answers = new Uint32Array(BURST);
    return () => {
      const n = rx.burst(burst, BURST);
      let count = 0;
      for (let i = 0; i < n; i++) {
        const handle = burst[i];
        if (answerArp(frames, handle, port.mac) || answerEcho(frames, handle)) {
          frames.swapMacs(handle);
          answers[count++] = handle;
        } else frames.free(handle);
      }
      if (count > 0) tx.burstOrFree(answers, count);
    };
  },
});

/** Turns an ARP request into its reply (RFC 826); false when it is none. */
function answerArp(frames: Frames, handle: number, mac: Uint8Array): boolean {
  const { bytes } = frames;
  const at = frames.position(handle);
  const arp = at + 14;
  if (
    frames.segmentLength(handle) < 42 ||
    word(bytes, at + 12) !== ETHERTYPE_ARP ||
    word(bytes, arp + 6) !== 1
  )
    return false;
  bytes[arp + 7] = 2; // reply
  for (let i = 0; i < 10; i++) {
    // The sender, address and all, becomes the target, and the address asked for becomes the sender's.
    const sender = bytes[arp + 8 + i];
    bytes[arp + 8 + i] = bytes[arp + 18 + i];
    bytes[arp + 18 + i] = sender;
  }
  for (let i = 0; i < 6; i++) {
    bytes[arp + 8 + i] = mac[i];
    bytes[at + i] = mac[i]; // the request went to everyone: the reply comes from us, once its addresses are exchanged
  }
  return true;
}

/** Turns an echo request into its reply (RFC 792); false when it is none. */
function answerEcho(frames: Frames, handle: number): boolean {
  const { bytes } = frames;
  const at = frames.position(handle);
  const ip = at + 14;
  if (
    frames.segmentLength(handle) < 42 ||
    word(bytes, at + 12) !== ETHERTYPE_IPV4 ||
    bytes[ip] !== 0x45
  )
    return false;
  const icmp = ip + 20;
  if (
    bytes[ip + 9] !== PROTOCOL_ICMP ||
    bytes[icmp] !== ECHO_REQUEST ||
    (word(bytes, ip + 6) & 0x3fff) !== 0
  )
    return false;
  for (let i = 0; i < 4; i++) {
    const source = bytes[ip + 12 + i];
    bytes[ip + 12 + i] = bytes[ip + 16 + i];
    bytes[ip + 16 + i] = source;
  }
  bytes[icmp] = 0; // reply; the checksum changes by the same amount (RFC 1624)
  const sum = word(bytes, icmp + 2) + (ECHO_REQUEST << 8);
  const folded = (sum & 0xffff) + (sum >>> 16);
  bytes[icmp + 2] = folded >>> 8;
  bytes[icmp + 3] = folded;
  return true;
}

/** 16 bits as the network sends them. */
function word(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}
