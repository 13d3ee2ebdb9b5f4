/** Receive filters and steering: what the control queue sets (1.2 5.1.6.5). */
import type { Frame } from "../backend.js";
import { flowHash, vlanOf } from "./packet.js";

/** Flows that are remembered; a power of two. */
const FLOWS = 1024;
const VLANS = 4096;

export class Filter {
  promiscuous = false;
  allMulticast = false;
  /** Addresses of the table, as numbers. */
  readonly table: Set<number> = new Set();
  readonly #vlans = new Uint8Array(VLANS);

  reset(): void {
    this.promiscuous = false;
    this.allMulticast = false;
    this.table.clear();
    this.#vlans.fill(0);
  }

  setVlan(id: number, on: boolean): void {
    this.#vlans[id] = on ? 1 : 0;
  }

  /** 1.2 5.1.6.5.1, 5.1.6.5.2 */
  acceptsAddress(frame: Frame, own: number): boolean {
    if (this.promiscuous) return true;
    const to = addressNumber(frame.bytes, frame.at);
    const group = (frame.bytes[frame.at] & 1) === 1;
    return to === BROADCAST || to === own || (group && this.allMulticast) || this.table.has(to);
  }

  /** 1.2 5.1.6.5.3 */
  acceptsVlan(frame: Frame): boolean {
    const id = vlanOf(frame);
    return id === undefined || this.#vlans[id] === 1;
  }
}

const BROADCAST: number = 2 ** 48 - 1;

/** The six bytes of an address as one number. */
export function addressNumber(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let i = 0; i < 6; i++) value = value * 256 + bytes[at + i];
  return value;
}

/** Automatic receive steering (1.2 5.1.6.5.6): a flow comes in where it went out. */
export class Steering {
  pairs = 1;
  /** By flow: 1 + the pair that it was sent on. */
  readonly #pairOf = new Uint16Array(FLOWS);

  reset(): void {
    this.pairs = 1;
    this.#pairOf.fill(0);
  }

  sent(frame: Frame, pair: number): void {
    if (this.pairs > 1) this.#pairOf[flowHash(frame) % FLOWS] = pair + 1;
  }

  pairFor(frame: Frame): number {
    if (this.pairs === 1) return 0;
    const hash = flowHash(frame);
    const known = this.#pairOf[hash % FLOWS];
    return known > 0 && known <= this.pairs ? known - 1 : hash % this.pairs;
  }
}
