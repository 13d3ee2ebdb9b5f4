/**
 * A virtio network device as a port's device (VIRTIO 1.2, 3.1.1, 5.1). Lifetime path.
 *
 * probe: reset, negotiate, read the configuration. configure: memory for the rings. start: from a reset to DRIVER_OK.
 * stop: a reset, after which the device touches nothing. close: DMA off, memory unmapped, the device released.
 */
import {
  DATA_ROOM,
  type DeviceHost,
  type DeviceQueue,
  type DmaTarget,
  type EthDevice,
  FRAME_BYTES_MAX,
  HEADROOM,
  numberArgument,
  randomMac,
  usageError,
  type VdevSpec,
  WeirError,
} from "@weir/core";
import { ControlQueue, controlWish } from "./control.js";
import { chooseFeatures, has, LINK_HEADER_BYTES_MAX, MTU_MAX } from "./features.js";
import * as V from "./layout.js";
import { HEADER_STRIDE, QueueMemory, type QueueWish } from "./queue-memory.js";
import { FRAME_BYTES_MIN, firstSlotBytes, type SplitParams, slotsFor } from "./split-queue.js";
import type { ConfigReader, Doorbell, Transport } from "./transport.js";

const RX_MODULE = new URL("./split-rx.js", import.meta.url).href;
const TX_MODULE = new URL("./split-tx.js", import.meta.url).href;
/** Entries of a ring where the device allows more. */
const QUEUE_SIZE = 1024;
/** The MTU of a device that does not say (5.1.6.3.1). */
const MTU = 1500;

interface Config {
  readonly mac: Uint8Array | undefined;
  readonly pairs: number;
  readonly mtu: number;
}

/** What exists while the device is configured. */
interface Queues {
  readonly pairs: number;
  readonly host: DeviceHost;
  readonly memory: QueueMemory;
  /** By queue number of the device: which of `memory.rings` it has, and its doorbell. */
  readonly byNumber: readonly { readonly queue: number; readonly doorbell: Doorbell }[];
  readonly control: ControlQueue | undefined;
}

export class VirtioNetDevice implements EthDevice {
  readonly name: string;
  readonly driver = "net_virtio";
  readonly finite = false;
  readonly restartable = true;
  readonly dma: DmaTarget;
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly rxQueuesMax: number;
  readonly txQueuesMax: number;
  readonly queueLimitReason: string;
  /** Accepted. */
  readonly features: bigint;

  readonly #transport: Transport;
  readonly #queueSize: number;
  readonly #without: bigint;
  /** See SplitParams. */
  readonly #epoch = new Int32Array(new SharedArrayBuffer(4));
  #queues: Queues | undefined;
  #running = false;
  #closed = false;
  /** Configuration changes that have come since the last one was dealt with. */
  #changes = 0;
  /** A reset that failed while the port was stopped. */
  #stopError: unknown;

  /** @throws WeirError with the transport still the caller's */
  constructor(transport: Transport, dma: DmaTarget, spec: VdevSpec) {
    this.#transport = transport;
    this.name = transport.name;
    this.dma = dma;
    const unless = (key: string, fallback: number, feature: bigint): bigint =>
      numberArgument(spec, key, { min: 0, max: 1, fallback }) === 1 ? 0n : feature;
    this.#without =
      unless("mrg_rxbuf", 1, V.VIRTIO_NET_F_MRG_RXBUF) |
      unless("in_order", 1, V.VIRTIO_F_IN_ORDER) |
      // 5.1.6.5.3: the table is empty at first, so with the feature no tagged frame arrives until it is filled.
      unless("vlan_filter", 0, V.VIRTIO_NET_F_CTRL_VLAN);
    this.#queueSize = numberArgument(spec, "queue_size", {
      min: 2,
      max: V.QUEUE_SIZE_MAX,
      fallback: QUEUE_SIZE,
    });
    const mtu = numberArgument(spec, "mtu", { min: V.NET_MTU_MIN, max: MTU_MAX, fallback: MTU });
    transport.reset();
    const { features, config } = this.#negotiate();
    this.features = features;
    this.mac = config.mac ?? randomMac();
    this.mtu = has(features, V.VIRTIO_NET_F_MTU) ? config.mtu : mtu;
    this.rxQueuesMax = config.pairs;
    this.txQueuesMax = config.pairs;
    this.queueLimitReason = has(features, V.VIRTIO_NET_F_MQ)
      ? "that is what the device has"
      : "the device does not offer VIRTIO_NET_F_MQ";
  }

  /** Receives every frame, or only its own. Commands reject with a WeirError: ENOTSUP, ENODEV, EIO, ETIMEDOUT. */
  async setPromiscuous(on: boolean): Promise<void> {
    await this.#control(V.VIRTIO_NET_F_CTRL_RX, "filter").setPromiscuous(on);
  }

  async setAllMulticast(on: boolean): Promise<void> {
    await this.#control(V.VIRTIO_NET_F_CTRL_RX, "filter").setAllMulticast(on);
  }

  /** Addresses that it receives for beside its own, at most 128. */
  async setMacTable(addresses: readonly Uint8Array[]): Promise<void> {
    await this.#control(V.VIRTIO_NET_F_CTRL_RX, "filter").setMacTable(addresses);
  }

  async setMac(mac: Uint8Array): Promise<void> {
    // 5.1.6.5.2.2: a command of the class for which CTRL_RX is wanted too
    const needed = V.VIRTIO_NET_F_CTRL_RX | V.VIRTIO_NET_F_CTRL_MAC_ADDR;
    await this.#control(needed, "change its MAC address").setMac(mac);
    this.mac.set(mac);
  }

  /** Receives frames of a VLAN, or no longer. Only on a device that was opened with `vlan_filter=1`. */
  async setVlan(id: number, on: boolean): Promise<void> {
    await this.#control(V.VIRTIO_NET_F_CTRL_VLAN, "filter VLANs").setVlan(id, on);
  }

  linkUp(): boolean {
    try {
      if ((this.#transport.status() & V.STATUS_DEVICE_NEEDS_RESET) !== 0) return false;
      if (!has(this.features, V.VIRTIO_NET_F_STATUS)) return true; // 5.1.4.2
      return (this.#netStatus() & V.VIRTIO_NET_S_LINK_UP) !== 0;
    } catch (error) {
      if (error instanceof WeirError) return false; // gone, or closed
      throw error;
    }
  }

  configure({ rx, tx }: { readonly rx: number; readonly tx: number }, host: DeviceHost): void {
    if (tx > 1 && tx > rx) {
      throw usageError(
        `${this.name}: ${tx} lcores send to it and ${rx} of its queues are polled; it would steer the answers to a queue that nobody reads (VIRTIO 1.2, 5.1.6.5.6), so poll ${tx}`,
      );
    }
    const pairs = Math.max(rx, tx, 1);
    const numbers: number[] = [];
    for (let pair = 0; pair < pairs; pair++)
      numbers.push(V.receiveQueue(pair), V.transmitQueue(pair));
    const wishes = numbers.map((queue) => this.#wish(queue));
    if (has(this.features, V.VIRTIO_NET_F_CTRL_VQ)) {
      const queue = V.controlQueue(has(this.features, V.VIRTIO_NET_F_MQ) ? this.rxQueuesMax : 1);
      numbers.push(queue);
      wishes.push(controlWish(this.name, this.#transport.queueSizeMax(queue)));
    }
    const byNumber = numbers.map((queue) => ({ queue, doorbell: this.#transport.doorbell(queue) }));
    const memory = new QueueMemory(host, wishes);
    const rings = memory.rings[2 * pairs];
    const doorbell = byNumber[2 * pairs]?.doorbell;
    const control =
      rings === undefined || doorbell === undefined
        ? undefined
        : new ControlQueue(this.#transport, memory, rings, doorbell, host.clock);
    this.#queues = { pairs, host, memory, byNumber, control };
  }

  rxQueue(queue: number): DeviceQueue {
    return this.#deviceQueue(RX_MODULE, V.receiveQueue(queue));
  }

  txQueue(queue: number): DeviceQueue {
    return this.#deviceQueue(TX_MODULE, V.transmitQueue(queue));
  }

  /** 3.1.1, all of it: whatever was before, the device starts from a reset. */
  async start(): Promise<void> {
    const queues = this.#queues;
    if (queues === undefined) throw new WeirError("ENODEV", `${this.name} is not configured`);
    const transport = this.#transport;
    transport.reset();
    queues.memory.clear();
    const { features } = this.#negotiate();
    if (features !== this.features)
      throw new WeirError("EPROTO", `${this.name} offers other features than before its reset`);
    // Step 7: the queues. Receive queues are filled by the lcores that poll them, from their own caches.
    for (const [i, { queue }] of queues.byNumber.entries()) {
      const rings = queues.memory.rings[i];
      if (rings === undefined) continue;
      transport.enableQueue(queue, rings.size, queues.memory.addresses(rings));
    }
    queues.control?.begin();
    this.#epoch[0] = this.#epoch[0] + 1;
    transport.onConfigChange(() => {
      void this.#configChanged();
    });
    transport.setDma(true);
    transport.addStatus(V.STATUS_DRIVER_OK); // step 8
    this.#running = true;
    if (queues.pairs > 1)
      await this.#control(V.VIRTIO_NET_F_MQ, "use several queues").setQueuePairs(queues.pairs);
    // A port receives what arrives, as DPDK's examples set it up: what is for whom is the application's to decide.
    if (has(features, V.VIRTIO_NET_F_CTRL_RX)) await this.setPromiscuous(true);
  }

  /** 3.3.1: only a reset takes buffers from a device. Never throws: what fails is told by `close`. */
  stop(): void {
    this.#running = false;
    this.#queues?.control?.cancel();
    try {
      this.#transport.reset();
    } catch (error) {
      // Gone: it reaches no memory any more. Or it does not obey: then the bus keeps it from memory.
      this.#stopError = isGone(error) ? undefined : error;
      this.#transport.setDma(false);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const errors: unknown[] = [];
    const attempt = (step: () => void): void => {
      try {
        step();
      } catch (error) {
        if (!isGone(error)) errors.push(error);
      }
    };
    attempt(() => this.stop());
    if (this.#stopError !== undefined) errors.push(this.#stopError);
    attempt(() => this.#transport.setDma(false));
    const queues = this.#queues;
    if (queues !== undefined) {
      attempt(() => queues.memory.free());
      // The pool's memory too: a device is released when nothing is mapped for it any more.
      attempt(() => queues.host.space.close());
    }
    attempt(() => this.#transport.close());
    if (errors.length > 0)
      throw new AggregateError(errors, `${this.name} could not be closed cleanly`);
  }

  /** The control queue, for a command that a feature allows. */
  #control(feature: bigint, what: string): ControlQueue {
    if (this.#closed) throw new WeirError("ENODEV", `${this.name} cannot ${what}: it is closed`);
    if (!this.#running) throw new WeirError("EAGAIN", `${this.name} cannot ${what}: it is stopped`);
    const control = this.#queues?.control;
    if (control === undefined || !has(this.features, feature))
      throw new WeirError("ENOTSUP", `${this.name} cannot ${what}: the device does not offer it`);
    return control;
  }

  /** Steps 2 to 6 of 3.1.1, on a device that was reset. */
  #negotiate(): { features: bigint; config: Config } {
    const transport = this.#transport;
    try {
      transport.addStatus(V.STATUS_ACKNOWLEDGE);
      transport.addStatus(V.STATUS_DRIVER);
      const offered = transport.offeredFeatures();
      const config = transport.readConfig((reader) => this.#readConfig(reader, offered));
      const { translated } = transport;
      const limits = { name: this.name, translated, mtu: config.mtu, without: this.#without };
      const features = chooseFeatures(offered, limits);
      transport.acceptFeatures(features);
      transport.addStatus(V.STATUS_FEATURES_OK);
      if ((transport.status() & V.STATUS_FEATURES_OK) === 0) {
        throw new WeirError(
          "ENOTSUP",
          `${this.name} does not accept the features 0x${features.toString(16)} of the 0x${offered.toString(16)} that it offers`,
        );
      }
      const pairs = has(features, V.VIRTIO_NET_F_MQ) ? config.pairs : 1;
      if (pairs < 1 || pairs > V.NET_PAIRS_MAX || 2 * pairs > transport.queuesMax) {
        throw new WeirError(
          "EPROTO",
          `${this.name} says that it has ${pairs} queue pairs, and has ${transport.queuesMax} queues`,
        );
      }
      return { features, config: { ...config, pairs } };
    } catch (error) {
      giveUp(transport);
      throw error;
    }
  }

  /** 5.1.4: a field is there when its feature is offered. */
  #readConfig(reader: ConfigReader, offered: bigint): Config {
    const field = (feature: bigint, offset: number): number =>
      has(offered, feature) ? reader.u16(offset) : 0;
    return {
      mac: has(offered, V.VIRTIO_NET_F_MAC)
        ? Uint8Array.from({ length: 6 }, (_, i) => reader.u8(V.NET_CONFIG_MAC + i))
        : undefined,
      pairs: field(V.VIRTIO_NET_F_MQ, V.NET_CONFIG_MAX_VIRTQUEUE_PAIRS),
      mtu: field(V.VIRTIO_NET_F_MTU, V.NET_CONFIG_MTU),
    };
  }

  #netStatus(): number {
    return this.#transport.readConfig((reader) => reader.u16(V.NET_CONFIG_STATUS));
  }

  /** An interrupt. It may come in the middle of anything that ctl does: nothing is looked at within its own call. */
  async #configChanged(): Promise<void> {
    if (!has(this.features, V.VIRTIO_NET_F_GUEST_ANNOUNCE) || this.#changes++ > 0) return;
    await Promise.resolve();
    try {
      for (let seen = 0; seen !== this.#changes; ) {
        seen = this.#changes;
        // A forwarder has no address of its own to announce: the device hears that it was understood.
        if (this.#running && (this.#netStatus() & V.VIRTIO_NET_S_ANNOUNCE) !== 0)
          await this.#control(V.VIRTIO_NET_F_GUEST_ANNOUNCE, "announce").acknowledgeAnnounce();
      }
    } catch (error) {
      if (!(error instanceof WeirError)) throw error; // a device in trouble is noticed where it is used
    } finally {
      this.#changes = 0;
    }
  }

  /** Entries of a receive or transmit queue, checked against the frames that it has to hold. */
  #wish(queue: number): QueueWish {
    const max = this.#transport.queueSizeMax(queue);
    const size = 2 ** Math.floor(Math.log2(Math.min(max, this.#queueSize, V.QUEUE_SIZE_MAX)));
    if (max < 1) throw new WeirError("EPROTO", `${this.name} has no queue ${queue}`);
    const slots = this.#mergeable
      ? Math.ceil((this.#frameBytes + V.NET_HDR_BYTES) / firstSlotBytes(HEADROOM, DATA_ROOM))
      : this.#slotsPerBuffer;
    if (slots > size) {
      throw new WeirError(
        "ENOTSUP",
        `${this.name} has queues of ${size} entries, and a frame of MTU ${this.mtu} takes ${slots}; make the queues longer or the MTU smaller`,
      );
    }
    return { size, extraBytes: size * HEADER_STRIDE };
  }

  /** The longest frame that may be received, tags included. */
  get #frameBytes(): number {
    return Math.max(FRAME_BYTES_MIN, this.mtu + LINK_HEADER_BYTES_MAX);
  }

  get #mergeable(): boolean {
    return has(this.features, V.VIRTIO_NET_F_MRG_RXBUF);
  }

  /** 5.1.6.3.1: without mergeable buffers each is long enough for any frame. */
  get #slotsPerBuffer(): number {
    return this.#mergeable ? 1 : slotsFor(this.#frameBytes, HEADROOM, DATA_ROOM);
  }

  #deviceQueue(module: string, queue: number): DeviceQueue {
    const rings = this.#queues?.memory.rings[queue];
    const doorbell = this.#queues?.byNumber[queue]?.doorbell;
    if (this.#queues === undefined || rings === undefined || doorbell === undefined)
      throw new WeirError("ENODEV", `${this.name} has no queue ${queue}`);
    const { translation } = this.#queues.host.space;
    const params: SplitParams = {
      rings,
      doorbell,
      translation,
      epoch: this.#epoch.buffer as SharedArrayBuffer,
      inOrder: has(this.features, V.VIRTIO_F_IN_ORDER),
      mergeable: this.#mergeable,
      slotsPerBuffer: this.#slotsPerBuffer,
      checksums: has(this.features, V.VIRTIO_NET_F_CSUM),
      frameBytesMax: has(this.features, V.VIRTIO_NET_F_MTU) ? this.mtu + 14 : FRAME_BYTES_MAX,
    };
    return { module, params };
  }
}

function isGone(error: unknown): boolean {
  return error instanceof WeirError && error.code === "ENODEV";
}

/** 3.1.1: tells the device that the driver has given up on it, as far as it still listens. */
function giveUp(transport: Transport): void {
  try {
    transport.addStatus(V.STATUS_FAILED);
  } catch (error) {
    if (!(error instanceof WeirError)) throw error;
  }
}
