/** What is behind a card: whoever takes the frames that it sends, and has those that it receives. */
import type { Capture } from "@weir/drivers";

/** A frame in somebody's memory; good until the next call to whom it came from. */
export interface Frame {
  bytes: Uint8Array;
  at: number;
  length: number;
  /** The checksum from `csumStart` on is to be completed, at `csumOffset` behind it (1.2 5.1.6.2). */
  needsCsum: boolean;
  csumStart: number;
  csumOffset: number;
}

/** The longest frame that a card moves, header included. */
export const FRAME_BYTES_MAX = 16_384;

export type BackendSpec =
  | { readonly kind: "none" }
  | { readonly kind: "loop" }
  | { readonly kind: "wire"; readonly name: string }
  | { readonly kind: "tap"; readonly fd: number }
  | {
      readonly kind: "capture";
      readonly rx: Capture | undefined;
      readonly infinite: boolean;
      /** -1: what is sent goes nowhere. */
      readonly txFd: number;
    };

export interface Backend {
  /** True: whoever gets the frame can complete a checksum itself. */
  readonly completesCsum: boolean;
  /** Takes a copy of the frame; false when it has no room. */
  send(frame: Frame): boolean;
  /** Ends a burst of `send`; returns how many of the burst's frames went nowhere after all. */
  flush(): number;
  /** The next frame for the card. It stays the next one until `take`. */
  peek(): Frame | undefined;
  take(): void;
  /** True when nothing will ever come any more. */
  readonly finished: boolean;
  close(): void;
}

export function emptyFrame(): Frame {
  return {
    bytes: new Uint8Array(0),
    at: 0,
    length: 0,
    needsCsum: false,
    csumStart: 0,
    csumOffset: 0,
  };
}

/** A bounded queue of frames, copied in and out. */
export class FrameQueue {
  readonly #bytes: Uint8Array;
  readonly #frames: Frame[] = [];
  #first = 0;
  #count = 0;
  /** Frames that found no room. */
  drops = 0;

  constructor(framesMax: number) {
    this.#bytes = new Uint8Array(framesMax * FRAME_BYTES_MAX);
    for (let i = 0; i < framesMax; i++)
      this.#frames.push({ ...emptyFrame(), bytes: this.#bytes, at: i * FRAME_BYTES_MAX });
  }

  get length(): number {
    return this.#count;
  }

  put(frame: Frame): boolean {
    const size = this.#frames.length;
    if (this.#count === size || frame.length > FRAME_BYTES_MAX) {
      this.drops++;
      return false;
    }
    const slot = this.#frames[(this.#first + this.#count) % size] as Frame;
    this.#bytes.set(frame.bytes.subarray(frame.at, frame.at + frame.length), slot.at);
    slot.length = frame.length;
    slot.needsCsum = frame.needsCsum;
    slot.csumStart = frame.csumStart;
    slot.csumOffset = frame.csumOffset;
    this.#count++;
    return true;
  }

  peek(): Frame | undefined {
    return this.#count === 0 ? undefined : this.#frames[this.#first];
  }

  take(): void {
    this.#first = (this.#first + 1) % this.#frames.length;
    this.#count--;
  }
}
