/**
 * The split virtqueue, device side (1.2 2.7). Every index, flag and length that the driver wrote is checked before it is
 * used, and each rule that it broke has a name of its own.
 */
import type { Dma } from "../dma.js";
import {
  AVAIL_F_NO_INTERRUPT,
  AVAIL_FLAGS,
  AVAIL_IDX,
  AVAIL_RING,
  availEventOffset,
  DESC_BYTES,
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_WRITE,
  USED_ELEM_BYTES,
  USED_ELEM_LEN,
  USED_IDX,
  USED_RING,
  usedEventOffset,
} from "./constants.js";
import { Chain, QueueError, type Virtqueue } from "./virtqueue.js";

export interface SplitRingOptions {
  readonly size: number;
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
  readonly eventIdx: boolean;
  readonly inOrder: boolean;
  readonly indirect: boolean;
}

const DESC_FLAGS_KNOWN: number = DESC_F_NEXT | DESC_F_WRITE | DESC_F_INDIRECT;
/** 1.2 2.7.5.2 */
const CHAIN_BYTES_MAX: number = 2 ** 32;

export class SplitRing implements Virtqueue {
  readonly size: number;
  readonly inOrder: boolean;
  readonly #dma: Dma;
  readonly #at: SplitRingOptions;
  readonly #mask: number;
  /** By head: each is filled anew whenever the driver offers it. */
  readonly #chains: (Chain | undefined)[] = [];
  /** By descriptor: 1 + the head of the chain that occupies it; 0 when the driver owns it. */
  readonly #heldBy: Uint32Array;
  /** Heads fetched and not taken, from `#first` on. */
  readonly #fetched: Uint16Array;
  #first = 0;
  #ready = 0;
  /** Chains that the driver waits for. */
  #outstanding = 0;
  #nextAvail = 0;
  #used = 0;
  #published = 0;
  /** With IN_ORDER: entries left out so far, where the first of them would be, and the last one's head. */
  #skipped = 0;
  #skippedAt = 0;
  #skippedHead = 0;
  /** With IN_ORDER: the descriptor that comes next (1.2 2.7.5). */
  #expected = 0;
  readonly #words = new Uint32Array(4);
  readonly #wordBytes = new Uint8Array(this.#words.buffer);

  constructor(dma: Dma, options: SplitRingOptions) {
    this.#dma = dma;
    this.#at = options;
    this.size = options.size;
    this.inOrder = options.inOrder;
    this.#mask = options.size - 1;
    this.#heldBy = new Uint32Array(options.size);
    this.#fetched = new Uint16Array(options.size);
  }

  get ready(): number {
    return this.#ready;
  }

  fetch(): void {
    const { driver, device, eventIdx } = this.#at;
    // Pairs with the driver's publication: the entries and descriptors before this index are complete.
    const index = this.#dma.load16(driver + AVAIL_IDX);
    const count = (index - this.#nextAvail) & 0xffff;
    if (count === 0) return;
    if (count > this.size - this.#outstanding)
      throw new QueueError(
        "avail-index-jump",
        `the available index went from ${this.#nextAvail} to ${index} with ${this.#outstanding} of ${this.size} chains outstanding`,
      );
    // 1.2 2.7.7.1: 0 or 1, and 0 with EVENT_IDX
    const flags = this.#dma.load16(driver + AVAIL_FLAGS);
    if (flags > (eventIdx ? 0 : AVAIL_F_NO_INTERRUPT))
      throw new QueueError("avail-flags", `the available ring's flags are ${flags}`);
    for (let i = 0; i < count; i++) {
      const head = this.#dma.load16(driver + AVAIL_RING + 2 * (this.#nextAvail & this.#mask));
      this.#walk(head);
      this.#fetched[(this.#first + this.#ready) & this.#mask] = head;
      this.#ready++;
      this.#outstanding++;
      this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
    }
    // 1.2 2.7.10.2: tell me about the next one
    if (eventIdx) this.#dma.store16(device + availEventOffset(this.size), this.#nextAvail);
  }

  peek(i: number): Chain {
    return this.#chains[this.#fetched[(this.#first + i) & this.#mask]] as Chain;
  }

  take(): Chain {
    const chain = this.peek(0);
    this.#first = (this.#first + 1) & this.#mask;
    this.#ready--;
    return chain;
  }

  use(chain: Chain, written: number, skippable: boolean): void {
    for (const descriptor of chain.descriptors) this.#heldBy[descriptor] = 0;
    this.#outstanding--;
    if (skippable && this.inOrder) {
      if (this.#skipped === 0) this.#skippedAt = this.#used;
      this.#skipped++;
      this.#skippedHead = chain.head;
      this.#used = (this.#used + 1) & 0xffff;
      return;
    }
    this.lie(chain.head, written);
  }

  publish(): boolean {
    this.#endSkip();
    const before = this.#published;
    const after = this.#used;
    if (before === after) return false;
    const { driver, device, eventIdx } = this.#at;
    // Pairs with the driver's load of the index: entries and buffers are written before it.
    this.#dma.store16(device + USED_IDX, after);
    this.#published = after;
    // 1.2 2.7.7.2. The store above comes before these loads: a driver that re-enables and looks again misses nothing.
    if (!eventIdx) return (this.#dma.load16(driver + AVAIL_FLAGS) & AVAIL_F_NO_INTERRUPT) === 0;
    const event = this.#dma.load16(driver + usedEventOffset(this.size));
    return ((after - event - 1) & 0xffff) < ((after - before) & 0xffff);
  }

  outstanding(head: number): boolean {
    return this.#heldBy[head] === head + 1;
  }

  lie(id: number, length: number): void {
    this.#endSkip();
    this.#writeEntry(this.#used, id, length);
    this.#used = (this.#used + 1) & 0xffff;
  }

  jump(entries: number): void {
    this.#endSkip();
    this.#used = (this.#used + entries) & 0xffff;
  }

  /** 1.2 2.7.9: one entry, where the first of those left out belongs, with the last one's id. */
  #endSkip(): void {
    if (this.#skipped === 0) return;
    this.#skipped = 0;
    this.#writeEntry(this.#skippedAt, this.#skippedHead, 0);
  }

  #writeEntry(index: number, id: number, length: number): void {
    const at = this.#at.device + USED_RING + USED_ELEM_BYTES * (index & this.#mask);
    this.#dma.store32(at, id);
    this.#dma.store32(at + USED_ELEM_LEN, length);
  }

  /** Reads the chain that starts at `head` (1.2 2.7.5), and checks it. */
  #walk(head: number): void {
    const { size } = this;
    if (head >= size)
      throw new QueueError("head-out-of-range", `descriptor ${head} of ${size} is offered`);
    if (this.inOrder && head !== this.#expected)
      throw new QueueError(
        "not-in-order",
        `descriptor ${head} is offered where ${this.#expected} comes next`,
      );
    let chain = this.#chains[head];
    if (chain === undefined) {
      chain = new Chain();
      this.#chains[head] = chain;
    }
    chain.head = head;
    chain.segments = 0;
    chain.readable = 0;
    chain.readBytes = 0;
    chain.writeBytes = 0;
    chain.descriptors.length = 0;
    for (let at = head; ; ) {
      if (this.#heldBy[at] !== 0)
        throw new QueueError(
          chain.descriptors.includes(at) ? "chain-loop" : "descriptor-in-use",
          `descriptor ${at} occurs in the chain at ${head}, and before that in the one at ${this.#heldBy[at] - 1}`,
        );
      this.#heldBy[at] = head + 1;
      chain.descriptors.push(at);
      this.#dma.load32(this.#at.desc + DESC_BYTES * at, 4, this.#words);
      const flags = this.#words[3] & 0xffff;
      const next = this.#words[3] >>> 16;
      if ((flags & ~DESC_FLAGS_KNOWN) !== 0)
        throw new QueueError(
          "descriptor-flags",
          `descriptor ${at} has flags 0x${flags.toString(16)}`,
        );
      if ((flags & DESC_F_INDIRECT) !== 0) this.#walkIndirect(chain, at, flags);
      else this.#addSegment(chain, flags);
      if ((flags & DESC_F_NEXT) === 0) {
        this.#expected = (at + 1) & this.#mask;
        return;
      }
      if (next >= size)
        throw new QueueError("next-out-of-range", `descriptor ${at} leads to ${next} of ${size}`);
      if (this.inOrder && next !== ((at + 1) & this.#mask))
        throw new QueueError("not-in-order", `descriptor ${at} leads to ${next}`); // 1.2 2.7.5.2
      at = next;
    }
  }

  /** 1.2 2.7.5.3. The WRITE flag of the descriptor that refers to the table is ignored (2.7.5.3.2). */
  #walkIndirect(chain: Chain, descriptor: number, flags: number): void {
    if (!this.#at.indirect)
      throw new QueueError("indirect-not-negotiated", `descriptor ${descriptor} is indirect`);
    if ((flags & DESC_F_NEXT) !== 0)
      throw new QueueError("indirect-and-next", `descriptor ${descriptor} is indirect and goes on`);
    const table = this.#words[1] * 2 ** 32 + this.#words[0];
    const bytes = this.#words[2];
    const entries = bytes / DESC_BYTES;
    if (bytes === 0 || !Number.isInteger(entries))
      throw new QueueError("indirect-length", `an indirect table of ${bytes} bytes`);
    for (let at = 0, seen = 1; ; seen++) {
      if (seen > entries)
        throw new QueueError("chain-loop", `an indirect table of ${entries} entries goes on`);
      this.#dma.read(table + DESC_BYTES * at, DESC_BYTES, this.#wordBytes, 0);
      const inner = this.#words[3] & 0xffff;
      const next = this.#words[3] >>> 16;
      if ((inner & DESC_F_INDIRECT) !== 0)
        throw new QueueError("indirect-nested", `entry ${at} of an indirect table is indirect`);
      if ((inner & ~DESC_FLAGS_KNOWN) !== 0)
        throw new QueueError(
          "descriptor-flags",
          `indirect entry ${at} has flags 0x${inner.toString(16)}`,
        );
      this.#addSegment(chain, inner);
      if ((inner & DESC_F_NEXT) === 0) return;
      if (next >= entries)
        throw new QueueError(
          "next-out-of-range",
          `indirect entry ${at} leads to ${next} of ${entries}`,
        );
      if (this.inOrder && next !== at + 1)
        throw new QueueError("not-in-order", `indirect entry ${at} leads to ${next}`);
      at = next;
    }
  }

  #addSegment(chain: Chain, flags: number): void {
    const length = this.#words[2];
    const i = chain.segments++;
    chain.addresses[i] = this.#words[1] * 2 ** 32 + this.#words[0];
    chain.lengths[i] = length;
    if ((flags & DESC_F_WRITE) !== 0) chain.writeBytes += length;
    else if (chain.readable < i)
      throw new QueueError(
        "readable-after-writable",
        `segment ${i} of the chain at ${chain.head} is device-readable behind a device-writable one`, // 1.2 2.7.4.2
      );
    else {
      chain.readable++;
      chain.readBytes += length;
    }
    if (chain.segments > this.size)
      throw new QueueError("chain-longer-than-queue", `the chain at ${chain.head}`); // 1.2 2.7.5.3.1
    if (chain.readBytes + chain.writeBytes > CHAIN_BYTES_MAX)
      throw new QueueError("chain-too-many-bytes", `the chain at ${chain.head}`);
  }
}
