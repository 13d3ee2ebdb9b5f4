/** What makes a simulated function the device it is: registers in its BAR, capabilities of its own, work to do. */
import type { PciIds, Width } from "@weir/core";
import type { DeviceCommand } from "./device-link.js";
import type { DeviceLog } from "./device-log.js";
import type { Dma } from "./dma.js";
import type { ConfigSpace } from "./pci/config-space.js";

export interface FunctionHost {
  readonly dma: Dma;
  readonly log: DeviceLog;
  /** The memory of the model's BAR, which lcores store doorbells in. */
  readonly memory: ArrayBuffer;
  readonly vectors: number;
  readonly busMaster: boolean;
  readonly msixEnabled: boolean;
  /** Raises an MSI-X vector. */
  raise(vector: number): void;
  /** The Interrupt Status bit of the Status register (PCI 6.2.3). */
  setInterruptStatus(on: boolean): void;
}

export interface FunctionModel {
  readonly ids: PciIds;
  /** Links the model's own capabilities in. */
  addCapabilities(config: ConfigSpace, bar: number): void;
  barRead(offset: number, width: Width): number;
  barWrite(offset: number, width: Width, value: number): void;
  /** Before configuration space is read: refresh what is shown there. */
  configReading(offset: number, width: Width): void;
  configWritten(offset: number, width: Width): void;
  /** A reset of the function. */
  reset(): void;
  /** One bounded piece of work; true when there was something to do. */
  step(): boolean;
  command(command: DeviceCommand): void;
  /** True when nothing will ever come in any more and all that came was handed over. */
  readonly finished: boolean;
  /** More for the report. */
  readonly injected: Readonly<Record<string, number>>;
  close(): void;
}
