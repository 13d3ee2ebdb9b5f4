/** Captures behind a card: the frames of one arrive, what is sent is written into another. */
import { native } from "@weir/core";
import { PCAP_RECORD_HEADER_BYTES, writePcapRecordHeader } from "@weir/drivers";
import {
  type Backend,
  type BackendSpec,
  emptyFrame,
  FRAME_BYTES_MAX,
  type Frame,
} from "./backend.js";

const BURST_MAX = 32;

/** The fd is the caller's. */
export function captureBackend(spec: BackendSpec & { readonly kind: "capture" }): Backend {
  const { rx, infinite, txFd } = spec;
  const frames = rx?.frames ?? 0;
  const incoming: Frame = {
    ...emptyFrame(),
    bytes: new Uint8Array(rx?.bytes ?? new SharedArrayBuffer(0)),
  };
  const stage = new Uint8Array(BURST_MAX * (PCAP_RECORD_HEADER_BYTES + FRAME_BYTES_MAX));
  const status = new Int32Array(1);
  let next = 0;
  let to = 0;
  let staged = 0;
  let broken = false;
  let lost = 0;

  const write = (): void => {
    // A record that is cut ends the file: what comes later is lost, and counted.
    if (!broken && native.bytesWrite(txFd, stage, 0, to, status) < to) broken = true;
    if (broken) lost += staged;
    to = 0;
    staged = 0;
  };

  return {
    completesCsum: false,
    get finished() {
      return !infinite && next >= frames;
    },
    send(frame) {
      if (txFd < 0) return true;
      if (staged === BURST_MAX) write();
      const now = performance.timeOrigin + performance.now();
      const seconds = Math.floor(now / 1000);
      const nanoseconds = Math.floor((now - seconds * 1000) * 1e6);
      to = writePcapRecordHeader(stage, to, seconds, nanoseconds, frame.length, frame.length);
      stage.set(frame.bytes.subarray(frame.at, frame.at + frame.length), to);
      to += frame.length;
      staged++;
      return true;
    },
    flush() {
      if (staged > 0) write();
      const dropped = lost;
      lost = 0;
      return dropped;
    },
    peek() {
      if (next === frames && infinite) next = 0;
      if (rx === undefined || next >= frames) return undefined;
      incoming.at = rx.offsets[next];
      incoming.length = rx.lengths[next];
      return incoming;
    },
    take() {
      next++;
    },
    close: () => undefined,
  };
}
