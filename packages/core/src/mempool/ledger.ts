/**
 * The ledger: one word per handle that says who holds it and since when, stored at every change of hands.
 *
 * word = holder id << 20 | tick. A tick is 100 ms of ctl's clock, so an age is exact to a tick and wraps after 29 hours.
 * Beside the words each thread keeps one counter per holder of what it moved in and out; their sum is what the holder
 * holds, exact when the threads are quiescent, and wraps harmlessly. The words are the truth, the counters a check.
 */
import { WeirError } from "../errors.js";

export const HOLDER_SHIFT = 20;
export const HOLDER_MASK: number = -1 << HOLDER_SHIFT;
export const TICK_MASK: number = ~HOLDER_MASK;
export const TICK_MS = 100;
export const HOLDERS_MAX: number = 2 ** 12;

/** In its pool's common store. Also the word of a slot that is in no pool. */
export const HOLDER_FREE = 0;
/** Given back by its own holder, kept alive by clones alone. */
export const HOLDER_SHARED = 1;
const FIRST_ID = 2;

export type HolderKind = "free" | "shared" | "cache" | "lcore" | "rxq" | "txq" | "ring";

/** Somebody who can hold buffers. */
export interface Holder {
  readonly id: number;
  readonly kind: HolderKind;
  /** As reports print it, e.g. "net_tap0 rx 0" or "lcore 1". */
  readonly name: string;
}

/** The holders of a process, by id. ctl only. `add` and `remove` are a pair. */
export class Holders {
  readonly #byId: (Holder | undefined)[] = [
    { id: HOLDER_FREE, kind: "free", name: "free" },
    { id: HOLDER_SHARED, kind: "shared", name: "clones" },
  ];

  /** @throws WeirError ERR_WEIR_LIMIT when 4,096 holders exist */
  add(kind: HolderKind, name: string): Holder {
    let id = this.#byId.indexOf(undefined, FIRST_ID);
    if (id < 0) id = this.#byId.length;
    if (id >= HOLDERS_MAX) {
      throw new WeirError(
        "ERR_WEIR_LIMIT",
        `there are ${HOLDERS_MAX} holders of buffers already; use fewer queues`,
      );
    }
    const holder: Holder = { id, kind, name };
    this.#byId[id] = holder;
    return holder;
  }

  /** Nothing may be held by it any more. */
  remove(holder: Holder): void {
    this.#byId[holder.id] = undefined;
  }

  get(id: number): Holder | undefined {
    return this.#byId[id];
  }

  all(): Holder[] {
    return this.#byId.filter((holder) => holder !== undefined);
  }
}

/** Where a thread counts returns that it refused. One row of words per thread. */
export const FAULT_DOUBLE_RETURN = 0;
/** Given back by someone who does not hold it. */
export const FAULT_FOREIGN_RETURN = 1;
/** A number that is no buffer at all. */
export const FAULT_BAD_HANDLE = 2;
/** Offered for transmission by someone who does not hold it. */
export const FAULT_FOREIGN_SEND = 3;
/** Cloned by someone who does not hold it. */
export const FAULT_FOREIGN_CLONE = 4;
export const FAULT_WORDS = 16;
export const FAULT_NAMES = [
  "doubleReturns",
  "foreignReturns",
  "badHandles",
  "foreignSends",
  "foreignClones",
] as const;
