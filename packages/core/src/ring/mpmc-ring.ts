/**
 * A bounded ring of u32 handles in shared memory, many producers and many consumers, in bulk.
 *
 * The scheme is that of rte_ring (DPDK programmer's guide, "Ring Library"): each side reserves a run of entries by a
 * compare-exchange on its head, moves the entries, and then publishes by moving its tail in the order of reservation.
 * A thread that is preempted between the two makes the others of its side wait, so it is for short bulk moves: a pool's
 * common store, never a queue between pipeline stages that may be long (see spsc-ring.ts).
 */
import { assert } from "../errors.js";
import { specialise } from "../specialise.js";

export interface MpmcRingImage {
  readonly words: SharedArrayBuffer;
  readonly entries: SharedArrayBuffer;
}

export interface MpmcRing {
  /** Moves up to `n` of `handles[at…]` in; returns how many fitted. Data path. */
  enqueue(handles: Uint32Array, at: number, n: number): number;
  /** Moves up to `n` out into `handles[at…]`; returns how many there were. Data path. */
  dequeue(handles: Uint32Array, at: number, n: number): number;
  /** Entries now; exact only while no other thread uses the ring. */
  count(): number;
  /** Every entry, oldest first; only while no other thread uses the ring. Lifetime path. */
  snapshot(): Uint32Array;
}

/** Each of the four indices on a cache line of its own: 16 words. */
const WORDS = 4 * 16;
const CAPACITY_MAX: number = 2 ** 30;

/** @param capacity entries, a power of two */
export function createMpmcRing(capacity: number): MpmcRingImage {
  assert(
    Number.isInteger(capacity) &&
      capacity > 0 &&
      capacity <= CAPACITY_MAX &&
      (capacity & (capacity - 1)) === 0,
    `a ring of ${capacity}`,
  );
  return { words: new SharedArrayBuffer(WORDS * 4), entries: new SharedArrayBuffer(capacity * 4) };
}

/** The ring as the calling thread uses it. */
export function attachMpmcRing(image: MpmcRingImage, name: string): MpmcRing {
  const entries = new Uint32Array(image.entries);
  return specialise(
    mpmcRing,
    { words: new Int32Array(image.words), entries, MASK: entries.length - 1 },
    name,
  );
}

function mpmcRing(k: { words: Int32Array; entries: Uint32Array; MASK: number }): MpmcRing {
  const PRODUCER_HEAD = 0;
  const PRODUCER_TAIL = 16;
  const CONSUMER_HEAD = 32;
  const CONSUMER_TAIL = 48;
  const { words, entries, MASK } = k;

  return {
    enqueue(handles, at, n) {
      let head: number;
      let moved: number;
      do {
        head = Atomics.load(words, PRODUCER_HEAD);
        // Orders this load before the entry stores below: the slots up to it were read out by their consumers.
        const room = (MASK + 1 + Atomics.load(words, CONSUMER_TAIL) - head) | 0;
        moved = n < room ? n : room;
        if (moved <= 0) return 0;
      } while (Atomics.compareExchange(words, PRODUCER_HEAD, head, (head + moved) | 0) !== head);
      for (let i = 0; i < moved; i++) entries[(head + i) & MASK] = handles[at + i];
      while (Atomics.load(words, PRODUCER_TAIL) !== head) {
        // an earlier producer is still storing its entries
      }
      // Publishes: the entry stores above come before this one for every consumer that loads the tail.
      Atomics.store(words, PRODUCER_TAIL, (head + moved) | 0);
      return moved;
    },

    dequeue(handles, at, n) {
      let head: number;
      let moved: number;
      do {
        head = Atomics.load(words, CONSUMER_HEAD);
        // Pairs with the producers' publishing store: the entries before the tail are complete.
        const ready = (Atomics.load(words, PRODUCER_TAIL) - head) | 0;
        moved = n < ready ? n : ready;
        if (moved <= 0) return 0;
      } while (Atomics.compareExchange(words, CONSUMER_HEAD, head, (head + moved) | 0) !== head);
      for (let i = 0; i < moved; i++) handles[at + i] = entries[(head + i) & MASK];
      while (Atomics.load(words, CONSUMER_TAIL) !== head) {
        // an earlier consumer is still reading its entries
      }
      // Releases: the entry loads above come before this one for the producers that load the tail.
      Atomics.store(words, CONSUMER_TAIL, (head + moved) | 0);
      return moved;
    },

    count() {
      return (Atomics.load(words, PRODUCER_TAIL) - Atomics.load(words, CONSUMER_TAIL)) | 0;
    },

    snapshot() {
      const tail = Atomics.load(words, CONSUMER_TAIL);
      const all = new Uint32Array((Atomics.load(words, PRODUCER_TAIL) - tail) | 0);
      for (let i = 0; i < all.length; i++) all[i] = entries[(tail + i) & MASK];
      return all;
    },
  };
}
