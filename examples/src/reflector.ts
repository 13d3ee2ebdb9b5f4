/** Sends every frame back to where it came from. */
import { app } from "@weir/core";

export default app({
  name: "reflector",
  summary:
    "Sends every frame back out of the port it came in by, with its MAC addresses exchanged.",

  lcore({ rx, tx, frames }) {
    const burst = new Uint32Array(32);
    return () => {
      const n = rx.burst(burst, 32);
      for (let i = 0; i < n; i++) frames.swapMacs(burst[i]);
      tx.burstOrFree(burst, n);
    };
  },
});
