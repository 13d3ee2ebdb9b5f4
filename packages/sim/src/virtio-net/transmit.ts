/** From a transmit queue to what is behind the card (1.2 5.1.6.2). */
import { emptyFrame, FRAME_BYTES_MAX, type Frame } from "../backend.js";
import type { VirtioHost } from "../virtio/device-type.js";
import { type Chain, QueueError } from "../virtio/virtqueue.js";
import * as n from "./constants.js";
import { linkHeaderBytes } from "./packet.js";

/** Destination, source, type. */
const FRAME_BYTES_MIN = 14;

export class Transmit {
  /** The frame of the last `gather`. */
  readonly frame: Frame;
  readonly #host: VirtioHost;
  readonly #bytes = new Uint8Array(n.HDR_BYTES + FRAME_BYTES_MAX);
  readonly #mtu: number | undefined;

  constructor(host: VirtioHost, mtu: number | undefined) {
    this.#host = host;
    this.#mtu = mtu;
    this.frame = { ...emptyFrame(), bytes: this.#bytes, at: n.HDR_BYTES };
  }

  /** Reads a chain into `frame` and checks its header; false when it is not to be sent. */
  gather(chain: Chain): boolean {
    if (chain.writeBytes > 0 || chain.readable < chain.segments)
      throw new QueueError("writable-transmit", `the chain at ${chain.head} is device-writable`);
    if (chain.readBytes < n.HDR_BYTES + FRAME_BYTES_MIN)
      throw new QueueError(
        "transmit-too-short",
        `the chain at ${chain.head} has ${chain.readBytes} bytes`,
      );
    if (chain.readBytes > this.#bytes.length)
      return this.#broken("transmit-too-long", `a frame of ${chain.readBytes - n.HDR_BYTES} bytes`);
    let at = 0;
    for (let i = 0; i < chain.readable; i++) {
      const length = chain.lengths[i] as number;
      this.#host.dma.read(chain.addresses[i] as number, length, this.#bytes, at);
      at += length;
    }
    this.frame.length = at - n.HDR_BYTES;
    return this.#headerGood() && this.#lengthGood();
  }

  /** 1.2 5.1.6.2.1 */
  #headerGood(): boolean {
    const { frame } = this;
    const flags = this.#bytes[n.HDR_FLAGS];
    const gso = this.#bytes[n.HDR_GSO_TYPE];
    if (gso !== n.GSO_NONE) return this.#broken("header-gso", `gso_type is ${gso}`);
    if (this.#le16(n.HDR_NUM_BUFFERS) !== 0)
      return this.#broken("header-num-buffers", `num_buffers is ${this.#le16(n.HDR_NUM_BUFFERS)}`);
    if ((flags & (n.HDR_F_DATA_VALID | n.HDR_F_RSC_INFO)) !== 0)
      return this.#broken("header-flags", `flags are ${flags}`);
    frame.needsCsum = (flags & n.HDR_F_NEEDS_CSUM) !== 0;
    frame.csumStart = this.#le16(n.HDR_CSUM_START);
    frame.csumOffset = this.#le16(n.HDR_CSUM_OFFSET);
    if (!this.#host.accepted(n.F_CSUM) && flags !== 0)
      return this.#broken("header-flags", `flags are ${flags}, and CSUM was not accepted`);
    if (frame.needsCsum && frame.csumStart + frame.csumOffset + 2 > frame.length)
      return this.#broken(
        "header-csum",
        `the checksum at ${frame.csumStart} + ${frame.csumOffset} is behind the ${frame.length} bytes`,
      );
    return true;
  }

  /** 1.2 5.1.4.2: with MTU accepted nothing longer is sent. */
  #lengthGood(): boolean {
    if (this.#mtu === undefined || !this.#host.accepted(n.F_MTU)) return true;
    const payload = this.frame.length - linkHeaderBytes(this.frame);
    if (payload <= this.#mtu) return true;
    return this.#broken("frame-beyond-mtu", `${payload} bytes, and the MTU is ${this.#mtu}`);
  }

  #le16(at: number): number {
    return this.#bytes[at] + this.#bytes[at + 1] * 256;
  }

  #broken(kind: string, detail: string): false {
    this.#host.log.violation(kind, detail);
    return false;
  }
}
