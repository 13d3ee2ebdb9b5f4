/** From what is behind the card to a receive queue (1.2 5.1.6.3, 5.1.6.4). */
import { FRAME_BYTES_MAX, type Frame } from "../backend.js";
import type { Completions } from "../virtio/completions.js";
import type { VirtioHost } from "../virtio/device-type.js";
import { type Chain, QueueError } from "../virtio/virtqueue.js";
import * as n from "./constants.js";
import { completeChecksum } from "./packet.js";

/** Buffers of one frame. */
const BUFFERS_MAX: number = FRAME_BYTES_MAX + n.HDR_BYTES;

/** "wait": the driver has not given enough buffers yet. "drop": it never will. */
export type Delivery = "done" | "wait" | "drop";

export class Receive {
  readonly #host: VirtioHost;
  readonly #header = new Uint8Array(n.HDR_BYTES);
  /** Of the chains that are filled now. */
  #chains: Chain[] = [];
  #written: number[] = [];

  constructor(host: VirtioHost) {
    this.#host = host;
  }

  deliver(completions: Completions, frame: Frame): Delivery {
    const { queue } = completions;
    const merge = this.#host.accepted(n.F_MRG_RXBUF);
    const needed = n.HDR_BYTES + frame.length;
    let room = 0;
    let buffers = 0;
    while (room < needed && buffers < queue.ready && buffers < BUFFERS_MAX) {
      const chain = queue.peek(buffers++);
      check(chain);
      room += chain.writeBytes;
      if (!merge) break; // 1.2 5.1.6.3.2: one buffer only
    }
    if (room < needed) {
      const all = buffers > 0 && (!merge || buffers === queue.size || buffers === BUFFERS_MAX);
      return all ? "drop" : "wait";
    }
    this.#putHeader(frame, buffers);
    this.#fill(completions, frame, buffers, needed);
    return "done";
  }

  #putHeader(frame: Frame, buffers: number): void {
    const header = this.#header.fill(0);
    if (frame.needsCsum && this.#host.accepted(n.F_GUEST_CSUM)) {
      header[n.HDR_FLAGS] = n.HDR_F_NEEDS_CSUM; // 1.2 5.1.6.4.1
      put16(header, n.HDR_CSUM_START, frame.csumStart);
      put16(header, n.HDR_CSUM_OFFSET, frame.csumOffset);
    } else completeChecksum(frame);
    const { faults } = this.#host;
    const told = faults.strikes("num-buffers") ? faults.random.below(2 ** 16) : buffers;
    put16(header, n.HDR_NUM_BUFFERS, told);
  }

  /** Each buffer but the last is used to its full length (1.2 5.1.6.4.1). */
  #fill(completions: Completions, frame: Frame, buffers: number, needed: number): void {
    const { dma } = this.#host;
    this.#chains = [];
    this.#written = [];
    let done = 0;
    for (let b = 0; b < buffers; b++) {
      const chain = completions.queue.take();
      const start = done;
      for (let i = 0; i < chain.segments && done < needed; i++) {
        const address = chain.addresses[i] as number;
        const length = Math.min(chain.lengths[i] as number, needed - done);
        const ofHeader = Math.min(Math.max(0, n.HDR_BYTES - done), length);
        if (ofHeader > 0) dma.write(address, ofHeader, this.#header, done);
        const from = frame.at + done + ofHeader - n.HDR_BYTES;
        if (length > ofHeader) dma.write(address + ofHeader, length - ofHeader, frame.bytes, from);
        done += length;
      }
      this.#chains.push(chain);
      this.#written.push(done - start);
    }
    completions.completeGroup(this.#chains, this.#written);
  }
}

function check(chain: Chain): void {
  if (chain.readable > 0)
    throw new QueueError("readable-receive", `the chain at ${chain.head} is device-readable`);
  if (chain.writeBytes < n.HDR_BYTES)
    throw new QueueError(
      "receive-too-short",
      `the chain at ${chain.head} has ${chain.writeBytes} bytes`,
    ); // 1.2 5.1.6.3.1
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}
