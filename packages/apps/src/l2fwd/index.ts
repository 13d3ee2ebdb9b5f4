/**
 * l2fwd: what arrives on one port of a pair leaves through the other, as in DPDK's example of that name.
 *
 * This file is the whole of what happens to a frame. The options are in options.ts, what is printed in screen.ts.
 */
import { app, macWords, type Plan } from "@weir/core";
import { L2FWD_OPTIONS, type L2fwdShared, planL2fwd } from "./options.js";
import { Screen } from "./screen.js";

const BURST = 32;

let screen: Screen;

export default app<L2fwdShared>({
  name: "l2fwd",
  summary: "Forwards between pairs of ports: what arrives on one leaves through the other.",
  options: L2FWD_OPTIONS,

  setup(env): Plan<L2fwdShared> {
    const { plan, json } = planL2fwd(env);
    screen = new Screen(json);
    return plan;
  },

  lcore({ port, ports, rx, txTo, frames, shared }) {
    const target = shared.destination[port.id];
    const tx = txTo(target);
    const burst = new Uint32Array(BURST);
    // As DPDK's l2fwd: from the port that sends, to 02:00:00:00:00 and that port's number.
    const source = (ports[target] as { mac: Uint8Array }).mac;
    const { w0, w1, w2 } = macWords(Uint8Array.of(2, 0, 0, 0, 0, target), source);

    return () => {
      const n = rx.burst(burst, BURST);
      if (shared.updateMacs) frames.writeMacsBurst(burst, n, w0, w1, w2);
      if (n > 0) tx.burstOrFree(burst, n);
    };
  },

  onPeriod: (status) => screen.period(status),
  onEnd: (status) => screen.end(status),
});
