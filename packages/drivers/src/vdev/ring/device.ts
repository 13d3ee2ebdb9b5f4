/** net_ring: each queue's send side is joined to its receive side by a ring, as DPDK's ring PMD. Lifetime path. */
import {
  createSpscRing,
  type EthDevice,
  numberArgument,
  randomMac,
  type SpscRingImage,
  usageError,
  type VdevDriver,
} from "@weir/core";

const QUEUES_MAX = 16;
/** As DPDK's ring PMD. */
const ENTRIES = 1024;
const ENTRIES_MAX: number = 2 ** 20;

export const netRing: VdevDriver = {
  prefix: "net_ring",
  parameters: ["size"],
  probe(spec): EthDevice {
    const entries = numberArgument(spec, "size", { min: 2, max: ENTRIES_MAX, fallback: ENTRIES });
    if ((entries & (entries - 1)) !== 0)
      throw usageError(`--vdev ${spec.name}: size=${entries} is not a power of two`);
    const module = new URL("./burst.js", import.meta.url).href;
    let rings: SpscRingImage[] = [];
    return {
      name: spec.name,
      driver: "net_ring",
      mac: randomMac(),
      rxQueuesMax: QUEUES_MAX,
      txQueuesMax: QUEUES_MAX,
      finite: false,
      configure({ rx, tx }) {
        if (tx > rx)
          throw usageError(
            `${spec.name}: ${tx} lcores send to it and ${rx} of its queues are polled; a ring that nobody polls would only fill up`,
          );
        rings = Array.from({ length: rx }, () => createSpscRing(entries));
      },
      rxQueue: (queue) => ({ module, params: rings[queue] }),
      txQueue: (queue) => ({ module, params: rings[queue], drainedElsewhere: true }),
      start: () => undefined,
      stop: () => undefined,
      close: () => undefined,
    };
  },
};
