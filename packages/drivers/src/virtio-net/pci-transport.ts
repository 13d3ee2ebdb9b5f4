/**
 * Virtio over PCI, the modern interface alone (VIRTIO 1.2, 4.1). Lifetime path.
 *
 * A function that is gone answers with all ones. No register read here may legally be that, so each is checked, and what
 * waits for the device has a deadline besides.
 */
import { allOnes, type PciFunction, WeirError, type Width } from "@weir/core";
import {
  COMMON_CFG_NOTIFY_DATA_BYTES,
  CONFIG_GENERATION,
  CONFIG_MSIX_VECTOR,
  DEVICE_FEATURE,
  DEVICE_FEATURE_SELECT,
  DEVICE_STATUS,
  DRIVER_FEATURE,
  DRIVER_FEATURE_SELECT,
  NUM_QUEUES,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_DRIVER,
  QUEUE_ENABLE,
  QUEUE_MSIX_VECTOR,
  QUEUE_NOTIFY_DATA,
  QUEUE_NOTIFY_OFF,
  QUEUE_SELECT,
  QUEUE_SIZE,
  VIRTIO_F_NOTIF_CONFIG_DATA,
  VIRTIO_MSI_NO_VECTOR,
} from "./layout.js";
import { findStructures, type Structure, type VirtioStructures } from "./pci-capabilities.js";
import type { ConfigReader, Doorbell, QueueAddresses, Transport } from "./transport.js";
import { waitUntil } from "./wait.js";

// PCI Local Bus 3.0, 6.2.2
const COMMAND = 0x04;
const COMMAND_MEMORY_SPACE = 0x2;

/** Time that a device may take for a reset. Real ones take some 10 ms. */
const RESET_MS = 1000;
/** Tries to read a configuration that keeps changing. */
const CONFIG_READS_MAX = 1000;

export class PciTransport implements Transport {
  readonly name: string;
  readonly queuesMax: number;
  readonly translated: boolean;
  readonly #pci: PciFunction;
  readonly #at: VirtioStructures;
  #features = 0n;
  #closed = false;

  /** @throws WeirError with the function still the caller's */
  constructor(pci: PciFunction) {
    this.#pci = pci;
    this.name = pci.name;
    this.translated = pci.dma.translated ?? true;
    // A virtual function comes with memory space off, and its BARs would answer nothing.
    pci.configWrite(COMMAND, 2, pci.configRead(COMMAND, 2) | COMMAND_MEMORY_SPACE);
    this.#at = findStructures(pci);
    this.queuesMax = this.#common(NUM_QUEUES, 2);
  }

  reset(): void {
    this.#features = 0n;
    this.#pci.disableVectors();
    this.#write(DEVICE_STATUS, 1, 0); // 4.1.4.3.2: written 0, it is over when 0 is read
    waitUntil(
      () => this.#common(DEVICE_STATUS, 1) === 0,
      RESET_MS,
      () => {
        throw new WeirError("ETIMEDOUT", `${this.name} did not finish its reset in ${RESET_MS} ms`);
      },
    );
  }

  status(): number {
    return this.#common(DEVICE_STATUS, 1);
  }

  addStatus(bits: number): void {
    this.#write(DEVICE_STATUS, 1, this.#common(DEVICE_STATUS, 1) | bits);
  }

  offeredFeatures(): bigint {
    this.#write(DEVICE_FEATURE_SELECT, 4, 0);
    const low = this.#read(DEVICE_FEATURE, 4); // may be all ones: the status says whether the device is there
    this.#write(DEVICE_FEATURE_SELECT, 4, 1);
    const high = this.#read(DEVICE_FEATURE, 4);
    this.status();
    return (BigInt(high) << 32n) | BigInt(low);
  }

  acceptFeatures(features: bigint): void {
    this.#features = features;
    this.#write(DRIVER_FEATURE_SELECT, 4, 0);
    this.#write(DRIVER_FEATURE, 4, Number(features & 0xffffffffn));
    this.#write(DRIVER_FEATURE_SELECT, 4, 1);
    this.#write(DRIVER_FEATURE, 4, Number(features >> 32n));
  }

  queueSizeMax(queue: number): number {
    if (queue >= this.queuesMax) return 0;
    this.#write(QUEUE_SELECT, 2, queue);
    return this.#common(QUEUE_SIZE, 2);
  }

  enableQueue(queue: number, size: number, addresses: QueueAddresses): void {
    // 4.1.5.1.3
    this.#write(QUEUE_SELECT, 2, queue);
    this.#write(QUEUE_SIZE, 2, size);
    this.#write(QUEUE_MSIX_VECTOR, 2, VIRTIO_MSI_NO_VECTOR); // polled
    this.#write64(QUEUE_DESC, addresses.descriptors);
    this.#write64(QUEUE_DRIVER, addresses.available);
    this.#write64(QUEUE_DEVICE, addresses.used);
    if (this.#common(QUEUE_SIZE, 2) !== size)
      throw new WeirError(
        "EPROTO",
        `${this.name} does not take ${size} entries for queue ${queue}`,
      );
    this.#write(QUEUE_ENABLE, 2, 1); // last: 4.1.4.3.2
    if (this.#common(QUEUE_ENABLE, 2) !== 1)
      throw new WeirError("EPROTO", `${this.name} does not enable its queue ${queue}`);
  }

  doorbell(queue: number): Doorbell {
    const { notify, notifyOffMultiplier, common } = this.#at;
    this.#write(QUEUE_SELECT, 2, queue);
    const at = this.#common(QUEUE_NOTIFY_OFF, 2) * notifyOffMultiplier; // 4.1.4.4
    const offset = notify.offset + at;
    if (at + 2 > notify.bytes || offset % 2 !== 0) {
      throw new WeirError(
        "EPROTO",
        `${this.name} places the doorbell of queue ${queue} at ${at}, outside of its ${notify.bytes} bytes of doorbells`,
      );
    }
    // 4.1.5.2.1: the device's own name for the queue, where it has one
    const named =
      (this.#features & VIRTIO_F_NOTIF_CONFIG_DATA) !== 0n &&
      common.bytes >= COMMON_CFG_NOTIFY_DATA_BYTES;
    const value = named ? this.#read(QUEUE_NOTIFY_DATA, 2) : queue;
    return { kind: "bar", bar: notify.bar.image, offset, value };
  }

  notify({ offset, value }: Doorbell): void {
    this.#alive();
    this.#at.notify.bar.write(offset, 2, value);
  }

  readConfig<T>(read: (config: ConfigReader) => T): T {
    const { device } = this.#at;
    const field =
      (width: Width) =>
      (offset: number): number =>
        offset + width <= device.bytes ? device.bar.read(device.offset + offset, width) : 0;
    const reader: ConfigReader = { u8: field(1), u16: field(2) };
    this.#alive();
    for (let tries = 0; tries < CONFIG_READS_MAX; tries++) {
      const before = this.#read(CONFIG_GENERATION, 1); // 2.5.1: the same before and after
      const result = read(reader);
      if (this.#read(CONFIG_GENERATION, 1) !== before) continue;
      this.status(); // all ones is a generation too: only the status tells that the device is there
      return result;
    }
    throw new WeirError(
      "EPROTO",
      `${this.name} changes its configuration faster than it can be read`,
    );
  }

  onConfigChange(handler: () => void): void {
    // Without MSI-X there is nothing to tell the events apart by that the bus delivers: the link is read when asked for.
    if (this.#pci.vectors === 0) return;
    this.#pci.enableVectors(1, handler);
    this.#write(CONFIG_MSIX_VECTOR, 2, 0);
    if (this.#read(CONFIG_MSIX_VECTOR, 2) !== 0) {
      // 4.1.5.1.2.2: the device could not map it
      this.#pci.disableVectors();
      this.status();
    }
  }

  setDma(on: boolean): void {
    this.#pci.setBusMaster(on);
  }

  close(): void {
    this.#closed = true;
    this.#pci.close();
  }

  #alive(): void {
    if (this.#closed) throw new WeirError("ENODEV", `${this.name} is closed`);
  }

  /** A field of the common configuration that is never all ones. */
  #common(offset: number, width: Width): number {
    const value = this.#read(offset, width);
    if (value === allOnes(width))
      throw new WeirError("ENODEV", `${this.name} is gone: its registers read as all ones`);
    return value;
  }

  #read(offset: number, width: Width): number {
    this.#alive();
    const { common } = this.#at;
    return common.bar.read(common.offset + offset, width);
  }

  #write(offset: number, width: Width, value: number): void {
    this.#alive();
    const { common }: { common: Structure } = this.#at;
    common.bar.write(common.offset + offset, width, value);
  }

  /** 4.1.3.1: a 64-bit field is two of 32 bits. */
  #write64(offset: number, value: bigint): void {
    this.#write(offset, 4, Number(value & 0xffffffffn));
    this.#write(offset + 4, 4, Number(value >> 32n));
  }
}
