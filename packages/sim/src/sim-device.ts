/** A simulated PCI Express function, device side: configuration space, BARs, MSI-X and DMA around a model. */
import { type ArenaImage, allOnes, native, type Width } from "@weir/core";
import type { DeviceCommand, DeviceReport } from "./device-link.js";
import type { DeviceLog } from "./device-log.js";
import { Dma } from "./dma.js";
import type { FunctionHost, FunctionModel } from "./function-model.js";
import { ConfigSpace } from "./pci/config-space.js";
import { MSIX_BAR_BYTES, Msix, PENDING_OFFSET } from "./pci/msix.js";
import * as pci from "./pci/registers.js";

/** 64 bits wide: it takes register 3 too. */
export const MODEL_BAR = 2;
export const MODEL_BAR_BYTES = 0x4000;
export const MSIX_BAR = 4;
/** Where the BARs lie in the function's region. */
export const BAR_OFFSETS: ReadonlyMap<number, { offset: number; bytes: number }> = new Map([
  [MODEL_BAR, { offset: 0, bytes: MODEL_BAR_BYTES }],
  [MSIX_BAR, { offset: MODEL_BAR_BYTES, bytes: MSIX_BAR_BYTES }],
]);
export const REGION_BYTES: number = MODEL_BAR_BYTES + MSIX_BAR_BYTES;

export interface SimDeviceOptions {
  readonly region: number;
  readonly vectors: number;
  /** Dies at this step. */
  readonly dieAt?: number;
  /** Gets interrupts when a step is over. */
  readonly deliver: (vector: number) => void;
}

export class SimDevice implements FunctionHost {
  readonly log: DeviceLog;
  readonly dma: Dma;
  readonly memory: ArrayBuffer;
  readonly vectors: number;
  readonly #options: SimDeviceOptions;
  readonly #model: FunctionModel;
  readonly #config: ConfigSpace;
  readonly #msix: Msix;
  readonly #express: number;
  readonly #msixCapability: number;
  readonly #interrupts: number[] = [];
  #dead = false;

  constructor(
    log: DeviceLog,
    options: SimDeviceOptions,
    createModel: (host: FunctionHost) => FunctionModel,
  ) {
    this.log = log;
    this.#options = options;
    this.dma = new Dma(log);
    this.memory = native.regionView(options.region, 0, MODEL_BAR_BYTES);
    this.vectors = options.vectors;
    this.#msix = new Msix(options.vectors, {
      enabled: () => this.msixEnabled,
      mayInterrupt: () =>
        this.msixEnabled && this.busMaster && (this.#messageControl & pci.MSIX_FUNCTION_MASK) === 0,
      deliver: (data) => this.#interrupts.push(data),
      stray: (address) => log.fault(address, 4, "write"),
    });
    this.#model = createModel(this);
    const config = new ConfigSpace(this.#model.ids);
    this.#config = config;
    config.addBar(MODEL_BAR, MODEL_BAR_BYTES, true);
    config.addBar(MSIX_BAR, MSIX_BAR_BYTES, false);
    this.#express = this.#addExpress(config);
    this.#msixCapability = this.#addMsix(config);
    this.#model.addCapabilities(config, MODEL_BAR);
    config.seal();
    // As firmware and the host's driver leave it: addresses are given, memory space answers, bus master is off.
    config.put(pci.BAR(MODEL_BAR), 4, 0xe0000000 + pci.BAR_TYPE_64);
    config.put(pci.BAR(MSIX_BAR), 4, 0xe0010000);
    config.put(pci.COMMAND, 2, pci.COMMAND_MEMORY);
  }

  get dead(): boolean {
    return this.#dead;
  }

  get busMaster(): boolean {
    return (this.#config.get(pci.COMMAND, 2) & pci.COMMAND_BUS_MASTER) !== 0;
  }

  get msixEnabled(): boolean {
    return (this.#messageControl & pci.MSIX_ENABLE) !== 0;
  }

  raise(vector: number): void {
    this.#msix.raise(vector);
  }

  setInterruptStatus(on: boolean): void {
    const status = this.#config.get(pci.STATUS, 2) & ~pci.STATUS_INTERRUPT;
    this.#config.put(pci.STATUS, 2, on ? status | pci.STATUS_INTERRUPT : status);
  }

  configRead(offset: number, width: Width): number {
    if (this.#dead) return allOnes(width);
    this.#model.configReading(offset, width);
    return this.#config.get(offset, width);
  }

  configWrite(offset: number, width: Width, value: number): void {
    if (this.#dead) return;
    this.#config.write(offset, width, value);
    const control = this.#express + pci.EXPRESS_DEVICE_CONTROL;
    if ((this.#config.get(control, 2) & pci.EXPRESS_INITIATE_FLR) !== 0) this.#functionReset();
    else {
      this.#model.configWritten(offset, width);
      this.#msix.flush();
    }
  }

  barRead(bar: number, offset: number, width: Width): number {
    if (this.#dead || !this.#answers) return allOnes(width);
    if (bar === MSIX_BAR) {
      const value = this.#msix.read(offset, width);
      if (value === undefined)
        this.log.violation("msix-access", `a read of ${width} bytes at ${offset} of the table`);
      return value ?? 0;
    }
    return this.#model.barRead(offset, width);
  }

  barWrite(bar: number, offset: number, width: Width, value: number): void {
    if (this.#dead || !this.#answers) return;
    if (bar !== MSIX_BAR) this.#model.barWrite(offset, width, value);
    else if (!this.#msix.write(offset, width, value))
      this.log.violation("msix-access", `a write of ${width} bytes at ${offset} of the table`);
  }

  map(iova: number, bytes: number, arena: ArenaImage, offset: number): void {
    this.dma.map(iova, bytes, arena, offset);
  }

  unmap(iova: number, bytes: number): void {
    this.dma.unmap(iova, bytes);
  }

  /** One bounded piece of work, then the interrupts that it raised; true when there was something to do. */
  step(): boolean {
    if (this.#dead) return false;
    this.log.step++;
    if (this.log.step === this.#options.dieAt) {
      this.#die();
      return false;
    }
    const worked = this.#model.step();
    this.#deliver();
    return worked;
  }

  report(): DeviceReport {
    const { log } = this;
    return {
      faults: [...log.faults],
      faultCount: log.faultCount,
      violations: [...log.violations],
      violationCount: log.violationCount,
      counters: { ...log.counters },
      injected: { ...this.#model.injected },
      steps: log.step,
      dead: this.#dead,
      finished: this.#model.finished,
    };
  }

  command(command: DeviceCommand): void {
    if (command.type === "die") this.#die();
    else if (!this.#dead) this.#model.command(command);
  }

  close(): void {
    this.#model.close();
  }

  /** Answers in memory space (PCI 6.2.2). */
  get #answers(): boolean {
    return (this.#config.get(pci.COMMAND, 2) & pci.COMMAND_MEMORY) !== 0;
  }

  get #messageControl(): number {
    return this.#config.get(this.#msixCapability + pci.MSIX_CONTROL, 2);
  }

  #deliver(): void {
    if (this.#interrupts.length === 0) return;
    for (const vector of this.#interrupts.splice(0)) {
      this.log.counters.interrupts++;
      this.#options.deliver(vector);
    }
  }

  /** PCIe 6.6.2: everything but what links and power need goes back to its initial value, BARs and Command included. */
  #functionReset(): void {
    this.#config.reset();
    this.#msix.reset();
    this.#interrupts.length = 0;
    this.#model.reset();
  }

  /** Gone from the bus: reads give all ones, nothing is issued any more. */
  #die(): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#interrupts.length = 0;
    native.regionRevoke(this.#options.region, 0, REGION_BYTES);
  }

  #addExpress(config: ConfigSpace): number {
    const at = config.addCapability(pci.CAP_ID_EXPRESS, pci.EXPRESS_BYTES);
    config.put(at + pci.EXPRESS_FLAGS, 2, pci.EXPRESS_FLAGS_VALUE);
    config.put(at + pci.EXPRESS_DEVICE_CAPABILITIES, 4, pci.EXPRESS_FLR);
    config.allow(at + pci.EXPRESS_DEVICE_CONTROL, 2, 0xffff);
    return at;
  }

  #addMsix(config: ConfigSpace): number {
    const at = config.addCapability(pci.CAP_ID_MSIX, pci.MSIX_BYTES);
    config.put(at + pci.MSIX_CONTROL, 2, this.vectors - 1); // PCI 6.8.2.3: Table Size is one less
    config.allow(at + pci.MSIX_CONTROL, 2, pci.MSIX_ENABLE | pci.MSIX_FUNCTION_MASK);
    config.put(at + pci.MSIX_TABLE, 4, MSIX_BAR);
    config.put(at + pci.MSIX_PENDING, 4, PENDING_OFFSET + MSIX_BAR);
    return at;
  }
}
