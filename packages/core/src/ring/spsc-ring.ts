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

/** Data path; one thread only. Stage entries with `pushBurst`, at most as many as `room` said, then `publish` them together. */
export interface SpscProducer {
  /** How many of `n` entries surely fit. */
  room(n: number): number;
  push(handle: number): void;
  pushBurst(handles: Uint32Array, n: number): void;
  publish(): void;
}

/** Data path; one thread only. Take entries with `popBurst`, at most as many as `ready` said, then `release` their places together. */
export interface SpscConsumer {
  /** How many entries, at most `n`, are there. */
  ready(n: number): number;
  pop(): number;
  popBurst(handles: Uint32Array, n: number): void;
  release(): void;
}

const HEAD = 0; // the producer's: entries ever put in
const TAIL = 16; // the consumer's, on its own cache line: entries ever taken out
const WORDS = 32;
const CAPACITY_MAX: number = 2 ** 30;

/** @param capacity entries, a power of two */
export function createSpscRing(capacity: number): SpscRingImage {
  assert(
    Number.isInteger(capacity) &&
      capacity > 0 &&
      capacity <= CAPACITY_MAX &&
      (capacity & (capacity - 1)) === 0,
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
    pushBurst(handles, n) {
      // The free-running index in a local: in the closure it would be loaded and stored once per entry.
      const from = head;
      for (let i = 0; i < n; i++) entries[(from + i) & MASK] = handles[i];
      head = (from + n) | 0;
    },
    publish() {
      // The entry stores of `pushBurst` come before this one for the consumer that loads it.
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
    popBurst(handles, n) {
      const from = tail;
      for (let i = 0; i < n; i++) handles[i] = entries[(from + i) & MASK];
      tail = (from + n) | 0;
    },
    release() {
      // The entry loads of `popBurst` come before this one for the producer that loads it.
      Atomics.store(words, TAIL, tail);
    },
  };
}
