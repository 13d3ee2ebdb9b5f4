/** MSI-X: the table of messages and the pending bits in a BAR (PCI 6.8.2, 6.8.3). */
import type { Width } from "@weir/core";
import { isMsi } from "../iommu.js";
import {
  ENTRY_ADDRESS_HIGH,
  ENTRY_ADDRESS_LOW,
  ENTRY_CONTROL,
  ENTRY_DATA,
  ENTRY_MASKED,
  ENTRY_WORDS,
} from "./registers.js";

/** Where the pending bits start in the BAR; the table starts at 0. */
export const PENDING_OFFSET = 0x1000;
export const MSIX_BAR_BYTES = 0x2000;
/** What fits before the pending bits. */
const VECTORS_MAX: number = PENDING_OFFSET / (ENTRY_WORDS * 4);

export interface MsixHost {
  /** Bus Master, MSI-X Enable, and no Function Mask. */
  mayInterrupt(): boolean;
  /** MSI-X Enable alone: without it nothing becomes pending. */
  enabled(): boolean;
  /** A message that is an interrupt. */
  deliver(data: number): void;
  /** A message to an address that is none. */
  stray(address: number): void;
}

export class Msix {
  readonly vectors: number;
  readonly #table: Uint32Array;
  readonly #pending: Uint8Array;
  readonly #host: MsixHost;

  constructor(vectors: number, host: MsixHost) {
    if (vectors < 1 || vectors > VECTORS_MAX)
      throw new RangeError(`a function of ${vectors} vectors`);
    this.vectors = vectors;
    this.#host = host;
    this.#table = new Uint32Array(vectors * ENTRY_WORDS);
    this.#pending = new Uint8Array(vectors);
    this.reset();
  }

  /** PCI 6.8.2.9: every vector is masked after a reset. */
  reset(): void {
    this.#table.fill(0);
    this.#pending.fill(0);
    for (let v = 0; v < this.vectors; v++)
      this.#table[v * ENTRY_WORDS + ENTRY_CONTROL] = ENTRY_MASKED;
  }

  raise(vector: number): void {
    if (!this.#host.enabled()) return;
    this.#pending[vector] = 1;
    this.flush();
  }

  /** Sends what is pending and not masked any more (PCI 6.8.3.4). */
  flush(): void {
    if (!this.#host.mayInterrupt()) return;
    for (let v = 0; v < this.vectors; v++) {
      if (this.#pending[v] === 0) continue;
      const at = v * ENTRY_WORDS;
      if ((this.#table[at + ENTRY_CONTROL] & ENTRY_MASKED) !== 0) continue;
      this.#pending[v] = 0;
      const address =
        this.#table[at + ENTRY_ADDRESS_HIGH] * 2 ** 32 + this.#table[at + ENTRY_ADDRESS_LOW];
      if (isMsi(address)) this.#host.deliver(this.#table[at + ENTRY_DATA]);
      else this.#host.stray(address);
    }
  }

  /** Aligned words of 32 bits only (PCI 6.8.2); undefined for anything else. */
  read(offset: number, width: Width): number | undefined {
    if (width !== 4) return undefined;
    if (offset < this.#table.byteLength) return this.#table[offset / 4];
    const first = (offset - PENDING_OFFSET) * 8;
    let bits = 0;
    for (let i = 0; i < 32; i++)
      if (first + i >= 0 && this.#pending[first + i] === 1) bits += 2 ** i;
    return bits;
  }

  write(offset: number, width: Width, value: number): boolean {
    if (width !== 4) return false;
    if (offset < this.#table.byteLength) this.#table[offset / 4] = value;
    this.flush();
    return true;
  }
}
