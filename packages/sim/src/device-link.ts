/** How ctl reaches a simulated device: by calls, or through the thread that the device lives in. Everything here can be posted. */
import type { ArenaImage, Width } from "@weir/core";
import type { BackendSpec } from "./backend.js";
import type { Counters, DmaFault, Violation } from "./device-log.js";
import type { FaultOptions } from "./faults.js";
import type { NetOptions } from "./virtio-net/options.js";

export interface DeviceSpec {
  readonly name: string;
  readonly model: "virtio-net";
  /** The region that the BARs lie in. */
  readonly region: number;
  readonly seed: number;
  readonly net: NetOptions;
  readonly backend: BackendSpec;
  readonly faults: FaultOptions;
}

export interface DeviceReport {
  readonly faults: readonly DmaFault[];
  readonly faultCount: number;
  readonly violations: readonly Violation[];
  readonly violationCount: number;
  readonly counters: Counters;
  /** Faults that were injected, by name. */
  readonly injected: Readonly<Record<string, number>>;
  readonly steps: number;
  readonly dead: boolean;
  readonly finished: boolean;
}

/** What a test or an operator does to a device. */
export type DeviceCommand =
  | { readonly type: "link"; readonly up: boolean }
  /** Asks the driver to announce itself (1.2 5.1.6.5.4). */
  | { readonly type: "announce" }
  | { readonly type: "die" };

export interface DeviceLink {
  /** False: the device is gone for good. */
  readonly alive: boolean;
  configRead(offset: number, width: Width): number;
  configWrite(offset: number, width: Width, value: number): void;
  barRead(bar: number, offset: number, width: Width): number;
  barWrite(bar: number, offset: number, width: Width, value: number): void;
  map(iova: number, bytes: number, arena: ArenaImage, offset: number): void;
  unmap(iova: number, bytes: number): void;
  report(): DeviceReport;
  command(command: DeviceCommand): void;
  /** Takes the device out of its machine; it touches nothing any more when this returns. */
  remove(): void;
}
