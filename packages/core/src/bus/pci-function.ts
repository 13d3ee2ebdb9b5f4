/**
 * A PCI function as a driver sees it, whoever provides it: VFIO, the simulator, a vfio-user peer. Lifetime path, but for
 * the memory of BARs, which lcores attach to for doorbells and register polls.
 *
 * A function that is gone answers every read with all ones, as the bus does, and ignores writes: a driver's wait loops
 * check for that and for a deadline.
 */

import type { DmaTarget } from "../dma/space.js";
import { native } from "../native/addon.js";

export type Width = 1 | 2 | 4;

/** What a read of `width` bytes gives when nobody answers. */
export function allOnes(width: Width): number {
  return 2 ** (8 * width) - 1;
}

export interface PciIds {
  readonly vendor: number;
  readonly device: number;
  readonly subsystemVendor: number;
  readonly subsystem: number;
  readonly revision: number;
  /** 24 bits: base class, subclass, interface. */
  readonly classCode: number;
}

export interface PciFunction {
  /** As the user wrote it: "0000:03:10.0", "net_sim0". */
  readonly name: string;
  readonly ids: PciIds;
  /** Where its DMA goes through. */
  readonly dma: DmaTarget;
  /** Little-endian, as PCI is. `offset` is a multiple of `width` below 4,096. */
  configRead(offset: number, width: Width): number;
  configWrite(offset: number, width: Width, value: number): void;
  /** A memory BAR, mapped at its first use. @throws WeirError ENODEV when the function has none of that number */
  bar(index: number): Bar;
  /** Lets the function issue DMA and interrupts, or not: the Bus Master bit of the Command register (PCI 3.0, 6.2.2). */
  setBusMaster(on: boolean): void;
  /** Function Level Reset. @throws WeirError ENOTSUP when it has none */
  reset(): void;
  /** MSI-X vectors it has. */
  readonly vectors: number;
  /** Delivers vectors 0 to `count - 1` to `handler`, on ctl. Opposite: `disableVectors`. */
  enableVectors(count: number, handler: (vector: number) => void): void;
  disableVectors(): void;
  /** Releases everything. Bus master is off and nothing is mapped any more. Idempotent. */
  close(): void;
}

/** A memory BAR. Offsets are in bytes and multiples of the width. */
export interface Bar {
  readonly bytes: number;
  read(offset: number, width: Width): number;
  write(offset: number, width: Width, value: number): void;
  /** The same memory for the data path. Only plain aligned stores of doorbells and loads whose value is used. */
  readonly image: BarImage;
}

/** A BAR as another thread attaches to it. */
export interface BarImage {
  readonly region: number;
  readonly offset: number;
  readonly bytes: number;
}

export interface BarView {
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
}

/** Views of a BAR for the calling thread. Valid for ever: a BAR that is gone reads all ones. */
export function attachBar(image: BarImage): BarView {
  const buffer = native.regionView(image.region, image.offset, image.bytes);
  return {
    u16: new Uint16Array(buffer),
    u32: new Uint32Array(buffer),
    i32: new Int32Array(buffer),
  };
}
