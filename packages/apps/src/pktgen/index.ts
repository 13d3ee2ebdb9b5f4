/**
 * pktgen: sends generated UDP frames or a capture out of its ports, at a rate, and counts what comes back.
 *
 * This file is what happens to frames; the options are in options.ts, the generated frame in udp-frame.ts.
 */
import { app, type Plan } from "@weir/core";
import { PKTGEN_OPTIONS, type PktgenShared, planPktgen, type Source } from "./options.js";
import { Report } from "./report.js";

const BURST = 32;

let report: Report;

export default app<PktgenShared>({
  name: "pktgen",
  summary: "Sends generated frames or a capture, at a rate, and counts what comes back.",
  options: PKTGEN_OPTIONS,

  setup(env): Plan<PktgenShared> {
    const { plan, json, activeSeconds } = planPktgen(env);
    report = new Report(json, activeSeconds);
    return plan;
  },

  lcore({ port, rx, tx, frames, now: clock, shared }) {
    const received = new Uint32Array(BURST);
    const staged = new Uint32Array(BURST);
    const source = shared.sources[port.id] as Source;
    const { bytes, offsets, lengths, timesNs } = source;
    const content = new Uint8Array(bytes);
    const count = lengths.length;
    const limit = source.count;
    const framesPerMs = shared.framesPerSecond / 1000;
    let at = 0; // the source's next frame
    let made = 0; // frames made so far
    let pending = 0; // made, and not taken by the queue yet
    let startMs = -1;
    let roundMs = 0;

    /** How many frames the clock allows by now. */
    function due(): number {
      const now = clock();
      if (startMs < 0) {
        startMs = now;
        roundMs = now;
      }
      if (source.originalTiming) {
        let n = 0;
        while (n < BURST && at + n < count && (timesNs[at + n] - timesNs[0]) / 1e6 <= now - roundMs)
          n++;
        return n;
      }
      if (framesPerMs === 0) return BURST;
      return Math.floor((now - startMs) * framesPerMs) + 1 - made;
    }

    return () => {
      const back = rx.burst(received, BURST);
      if (back > 0) frames.freeBurst(received, back);

      if (pending === 0 && made < limit) {
        const allowed = Math.min(BURST, due(), limit - made);
        while (pending < allowed) {
          const handle = frames.fromBytes(content, offsets[at], lengths[at]);
          if (handle === 0) break; // dry: buffers come back as what was sent is reaped
          staged[pending++] = handle;
          if (++at === count) {
            at = 0;
            roundMs = clock();
          }
        }
        made += pending;
      }
      if (pending > 0) {
        // What the queue does not take is sent again next turn: a generator drops nothing.
        const sent = tx.burst(staged, pending);
        staged.copyWithin(0, sent, pending);
        pending -= sent;
      } else tx.burst(staged, 0); // reaps
    };
  },

  onPeriod: (status) => report.period(status),
  onEnd: (status) => report.end(status),
});
