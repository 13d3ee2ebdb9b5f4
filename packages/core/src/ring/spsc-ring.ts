/**
 * A bounded ring of u32 handles in shared memory, one producer and one consumer, in bulk: between two lcores.
 *
 * Each side owns one free-running index and keeps a private copy of the other's, which it reads again only when the
 * copy says full or empty; so in the steady state the two indices' cache lines move once per burst or less.
 */
import { assert } from "../errors.js";
import { specialise } from "../specialise.js";

export interface SpscRingImage {
  readonly words: SharedArrayBuffer;
  readonly entries: SharedArrayBuffer;
}

/** Data path; one thread only. Stage entries with `push`, at most as many as `room` said, then `publish` them together. */
export interface SpscProducer {
  /** How many of `n` entries surely fit. */
  room(n: number): number;
  push(handle: number): void;
  publish(): void;
}

/** Data path; one thread only. Take entries with `pop`, at most as many as `ready` said, then `release` their places together. */
export interface SpscConsumer {
  /** How many entries, at most `n`, are there. */
  ready(n: number): number;
  pop(): number;
  release(): void;
}

const HEAD = 0; // the producer's: entries ever put in
const TAIL = 16; // the consumer's, on its own cache line: entries ever taken out
const WORDS = 32;
const CAPACITY_MAX: number = 2 ** 30;

/** @param capacity entries, a power of two */
export function createSpscRing(capacity: number): SpscRingImage {
  assert(
    capacity > 0 && capacity <= CAPACITY_MAX && (capacity & (capacity - 1)) === 0,
    `a ring of ${capacity}`,
  );
  return { words: new SharedArrayBuffer(WORDS * 4), entries: new SharedArrayBuffer(capacity * 4) };
}

export function attachSpscProducer(image: SpscRingImage, name: string): SpscProducer {
  return specialise(spscProducer, constants(image), name);
}

export function attachSpscConsumer(image: SpscRingImage, name: string): SpscConsumer {
  return specialise(spscConsumer, constants(image), name);
}

interface SpscConstants {
  words: Int32Array;
  entries: Uint32Array;
  MASK: number;
  HEAD: number;
  TAIL: number;
}

function constants(image: SpscRingImage): SpscConstants {
  const entries = new Uint32Array(image.entries);
  return { words: new Int32Array(image.words), entries, MASK: entries.length - 1, HEAD, TAIL };
}

function spscProducer(k: SpscConstants): SpscProducer {
  const { words, entries, MASK, HEAD, TAIL } = k;
  let head = Atomics.load(words, HEAD);
  let seenTail = Atomics.load(words, TAIL);

  return {
    room(n) {
      let room = (MASK + 1 + seenTail - head) | 0;
      if (room < n) {
        // Pairs with the consumer's release: the entries before this tail were read out.
        seenTail = Atomics.load(words, TAIL);
        room = (MASK + 1 + seenTail - head) | 0;
      }
      return n < room ? n : room;
    },
    push(handle) {
      entries[head & MASK] = handle;
      head = (head + 1) | 0;
    },
    publish() {
      // The entry stores of `push` come before this one for the consumer that loads it.
      Atomics.store(words, HEAD, head);
    },
  };
}

function spscConsumer(k: SpscConstants): SpscConsumer {
  const { words, entries, MASK, HEAD, TAIL } = k;
  let tail = Atomics.load(words, TAIL);
  let seenHead = Atomics.load(words, HEAD);

  return {
    ready(n) {
      let ready = (seenHead - tail) | 0;
      if (ready < n) {
        // Pairs with the producer's publishing store: the entries before this head are complete.
        seenHead = Atomics.load(words, HEAD);
        ready = (seenHead - tail) | 0;
      }
      return n < ready ? n : ready;
    },
    pop() {
      const handle = entries[tail & MASK];
      tail = (tail + 1) | 0;
      return handle;
    },
    release() {
      // The entry loads of `pop` come before this one for the producer that loads it.
      Atomics.store(words, TAIL, tail);
    },
  };
}
