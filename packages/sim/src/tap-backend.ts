/** A tap behind a card: one native call for a burst in each direction, a system call for a frame. */
import { native } from "@weir/core";
import { type Backend, emptyFrame, FRAME_BYTES_MAX, type Frame } from "./backend.js";

const BURST_MAX = 32;

/** @param fd open and non-blocking; the caller's */
export function tapBackend(fd: number): Backend {
  const bytes = new Uint8Array(2 * BURST_MAX * FRAME_BYTES_MAX);
  const rxPositions = Uint32Array.from({ length: BURST_MAX }, (_, i) => i * FRAME_BYTES_MAX);
  const txPositions = rxPositions.map((position) => position + BURST_MAX * FRAME_BYTES_MAX);
  const rxLengths = new Uint32Array(BURST_MAX);
  const txLengths = new Uint32Array(BURST_MAX);
  const ones = new Uint8Array(BURST_MAX).fill(1);
  const status = new Int32Array(1);
  const frame: Frame = { ...emptyFrame(), bytes };
  let next = 0;
  let read = 0;
  let staged = 0;
  let lost = 0;

  const write = (): void => {
    for (let at = 0; at < staged; ) {
      const positions = txPositions.subarray(at);
      const lengths = txLengths.subarray(at);
      at += native.framesWrite(fd, bytes, positions, lengths, ones, staged - at, status);
      if (at < staged) {
        lost++; // full, or a frame that the interface does not carry: it does not stop those behind it
        at++;
      }
    }
    staged = 0;
  };

  return {
    completesCsum: false,
    finished: false,
    send(sent) {
      if (staged === BURST_MAX) write();
      bytes.set(sent.bytes.subarray(sent.at, sent.at + sent.length), txPositions[staged]);
      txLengths[staged++] = sent.length;
      return true;
    },
    flush() {
      write();
      const dropped = lost;
      lost = 0;
      return dropped;
    },
    peek() {
      if (next === read) {
        next = 0;
        read = native.framesRead(
          fd,
          bytes,
          rxPositions,
          1,
          FRAME_BYTES_MAX,
          BURST_MAX,
          rxLengths,
          status,
        );
        if (read === 0) return undefined;
      }
      frame.at = rxPositions[next];
      frame.length = rxLengths[next];
      return frame;
    },
    take() {
      next++;
    },
    close: () => undefined,
  };
}
