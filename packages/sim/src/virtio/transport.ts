/** Virtio over PCI (1.2 4.1), device side: where the structures lie, the status protocol, feature negotiation, queues, interrupts. */
import type { PciIds, Width } from "@weir/core";
import type { DeviceCommand } from "../device-link.js";
import { DmaRefused } from "../dma.js";
import type { Faults } from "../faults.js";
import type { FunctionHost, FunctionModel } from "../function-model.js";
import type { ConfigSpace } from "../pci/config-space.js";
import { CAP_ID_VENDOR } from "../pci/registers.js";
import {
  COMMON_BYTES,
  type CommonConfigTarget,
  commonRegisters,
  type Register,
} from "./common-config.js";
import * as v from "./constants.js";
import type { VirtioDeviceType, VirtioHost } from "./device-type.js";
import { PciAccess } from "./pci-access.js";
import { TransportQueue } from "./transport-queue.js";
import { QueueError } from "./virtqueue.js";

/** Where the structures lie in the BAR: odd on purpose, a driver must follow the capabilities. */
const COMMON_OFFSET = 0x1040;
const ISR_OFFSET = 0x0c7; // 1.2 4.1.4.5: no alignment
const DEVICE_OFFSET = 0x2100;
const NOTIFY_OFFSET = 0x3000;
const NOTIFY_MULTIPLIER = 4;
/** No queue has this index: nobody rang. */
const NOT_RUNG = 0xffff;

export interface TransportOptions {
  readonly deviceType: (host: VirtioHost) => VirtioDeviceType & DeviceExtras;
  readonly faults: Faults;
  /** Reads of device_status that still give the old one after a reset: a driver must wait (1.2 4.1.4.3.2). */
  readonly resetReads: number;
}

/** What a device type adds beyond virtio. */
export interface DeviceExtras {
  readonly finished: boolean;
  command(command: DeviceCommand): void;
  close(): void;
}

export class VirtioPci implements FunctionModel, VirtioHost, CommonConfigTarget {
  readonly ids: PciIds;
  readonly dma: VirtioHost["dma"];
  readonly log: VirtioHost["log"];
  readonly faults: Faults;
  readonly queuesMax: number;
  configVector: number = v.NO_VECTOR;
  generation = 0;
  readonly #host: FunctionHost;
  readonly #options: TransportOptions;
  readonly #type: VirtioDeviceType & DeviceExtras;
  readonly #queues: TransportQueue[] = [];
  readonly #doorbells: Uint16Array;
  readonly #access: PciAccess;
  #registers: ReadonlyMap<number, Register>;
  #status = 0;
  #driverFeatures = 0n;
  #isr = 0;
  #configDiffers = false;
  /** What device_status still shows, and how often. */
  #staleStatus = 0;
  #staleReads = 0;

  constructor(host: FunctionHost, options: TransportOptions) {
    this.#host = host;
    this.#options = options;
    this.dma = host.dma;
    this.log = host.log;
    this.faults = options.faults;
    this.#type = options.deviceType(this);
    const { type, classCode, queuesMax, queueSizeMax } = this.#type;
    this.queuesMax = queuesMax;
    this.ids = {
      vendor: v.PCI_VENDOR,
      device: v.pciDeviceId(type),
      subsystemVendor: v.PCI_VENDOR,
      subsystem: v.PCI_SUBSYSTEM_MIN + type,
      revision: v.PCI_REVISION,
      classCode,
    };
    for (let index = 0; index < queuesMax; index++)
      this.#queues.push(
        new TransportQueue(index, queueSizeMax, queuesMax - 1 - index, this, this.#type),
      );
    this.#doorbells = new Uint16Array(
      host.memory,
      NOTIFY_OFFSET,
      (queuesMax * NOTIFY_MULTIPLIER) / 2,
    );
    this.#doorbells.fill(NOT_RUNG);
    this.#access = new PciAccess(this, host.log);
    this.#registers = commonRegisters(this);
  }

  get status(): number {
    if (this.#staleReads > 0) {
      this.#staleReads--;
      return this.#staleStatus;
    }
    return this.#status;
  }

  get finished(): boolean {
    return this.#type.finished;
  }

  get injected(): Readonly<Record<string, number>> {
    return this.faults.injected as Record<string, number>;
  }

  accepted(feature: number): boolean {
    return ((this.#driverFeatures >> BigInt(feature)) & 1n) === 1n;
  }

  get featuresOk(): boolean {
    return (this.#status & v.STATUS_FEATURES_OK) !== 0;
  }

  /** 1.2 4.1.4: one capability for each structure. */
  addCapabilities(config: ConfigSpace, bar: number): void {
    const add = (
      type: number,
      offset: number,
      bytes: number,
      capBytes: number = v.CAP_BYTES,
    ): number => {
      const at = config.addCapability(CAP_ID_VENDOR, capBytes);
      config.put(at + v.CAP_LENGTH, 1, capBytes);
      config.put(at + v.CAP_CFG_TYPE, 1, type);
      config.put(at + v.CAP_BAR, 1, bar);
      config.put(at + v.CAP_OFFSET, 4, offset);
      config.put(at + v.CAP_STRUCTURE_LENGTH, 4, bytes);
      return at;
    };
    const notifyBytes = this.queuesMax * NOTIFY_MULTIPLIER;
    add(v.CFG_ISR, ISR_OFFSET, 1);
    const notify = add(v.CFG_NOTIFY, NOTIFY_OFFSET, notifyBytes, v.CAP_WITH_EXTRA_BYTES);
    config.put(notify + v.CAP_EXTRA, 4, NOTIFY_MULTIPLIER);
    add(v.CFG_COMMON, COMMON_OFFSET, COMMON_BYTES);
    add(v.CFG_DEVICE, DEVICE_OFFSET, this.#type.configBytes);
    this.#access.attach(config, add(v.CFG_PCI, 0, 0, v.CAP_WITH_EXTRA_BYTES), bar);
  }

  barRead(offset: number, width: Width): number {
    this.#pollDoorbells();
    if (offset === ISR_OFFSET) return this.#readIsr();
    const common = this.#registers.get(offset - COMMON_OFFSET);
    if (common !== undefined && common.width === width) return common.read();
    if (offset >= DEVICE_OFFSET && offset < NOTIFY_OFFSET) {
      const value = this.#type.configRead(offset - DEVICE_OFFSET, width);
      if (value !== undefined) {
        // 1.2 4.1.4.3.1: the driver sees another generation once it has read something that changed
        if (this.#configDiffers) this.generation = (this.generation + 1) & 0xff;
        this.#configDiffers = false;
        return value;
      }
    }
    this.broken("register-access", `a read of ${width} bytes at 0x${offset.toString(16)}`);
    return 0;
  }

  barWrite(offset: number, width: Width, value: number): void {
    this.#pollDoorbells();
    const slot = (offset - NOTIFY_OFFSET) / NOTIFY_MULTIPLIER;
    if (Number.isInteger(slot) && slot >= 0 && slot < this.queuesMax && width !== 1) {
      this.#doorbell(slot, value & 0xffff);
      return;
    }
    const common = this.#registers.get(offset - COMMON_OFFSET);
    if (common === undefined || common.width !== width) {
      this.broken("register-access", `a write of ${width} bytes at 0x${offset.toString(16)}`);
      return;
    }
    if (common.write === undefined) {
      this.broken("read-only-register", `${common.name} is written`);
      return;
    }
    if (this.#staleReads > 0) {
      this.broken("write-before-reset-done", `${common.name} is written`); // 1.2 4.1.4.3.2
      return;
    }
    common.write(value);
  }

  configReading(offset: number, width: Width): void {
    this.#access.reading(offset, width);
  }

  configWritten(offset: number, width: Width): void {
    this.#access.written(offset, width);
  }

  featureWord(select: number): number {
    return select > 1 ? 0 : Number((this.#type.offered >> BigInt(32 * select)) & 0xffffffffn);
  }

  driverFeatureWord(select: number): number {
    return select > 1 ? 0 : Number((this.#driverFeatures >> BigInt(32 * select)) & 0xffffffffn);
  }

  setDriverFeatureWord(select: number, value: number): void {
    if (this.featuresOk) {
      this.broken("features-after-ok", "driver_feature is written"); // 1.2 3.1.1
      return;
    }
    if (select > 1) {
      if (value !== 0) this.broken("feature-not-offered", `feature word ${select} is ${value}`);
      return;
    }
    const shift = BigInt(32 * select);
    this.#driverFeatures =
      (this.#driverFeatures & ~(0xffffffffn << shift)) | (BigInt(value >>> 0) << shift);
  }

  selectedQueue(select: number): TransportQueue | undefined {
    const queue = this.#queues[select];
    return queue !== undefined && (!this.featuresOk || this.#type.hasQueue(select))
      ? queue
      : undefined;
  }

  checkVector(value: number): number {
    if (value < this.#host.vectors || value === v.NO_VECTOR) return value;
    this.broken("vector-out-of-range", `vector ${value} of ${this.#host.vectors}`); // 1.2 4.1.5.1.2.2
    return v.NO_VECTOR;
  }

  /** 1.2 2.1 and 3.1.1: bits are only ever added, in this order. */
  writeStatus(value: number): void {
    if (value === 0) {
      this.#staleStatus = this.#status;
      this.#staleReads = this.#status === 0 ? 0 : this.#options.resetReads;
      this.#clear();
      return;
    }
    const before = this.#status;
    const { STATUS_ACKNOWLEDGE: ack, STATUS_DRIVER: driver, STATUS_DRIVER_OK: ok } = v;
    if ((before & ~value & ~v.STATUS_NEEDS_RESET) !== 0)
      this.broken("status-cleared", `device_status goes from ${before} to ${value}`);
    const added = value & ~before;
    const all = before | value;
    const early =
      ((added & driver) !== 0 && (all & ack) === 0) ||
      ((added & v.STATUS_FEATURES_OK) !== 0 && (all & driver) === 0) ||
      ((added & ok) !== 0 && !this.featuresOk) ||
      (added & v.STATUS_NEEDS_RESET) !== 0;
    if (early) {
      this.broken("status-order", `device_status goes from ${before} to ${value}`);
      return;
    }
    if ((added & v.STATUS_FEATURES_OK) !== 0 && !this.#featuresAcceptable()) {
      this.log.counters.refusals++;
      this.#status |= added & ~v.STATUS_FEATURES_OK; // 1.2 2.2.2
      return;
    }
    this.#status |= added;
  }

  /** Of the whole function. */
  reset(): void {
    this.#staleReads = 0;
    this.#clear();
  }

  step(): boolean {
    this.#pollDoorbells();
    const live = v.STATUS_DRIVER_OK | v.STATUS_NEEDS_RESET;
    if ((this.#status & live) !== v.STATUS_DRIVER_OK || !this.#host.busMaster) return false;
    try {
      return this.#type.step();
    } catch (error) {
      if (error instanceof QueueError) this.broken(error.kind, error.message);
      else if (!(error instanceof DmaRefused)) throw error;
      this.#needReset();
      return true;
    }
  }

  command(command: DeviceCommand): void {
    this.#type.command(command);
  }

  publish(index: number): void {
    const queue = this.#queues[index];
    if (queue?.completions?.publish() !== true) return;
    if (!this.#host.msixEnabled) this.#setIsr(this.#isr | v.ISR_QUEUE);
    else if (queue.vector !== v.NO_VECTOR) this.#host.raise(queue.vector); // 1.2 4.1.5.3
  }

  configChanged(): void {
    this.#configDiffers = true;
    if ((this.#status & v.STATUS_DRIVER_OK) !== 0) this.#notifyConfig();
  }

  broken(kind: string, detail: string): void {
    this.log.violation(kind, detail);
  }

  close(): void {
    this.#type.close();
  }

  /** 1.2 2.4.1 */
  #clear(): void {
    this.log.counters.resets++;
    this.#status = 0;
    this.#driverFeatures = 0n;
    this.#setIsr(0);
    this.configVector = v.NO_VECTOR;
    for (const queue of this.#queues) queue.clear();
    this.#type.reset();
    this.#doorbells.fill(NOT_RUNG);
    this.#registers = commonRegisters(this);
  }

  /** 1.2 2.1.2 */
  #needReset(): void {
    this.#status |= v.STATUS_NEEDS_RESET;
    if ((this.#status & v.STATUS_DRIVER_OK) !== 0) this.#notifyConfig();
  }

  #notifyConfig(): void {
    this.#setIsr(this.#isr | v.ISR_CONFIG); // 1.2 4.1.4.5.1, whether MSI-X is enabled or not
    if (this.#host.msixEnabled && this.configVector !== v.NO_VECTOR)
      this.#host.raise(this.configVector); // 1.2 4.1.5.4
  }

  /** 1.2 4.1.4.5: reading it clears it. */
  #readIsr(): number {
    const isr = this.#isr;
    this.#setIsr(0);
    return isr;
  }

  #setIsr(isr: number): void {
    this.#isr = isr;
    if (!this.#host.msixEnabled) this.#host.setInterruptStatus(isr !== 0);
  }

  /** 1.2 2.2 and 6 */
  #featuresAcceptable(): boolean {
    const { offered, requires } = this.#type;
    const foreign = this.#driverFeatures & ~offered;
    if (foreign !== 0n) {
      this.broken("feature-not-offered", `0x${foreign.toString(16)} was accepted`);
      return false;
    }
    for (const [feature, anyOf] of requires) {
      if (!this.accepted(feature) || anyOf.some((other) => this.accepted(other))) continue;
      this.broken("feature-alone", `feature ${feature} needs one of ${anyOf.join(", ")}`);
      return false;
    }
    const platform = (offered >> BigInt(v.F_ACCESS_PLATFORM)) & 1n;
    return this.accepted(v.F_VERSION_1) && (platform === 0n || this.accepted(v.F_ACCESS_PLATFORM));
  }

  /** Takes what lcores stored since. Only a hint: each step looks at the rings anyway. */
  #pollDoorbells(): void {
    for (let slot = 0; slot < this.queuesMax; slot++) {
      const value = this.#doorbells[(slot * NOTIFY_MULTIPLIER) / 2];
      if (value === NOT_RUNG) continue;
      this.#doorbells[(slot * NOTIFY_MULTIPLIER) / 2] = NOT_RUNG;
      this.#doorbell(slot, value);
    }
  }

  #doorbell(slot: number, value: number): void {
    this.log.counters.doorbells++;
    const queue = this.queuesMax - 1 - slot;
    if (value !== queue)
      this.broken("doorbell-value", `the doorbell of queue ${queue} got ${value}`); // 1.2 4.1.5.2
    if ((this.#status & v.STATUS_DRIVER_OK) === 0)
      this.broken("doorbell-before-driver-ok", `the doorbell of queue ${queue}`); // 1.2 3.1.1
  }
}
