/** The network device (1.2 5.1): its configuration, its queues, and one bounded turn over them. */
import type { Width } from "@weir/core";
import type { Backend, Frame } from "../backend.js";
import type { DeviceCommand } from "../device-link.js";
import type { Completions } from "../virtio/completions.js";
import type { VirtioDeviceType, VirtioHost } from "../virtio/device-type.js";
import type { DeviceExtras } from "../virtio/transport.js";
import * as n from "./constants.js";
import { Control } from "./control.js";
import { addressNumber, Filter, Steering } from "./filter.js";
import { type NetOptions, offeredFeatures, REQUIRES } from "./options.js";
import { completeChecksum, linkHeaderBytes } from "./packet.js";
import { Receive } from "./receive.js";
import { Transmit } from "./transmit.js";

/** Frames moved in each direction in one step. */
const BURST_MAX = 32;
/** A flap keeps the link down for this many steps at most. */
const FLAP_STEPS_MAX = 50;
/** A frame that waits for buffers this many steps is dropped: the driver gives none that fit. */
const WAIT_STEPS_MAX = 10_000;

export class VirtioNet implements VirtioDeviceType, DeviceExtras {
  readonly type: number = n.DEVICE_TYPE_NET;
  readonly classCode: number = n.CLASS_ETHERNET;
  readonly requires: typeof REQUIRES = REQUIRES;
  readonly configBytes: number = n.CONFIG_BYTES;
  readonly offered: bigint;
  readonly queuesMax: number;
  readonly queueSizeMax: number;
  readonly pairsMax: number;
  readonly filter: Filter = new Filter();
  readonly steering: Steering = new Steering();
  readonly #host: VirtioHost;
  readonly #options: NetOptions;
  readonly #backend: Backend;
  readonly #control: Control;
  readonly #transmit: Transmit;
  readonly #receive: Receive;
  /** By index; a hole is not enabled. */
  readonly #queues: (Completions | undefined)[] = [];
  readonly #config = new DataView(new ArrayBuffer(n.CONFIG_BYTES));
  #mac: Uint8Array;
  #macNumber = 0;
  #linkUp = true;
  #announce = false;
  #flapEnds = 0;
  #waited = 0;

  constructor(host: VirtioHost, options: NetOptions, backend: Backend) {
    this.#host = host;
    this.#options = options;
    this.#backend = backend;
    this.offered = offeredFeatures(options);
    this.pairsMax = options.pairs;
    this.queueSizeMax = options.queueSize;
    this.queuesMax = 2 * options.pairs + (options.ctrl ? 1 : 0);
    this.#control = new Control(host, this);
    this.#transmit = new Transmit(host, options.mtu);
    this.#receive = new Receive(host);
    this.#mac = options.mac;
    this.#putConfig();
  }

  get finished(): boolean {
    return this.#backend.finished && this.#queues.every((queue) => queue?.settled ?? true);
  }

  /** 1.2 5.1.2: with MQ the control queue is the last of all, without it the third. */
  get #controlIndex(): number {
    return 2 * (this.#host.accepted(n.F_MQ) ? this.pairsMax : 1);
  }

  hasQueue(index: number): boolean {
    return (
      index < this.#controlIndex ||
      (index === this.#controlIndex && this.#host.accepted(n.F_CTRL_VQ))
    );
  }

  /** 1.2 4.1.3.1: each field in its own width. 1.2 2.5.2: none whose feature is not offered. */
  configRead(offset: number, width: Width): number | undefined {
    const has = (feature: number): boolean => ((this.offered >> BigInt(feature)) & 1n) === 1n;
    if (width === 1 && offset < n.CONFIG_STATUS) return this.#config.getUint8(offset);
    if (width !== 2) return undefined;
    if (
      (offset === n.CONFIG_STATUS && has(n.F_STATUS)) ||
      (offset === n.CONFIG_MAX_VIRTQUEUE_PAIRS && has(n.F_MQ)) ||
      (offset === n.CONFIG_MTU && has(n.F_MTU))
    )
      return this.#config.getUint16(offset, true);
    return undefined;
  }

  reset(): void {
    this.filter.reset();
    this.steering.reset();
    this.#mac = this.#options.mac;
    this.#announce = false;
    this.#waited = 0;
    this.#putConfig();
  }

  enable(index: number, queue: Completions): void {
    this.#queues[index] = queue;
  }

  disable(index: number): void {
    this.#queues[index] = undefined;
  }

  pairEnabled(pair: number): boolean {
    return this.#queues[2 * pair] !== undefined && this.#queues[2 * pair + 1] !== undefined;
  }

  setMac(mac: Uint8Array): void {
    this.#mac = mac;
    this.#putConfig();
  }

  announced(): void {
    this.#announce = false;
    this.#putConfig();
  }

  command(command: DeviceCommand): void {
    if (command.type === "link") this.#setLink(command.up);
    else if (command.type === "announce" && this.#host.accepted(n.F_GUEST_ANNOUNCE)) {
      this.#announce = true;
      this.#putConfig();
      this.#host.configChanged();
    }
  }

  step(): boolean {
    this.#flap();
    for (const queue of this.#queues) queue?.queue.fetch();
    const controlled = this.#controlTurn();
    const sent = this.#transmitTurn();
    const received = this.#receiveTurn();
    for (const [index, queue] of this.#queues.entries())
      if (queue !== undefined) this.#host.publish(index);
    return controlled || sent || received;
  }

  close(): void {
    this.#backend.close();
  }

  #controlTurn(): boolean {
    const index = this.#controlIndex;
    const completions = this.#host.accepted(n.F_CTRL_VQ) ? this.#queues[index] : undefined;
    if (completions === undefined || completions.queue.ready === 0) return false;
    const chain = completions.queue.take();
    completions.complete(chain, this.#control.execute(chain), false);
    return true;
  }

  #transmitTurn(): boolean {
    const { counters } = this.#host.log;
    let count = 0;
    for (let pair = 0; pair < this.pairsMax; pair++) {
      const completions = this.#queues[2 * pair + 1];
      if (completions === undefined) continue;
      const { queue } = completions;
      if (queue.ready > 0 && pair >= this.steering.pairs)
        this.#host.log.violation("transmit-on-disabled-pair", `pair ${pair}`); // 1.2 5.1.6.5.6.1
      for (let sent = 0; sent < BURST_MAX && queue.ready > 0; sent++, count++) {
        const chain = queue.take();
        if (!this.#send(this.#transmit.gather(chain), pair)) counters.txDropped++;
        completions.complete(chain, 0, true);
      }
    }
    if (count > 0) {
      const lost = this.#backend.flush();
      counters.txDropped += lost;
      counters.txFrames -= lost;
    }
    return count > 0;
  }

  #send(good: boolean, pair: number): boolean {
    const { frame } = this.#transmit;
    if (!good || !this.#linkUp) return false;
    this.steering.sent(frame, pair);
    if (!this.#backend.completesCsum) completeChecksum(frame);
    const { length } = frame;
    if (!this.#backend.send(frame)) return false;
    const { counters } = this.#host.log;
    counters.txFrames++;
    counters.txBytes += length;
    return true;
  }

  #receiveTurn(): boolean {
    const { counters } = this.#host.log;
    for (let count = 0; count < BURST_MAX; count++) {
      // Whatever is behind the card keeps its frames while the driver has no buffer for any.
      if (!this.#anyBuffer()) return count > 0;
      const frame = this.#backend.peek();
      if (frame === undefined) return count > 0;
      if (!this.#linkUp) counters.rxDropped++;
      else if (!this.#wanted(frame)) counters.rxFiltered++;
      else {
        const completions = this.#queues[2 * this.steering.pairFor(frame)] ?? this.#queues[0];
        const { length } = frame;
        const delivery =
          completions === undefined ? "drop" : this.#receive.deliver(completions, frame);
        if (delivery === "wait" && ++this.#waited < WAIT_STEPS_MAX) return count > 0;
        if (delivery === "done") {
          counters.rxFrames++;
          counters.rxBytes += length;
        } else counters.rxDropped++;
      }
      this.#waited = 0;
      this.#backend.take();
    }
    return true;
  }

  #anyBuffer(): boolean {
    for (let pair = 0; pair < this.steering.pairs; pair++)
      if ((this.#queues[2 * pair]?.queue.ready ?? 0) > 0) return true;
    return false;
  }

  #wanted(frame: Frame): boolean {
    const { mtu } = this.#options;
    if (
      mtu !== undefined &&
      this.#host.accepted(n.F_MTU) &&
      frame.length - linkHeaderBytes(frame) > mtu
    )
      return false; // 1.2 5.1.4.1
    if (this.#host.accepted(n.F_CTRL_RX) && !this.filter.acceptsAddress(frame, this.#macNumber))
      return false;
    return !this.#host.accepted(n.F_CTRL_VLAN) || this.filter.acceptsVlan(frame);
  }

  /** The fault: down, and up again some steps later. */
  #flap(): void {
    const { log, faults } = this.#host;
    if (this.#flapEnds > 0 && log.step >= this.#flapEnds) {
      this.#flapEnds = 0;
      this.#setLink(true);
    } else if (this.#flapEnds === 0 && faults.strikes("flap")) {
      this.#flapEnds = log.step + 1 + faults.random.below(FLAP_STEPS_MAX);
      this.#setLink(false);
    }
  }

  #setLink(up: boolean): void {
    if (up === this.#linkUp) return;
    this.#linkUp = up;
    this.#putConfig();
    if (this.#host.accepted(n.F_STATUS)) this.#host.configChanged();
  }

  /** 1.2 5.1.4 */
  #putConfig(): void {
    const { mtu = 0, pairs } = this.#options;
    for (const [i, byte] of this.#mac.entries()) this.#config.setUint8(n.CONFIG_MAC + i, byte);
    this.#macNumber = addressNumber(this.#mac, 0);
    const status = (this.#linkUp ? n.S_LINK_UP : 0) | (this.#announce ? n.S_ANNOUNCE : 0);
    this.#config.setUint16(n.CONFIG_STATUS, status, true);
    this.#config.setUint16(n.CONFIG_MAX_VIRTQUEUE_PAIRS, pairs, true);
    this.#config.setUint16(n.CONFIG_MTU, mtu, true);
  }
}
