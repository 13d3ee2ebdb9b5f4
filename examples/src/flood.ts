/** A hub: every frame goes out of every other port. The copies share one buffer. */
import { app, type TxQueue } from "@weir/core";

const BURST = 32;

export default app({
  name: "flood",
  summary: "Sends every frame out of every port but the one it came in by.",

  setup({ ports, lcores }) {
    const others = (port: number): number[] =>
      ports.map(({ id }) => id).filter((id) => id !== port);
    const routes = ports.map(({ id }, i) => ({
      port: id,
      queue: 0,
      lcore: lcores[i % lcores.length],
      sendsTo: others(id),
    }));
    return { routes, shared: undefined };
  },

  lcore({ port, ports, rx, txTo, frames }) {
    const burst = new Uint32Array(BURST);
    const clones = new Uint32Array(BURST);
    const targets: TxQueue[] = ports.filter(({ id }) => id !== port.id).map(({ id }) => txTo(id));
    return () => {
      const n = rx.burst(burst, BURST);
      if (n === 0) return;
      for (let t = 0; t < targets.length; t++) {
        let cloned = 0;
        for (let i = 0; i < n; i++) {
          const clone = frames.clone(burst[i]);
          if (clone !== 0) clones[cloned++] = clone;
        }
        targets[t].burstOrFree(clones, cloned);
      }
      frames.freeBurst(burst, n);
    };
  },
});
