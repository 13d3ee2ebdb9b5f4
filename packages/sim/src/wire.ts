/** What is behind a card and needs nothing of the system: a wire to another card, the card itself, or nobody. */
import { WeirError } from "@weir/core";
import { type Backend, type Frame, FrameQueue } from "./backend.js";

/** Frames under way in one direction. */
const WIRE_FRAMES_MAX = 256;

/** Joins two cards. A frame that finds the queue full is dropped, and counted here. */
export class Wire {
  readonly name: string;
  readonly #queues: readonly [FrameQueue, FrameQueue] = [
    new FrameQueue(WIRE_FRAMES_MAX),
    new FrameQueue(WIRE_FRAMES_MAX),
  ];
  readonly #ends: (WireEnd | undefined)[] = [undefined, undefined];

  constructor(name: string) {
    this.name = name;
  }

  get drops(): number {
    return this.#queues[0].drops + this.#queues[1].drops;
  }

  get unused(): boolean {
    return this.#ends.every((end) => end === undefined);
  }

  /** @throws WeirError EBUSY when it has two ends already */
  attach(): Backend {
    const side = this.#ends.indexOf(undefined);
    if (side < 0)
      throw new WeirError(
        "EBUSY",
        `wire=${this.name} joins two cards already: give this one another name`,
      );
    const [left, right] = this.#queues;
    const [out, into] = side === 0 ? [left, right] : [right, left];
    const end = new WireEnd(out, into, () => {
      this.#ends[side] = undefined;
      while (into.length > 0) into.take();
    });
    this.#ends[side] = end;
    return end;
  }
}

class WireEnd implements Backend {
  readonly completesCsum = true;
  readonly finished = false;
  readonly #out: FrameQueue;
  readonly #in: FrameQueue;
  readonly #detach: () => void;

  constructor(out: FrameQueue, into: FrameQueue, detach: () => void) {
    this.#out = out;
    this.#in = into;
    this.#detach = detach;
  }

  send(frame: Frame): boolean {
    return this.#out.put(frame);
  }

  flush(): number {
    return 0;
  }

  peek(): Frame | undefined {
    return this.#in.peek();
  }

  take(): void {
    this.#in.take();
  }

  close(): void {
    this.#detach();
  }
}

/** What is sent comes back. */
export function loopBackend(): Backend {
  const queue = new FrameQueue(WIRE_FRAMES_MAX);
  return {
    completesCsum: true,
    finished: false,
    send: (frame) => queue.put(frame),
    flush: () => 0,
    peek: () => queue.peek(),
    take: () => queue.take(),
    close: () => undefined,
  };
}

/** No cable: what is sent vanishes, and the card has counted it. */
export function noBackend(): Backend {
  return {
    completesCsum: true,
    finished: false,
    send: () => true,
    flush: () => 0,
    peek: () => undefined,
    take: () => undefined,
    close: () => undefined,
  };
}
