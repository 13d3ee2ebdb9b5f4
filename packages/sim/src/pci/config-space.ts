/**
 * Configuration space: bytes, and for each byte the bits that a write changes. Sizing a BAR by writing all ones works by
 * the masks alone: the bits below its size cannot be written (PCI 6.2.5.1).
 */
import type { PciIds, Width } from "@weir/core";
import {
  BAR,
  BAR_TYPE_64,
  CAPABILITIES_POINTER,
  CAPABILITIES_START,
  CLASS_CODE,
  COMMAND,
  COMMAND_BUS_MASTER,
  COMMAND_INTX_DISABLE,
  COMMAND_MEMORY,
  CONFIG_BYTES,
  DEVICE_ID,
  REVISION_ID,
  STATUS,
  STATUS_CAPABILITIES_LIST,
  SUBSYSTEM_ID,
  SUBSYSTEM_VENDOR_ID,
  VENDOR_ID,
} from "./registers.js";

export class ConfigSpace {
  readonly #bytes = new Uint8Array(CONFIG_BYTES);
  readonly #writable = new Uint8Array(CONFIG_BYTES);
  #initial = new Uint8Array(0);
  #lastLink = CAPABILITIES_POINTER;
  #free = CAPABILITIES_START;

  constructor(ids: PciIds) {
    this.put(VENDOR_ID, 2, ids.vendor);
    this.put(DEVICE_ID, 2, ids.device);
    this.put(REVISION_ID, 1, ids.revision);
    this.put(CLASS_CODE, 1, ids.classCode);
    this.put(CLASS_CODE + 1, 2, ids.classCode >>> 8);
    this.put(SUBSYSTEM_VENDOR_ID, 2, ids.subsystemVendor);
    this.put(SUBSYSTEM_ID, 2, ids.subsystem);
    this.allow(COMMAND, 2, COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_INTX_DISABLE);
    this.put(STATUS, 2, STATUS_CAPABILITIES_LIST);
  }

  /** A memory BAR. `bytes` is a power of two; one of 64 bits takes the next register too. */
  addBar(index: number, bytes: number, wide: boolean): void {
    this.put(BAR(index), 4, wide ? BAR_TYPE_64 : 0);
    this.allow(BAR(index), 4, ~(bytes - 1));
    if (wide) this.allow(BAR(index + 1), 4, ~0);
  }

  /** Links a capability in behind the others; returns where it starts. Its first two bytes are filled in here. */
  addCapability(id: number, bytes: number): number {
    const at = this.#free;
    this.put(this.#lastLink, 1, at);
    this.#lastLink = at + 1;
    this.#free = at + Math.ceil(bytes / 4) * 4; // PCI 6.7: capabilities start on a word of 32 bits
    this.put(at, 1, id);
    return at;
  }

  /** Lets a driver write these bits. */
  allow(offset: number, width: Width, bits: number): void {
    for (let i = 0; i < width; i++) this.#writable[offset + i] = bits >>> (8 * i);
  }

  /** What it holds now is what a reset restores. Called once, when it is complete. */
  seal(): void {
    this.#initial = this.#bytes.slice();
  }

  reset(): void {
    this.#bytes.set(this.#initial);
  }

  get(offset: number, width: Width): number {
    let value = 0;
    for (let i = width - 1; i >= 0; i--) value = value * 256 + this.#bytes[offset + i];
    return value;
  }

  /** Sets what a driver may not be able to. */
  put(offset: number, width: Width, value: number): void {
    for (let i = 0; i < width; i++) this.#bytes[offset + i] = value >>> (8 * i);
  }

  /** As a driver writes: only what is writable changes. */
  write(offset: number, width: Width, value: number): void {
    for (let i = 0; i < width; i++) {
      const mask = this.#writable[offset + i];
      this.#bytes[offset + i] = (this.#bytes[offset + i] & ~mask) | ((value >>> (8 * i)) & mask);
    }
  }
}
