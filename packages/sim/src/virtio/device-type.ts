/** What a type of virtio device gives the transport, and what it gets. */
import type { Width } from "@weir/core";
import type { DeviceLog } from "../device-log.js";
import type { Dma } from "../dma.js";
import type { Faults } from "../faults.js";
import type { Completions } from "./completions.js";

export interface VirtioHost {
  readonly dma: Dma;
  readonly log: DeviceLog;
  readonly faults: Faults;
  accepted(feature: number): boolean;
  /** Makes a queue's completions visible, and tells the driver when it wants to know. */
  publish(queue: number): void;
  /** The device-specific configuration is about to differ from what the driver read (1.2 3.2.1). */
  configChanged(): void;
}

export interface VirtioDeviceType {
  /** 1.2 5 */
  readonly type: number;
  readonly classCode: number;
  readonly offered: bigint;
  /** A feature, and those of which it needs at least one. */
  readonly requires: readonly (readonly [feature: number, anyOf: readonly number[]])[];
  readonly queuesMax: number;
  readonly queueSizeMax: number;
  readonly configBytes: number;
  /** A field of the configuration; undefined when there is none of that offset and width, or its feature is not offered. */
  configRead(offset: number, width: Width): number | undefined;
  /** Back to what it is before a driver came. */
  reset(): void;
  /** Whether a queue of that index exists with what was negotiated. */
  hasQueue(index: number): boolean;
  enable(index: number, queue: Completions): void;
  disable(index: number): void;
  /** One bounded piece of work; true when there was something to do. @throws QueueError or DmaRefused */
  step(): boolean;
}
