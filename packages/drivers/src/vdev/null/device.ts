/** net_null: receives frames that nobody sent and sends frames to nobody, as DPDK's null PMD. Lifetime path. */
import { DATA_ROOM, type EthDevice, numberArgument, randomMac, type VdevDriver } from "@weir/core";
import type { NullParams } from "./burst.js";

const QUEUES_MAX = 128;

export const netNull: VdevDriver = {
  prefix: "net_null",
  parameters: ["size", "copy", "no-rx"],
  probe(spec): EthDevice {
    const params: NullParams = {
      size: numberArgument(spec, "size", { min: 1, max: DATA_ROOM, fallback: 64 }),
      copy: numberArgument(spec, "copy", { min: 0, max: 1, fallback: 0 }) === 1,
      receives: numberArgument(spec, "no-rx", { min: 0, max: 1, fallback: 0 }) === 0,
    };
    const queue = { module: new URL("./burst.js", import.meta.url).href, params };
    return {
      name: spec.name,
      driver: "net_null",
      mac: randomMac(),
      rxQueuesMax: QUEUES_MAX,
      txQueuesMax: QUEUES_MAX,
      finite: false,
      configure: () => undefined,
      rxQueue: () => queue,
      txQueue: () => queue,
      start: () => undefined,
      stop: () => undefined,
      close: () => undefined,
    };
  },
};
