/** Lifetime path: a simulated function as a driver sees it on ctl. */
import {
  allOnes,
  type Bar,
  type BarImage,
  type IovaRange,
  type PciFunction,
  type PciIds,
  WeirError,
  type Width,
} from "@weir/core";
import type { DeviceCommand, DeviceLink, DeviceReport } from "./device-link.js";
import { Iommu } from "./iommu.js";
import * as pci from "./pci/registers.js";
import { BAR_OFFSETS, MSIX_BAR } from "./sim-device.js";

/** Where the interrupts of this function go: any address in the MSI range does. */
const MESSAGE_ADDRESS = 0xfee00000;

export class SimFunction implements PciFunction {
  readonly name: string;
  readonly ids: PciIds;
  readonly dma: Iommu;
  readonly vectors: number;
  readonly #link: DeviceLink;
  readonly #region: number;
  readonly #release: () => void;
  #lastReport: DeviceReport | undefined;
  #handler: ((vector: number) => void) | undefined;
  #closed = false;

  /** @param release gives back what the device was made of, once it is out of its machine */
  constructor(
    name: string,
    link: DeviceLink,
    region: number,
    ranges: readonly IovaRange[],
    release: () => void,
  ) {
    this.name = name;
    this.#link = link;
    this.#region = region;
    this.#release = release;
    this.dma = new Iommu(name, ranges, link);
    this.ids = {
      vendor: this.configRead(pci.VENDOR_ID, 2),
      device: this.configRead(pci.DEVICE_ID, 2),
      subsystemVendor: this.configRead(pci.SUBSYSTEM_VENDOR_ID, 2),
      subsystem: this.configRead(pci.SUBSYSTEM_ID, 2),
      revision: this.configRead(pci.REVISION_ID, 1),
      classCode: this.configRead(pci.CLASS_CODE, 1) + 256 * this.configRead(pci.CLASS_CODE + 1, 2),
    };
    const control = this.configRead(this.#capability(pci.CAP_ID_MSIX) + pci.MSIX_CONTROL, 2);
    this.vectors = (control & 0x7ff) + 1; // PCI 6.8.2.3
  }

  /** What the device saw and did; after its end, what it had seen until it was closed. */
  get report(): DeviceReport {
    if (!this.#closed && this.#link.alive) this.#lastReport = this.#link.report();
    if (this.#lastReport === undefined)
      throw new WeirError("ENODEV", `${this.name} was gone before it could be asked`);
    return this.#lastReport;
  }

  get alive(): boolean {
    return !this.#closed && this.#link.alive;
  }

  configRead(offset: number, width: Width): number {
    return this.alive ? this.#link.configRead(offset, width) : allOnes(width);
  }

  configWrite(offset: number, width: Width, value: number): void {
    if (this.alive) this.#link.configWrite(offset, width, value);
  }

  bar(index: number): Bar {
    const place = BAR_OFFSETS.get(index);
    if (place === undefined)
      throw new WeirError("ENODEV", `${this.name} has no memory BAR ${index}`);
    const image: BarImage = { region: this.#region, ...place };
    return {
      bytes: place.bytes,
      image,
      read: (offset, width) =>
        this.alive ? this.#link.barRead(index, offset, width) : allOnes(width),
      write: (offset, width, value) => {
        if (this.alive) this.#link.barWrite(index, offset, width, value);
      },
    };
  }

  setBusMaster(on: boolean): void {
    const command = this.configRead(pci.COMMAND, 2);
    const bit = pci.COMMAND_BUS_MASTER;
    this.configWrite(pci.COMMAND, 2, on ? command | bit : command & ~bit);
  }

  /** As VFIO does it: BARs and the Memory bit are restored behind it. Bus master and MSI-X are off. */
  reset(): void {
    const at = this.#capability(pci.CAP_ID_EXPRESS);
    if (at === 0) return; // gone
    const bars = Array.from({ length: pci.BARS }, (_, i) => this.configRead(pci.BAR(i), 4));
    const memory = this.configRead(pci.COMMAND, 2) & pci.COMMAND_MEMORY;
    this.configWrite(at + pci.EXPRESS_DEVICE_CONTROL, 2, pci.EXPRESS_INITIATE_FLR);
    for (const [i, bar] of bars.entries()) this.configWrite(pci.BAR(i), 4, bar);
    this.configWrite(pci.COMMAND, 2, memory);
  }

  enableVectors(count: number, handler: (vector: number) => void): void {
    if (count < 1 || count > this.vectors)
      throw new WeirError(
        "EINVAL",
        `${this.name} has ${this.vectors} vectors, and ${count} are wanted`,
      );
    this.#handler = handler;
    const table = this.bar(MSIX_BAR);
    for (let vector = 0; vector < count; vector++) {
      const entry = vector * pci.ENTRY_WORDS;
      table.write((entry + pci.ENTRY_ADDRESS_LOW) * 4, 4, MESSAGE_ADDRESS);
      table.write((entry + pci.ENTRY_ADDRESS_HIGH) * 4, 4, 0);
      table.write((entry + pci.ENTRY_DATA) * 4, 4, vector);
      table.write((entry + pci.ENTRY_CONTROL) * 4, 4, 0);
    }
    this.#messageControl(pci.MSIX_ENABLE);
  }

  disableVectors(): void {
    this.#handler = undefined;
    this.#messageControl(0);
    const table = this.bar(MSIX_BAR);
    for (let vector = 0; vector < this.vectors; vector++)
      table.write((vector * pci.ENTRY_WORDS + pci.ENTRY_CONTROL) * 4, 4, pci.ENTRY_MASKED);
  }

  /** An interrupt, on ctl. One that was under way when its vectors were disabled is dropped. */
  interrupt(vector: number): void {
    if (!this.#closed) this.#handler?.(vector);
  }

  command(command: DeviceCommand): void {
    if (this.alive) this.#link.command(command);
  }

  close(): void {
    if (this.#closed) return;
    if (this.#link.alive) this.#lastReport = this.#link.report();
    this.#closed = true;
    this.#handler = undefined;
    this.#link.remove();
    this.#release();
  }

  #messageControl(value: number): void {
    const at = this.#capability(pci.CAP_ID_MSIX);
    if (at !== 0) this.configWrite(at + pci.MSIX_CONTROL, 2, value);
  }

  /** Where a capability starts (PCI 6.7); 0 when there is none, or the function is gone. */
  #capability(id: number): number {
    let at = this.configRead(pci.CAPABILITIES_POINTER, 1);
    for (let hops = 0; at >= pci.CAPABILITIES_START && at < 0xff && hops < 48; hops++) {
      if (this.configRead(at, 1) === id) return at;
      at = this.configRead(at + 1, 1);
    }
    return 0;
  }
}
