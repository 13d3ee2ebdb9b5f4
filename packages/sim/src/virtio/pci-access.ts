/** The PCI configuration access capability (1.2 4.1.4.9): a window into the BAR for who cannot map it. */
import type { Width } from "@weir/core";
import type { DeviceLog } from "../device-log.js";
import type { ConfigSpace } from "../pci/config-space.js";
import { CAP_BAR, CAP_EXTRA, CAP_OFFSET, CAP_STRUCTURE_LENGTH } from "./constants.js";

export interface WindowTarget {
  barRead(offset: number, width: Width): number;
  barWrite(offset: number, width: Width, value: number): void;
}

export class PciAccess {
  readonly #target: WindowTarget;
  readonly #log: DeviceLog;
  #config: ConfigSpace | undefined;
  #at = 0;
  #bar = 0;

  constructor(target: WindowTarget, log: DeviceLog) {
    this.#target = target;
    this.#log = log;
  }

  /** @param at of the capability; @param bar that the structures lie in */
  attach(config: ConfigSpace, at: number, bar: number): void {
    this.#config = config;
    this.#at = at;
    this.#bar = bar;
    config.allow(at + CAP_BAR, 1, 0xff);
    config.allow(at + CAP_OFFSET, 4, 0xffffffff);
    config.allow(at + CAP_STRUCTURE_LENGTH, 4, 0xffffffff);
    config.allow(at + CAP_EXTRA, 4, 0xffffffff);
  }

  /** pci_cfg_data shows what the register holds when it is read. */
  reading(offset: number, width: Width): void {
    const window = this.#window(offset, width);
    if (window !== undefined)
      this.#config?.put(this.#at + CAP_EXTRA, 4, this.#target.barRead(window.offset, window.width));
  }

  written(offset: number, width: Width): void {
    const window = this.#window(offset, width);
    if (window === undefined) return;
    const value = this.#config?.get(this.#at + CAP_EXTRA, window.width) ?? 0;
    this.#target.barWrite(window.offset, window.width, value);
  }

  /** Where an access to pci_cfg_data goes; undefined for any other access, and for one that a driver must not make. */
  #window(offset: number, width: Width): { offset: number; width: Width } | undefined {
    const data = this.#at + CAP_EXTRA;
    if (this.#config === undefined || offset + width <= data || offset >= data + 4)
      return undefined;
    const bar = this.#config.get(this.#at + CAP_BAR, 1);
    const length = this.#config.get(this.#at + CAP_STRUCTURE_LENGTH, 4);
    const at = this.#config.get(this.#at + CAP_OFFSET, 4);
    if (bar === this.#bar && (length === 1 || length === 2 || length === 4) && at % length === 0)
      return { offset: at, width: length };
    this.#log.violation(
      "pci-cfg-access",
      `pci_cfg_data with bar ${bar}, offset ${at}, length ${length}`,
    );
    return undefined;
  }
}
