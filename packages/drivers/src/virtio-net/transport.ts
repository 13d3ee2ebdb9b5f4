/**
 * What the driver needs of whatever carries it to the device: PCI now, vhost-user beside it. Lifetime path, but for the
 * doorbell, which lcores attach to (doorbell.ts).
 *
 * Every method may throw a WeirError: ENODEV when the device is gone, ETIMEDOUT when it did not answer in time, EPROTO
 * when it answers what the specification does not allow.
 */
import type { BarImage } from "@weir/core";

/** Where the three parts of a split virtqueue lie, as the device addresses them (2.7). */
export interface QueueAddresses {
  readonly descriptors: bigint;
  readonly available: bigint;
  readonly used: bigint;
}

/** How an lcore tells the device that a queue has something new. It can be posted to a worker. */
export interface Doorbell {
  readonly kind: "bar";
  readonly bar: BarImage;
  /** Bytes from the start of the BAR; a multiple of 2. */
  readonly offset: number;
  /** The 16-bit value to store there. */
  readonly value: number;
}

export interface Transport {
  /** As the user wrote it, for messages. */
  readonly name: string;
  /** Queues that the device has, the control queue included. */
  readonly queuesMax: number;
  /** False: nothing stands between the device and memory, so there is nothing that ACCESS_PLATFORM could be about. */
  readonly translated: boolean;

  /** Resets the device and waits until it is reset (2.4): afterwards it touches no queue and no buffer. */
  reset(): void;
  status(): number;
  /** Sets bits of the status on top of those that are set (2.1). */
  addStatus(bits: number): void;
  offeredFeatures(): bigint;
  /** Writes the accepted features. FEATURES_OK is the caller's. */
  acceptFeatures(features: bigint): void;

  /** Entries that the device allows in a queue; 0: it has no such queue. */
  queueSizeMax(queue: number): number;
  /** Makes a queue ready to run. `size` is a power of two, at most `queueSizeMax`. Undone by `reset`. */
  enableQueue(queue: number, size: number, addresses: QueueAddresses): void;
  /** The doorbell of a queue. After FEATURES_OK. */
  doorbell(queue: number): Doorbell;
  /** Rings a doorbell from ctl. */
  notify(doorbell: Doorbell): void;

  /** Reads device configuration (2.5): `read` may run again when the configuration changed meanwhile. */
  readConfig<T>(read: (config: ConfigReader) => T): T;
  /** Calls `handler`, on ctl, when the configuration changed or the device needs a reset. Undone by `reset`. */
  onConfigChange(handler: () => void): void;

  /** Lets the device reach memory, or not. */
  setDma(on: boolean): void;
  /** Releases the device. DMA is off and nothing is mapped any more. Idempotent. */
  close(): void;
}

/** Device configuration by byte offset. A field that the device does not have reads as 0. */
export interface ConfigReader {
  u8(offset: number): number;
  u16(offset: number): number;
}
