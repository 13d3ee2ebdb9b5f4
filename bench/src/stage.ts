/** Packet memory, a pool and ports as a session makes them, with one lcore's half in the calling thread. */
import {
  attachFrames,
  attachRxQueue,
  attachTxQueue,
  audit,
  type Frames,
  type LcoreMemory,
  PacketMemory,
  type PoolCache,
  Port,
  type RxQueue,
  type TxQueue,
  type VdevDriver,
} from "@weir/core";
import { vdevs } from "@weir/drivers";

/** As a session's. */
const BUFFERS = 8192;
const CACHE_SIZE = 256;
const THREAD = 1;

export interface Stage {
  readonly memory: PacketMemory;
  readonly lcore: LcoreMemory;
  readonly cache: PoolCache;
  readonly frames: Frames;
  readonly ports: readonly AttachedPort[];
  /** A holder that nobody else uses. */
  readonly somebody: number;
  /** Stops the ports, takes everything back and says what the audit found. */
  readonly close: () => readonly string[];
}

export interface AttachedPort {
  readonly port: Port;
  readonly rx: RxQueue;
  readonly tx: TxQueue;
}

/** @param names devices, e.g. "net_null0" */
export async function openStage(
  names: readonly string[] = [],
  drivers: readonly VdevDriver[] = vdevs,
): Promise<Stage> {
  const memory = new PacketMemory({ threads: ["ctl", "lcore 1"] });
  const pool = memory.createPool({ name: "bench", buffers: BUFFERS, cacheSize: CACHE_SIZE });
  const somebody = memory.holders.add("ring", "somebody");
  const ports = names.map((name, id) => {
    const driver = drivers.find(({ prefix }) => name.startsWith(prefix));
    if (driver === undefined) throw new RangeError(`there is no driver for ${name}`);
    const port = new Port(id, driver.probe({ name, args: new Map() }, {}), memory);
    port.configure({ rx: 1, tx: 1 }, pool);
    return port;
  });
  const lcore = memory.attach(THREAD);
  const attached: AttachedPort[] = [];
  for (const port of ports) {
    await port.start();
    attached.push({
      port,
      rx: await attachRxQueue(port.rxQueues[0], lcore),
      tx: await attachTxQueue(port.txQueues[0], lcore),
    });
  }
  return {
    memory,
    lcore,
    cache: lcore.cache(pool.id),
    frames: attachFrames(lcore, pool.id),
    ports: attached,
    somebody: somebody.id,
    close() {
      for (const port of ports) port.stop();
      memory.takeBack(somebody);
      lcore.flush();
      for (const holder of memory.threadHolders.slice(THREAD)) memory.takeBack(holder);
      const { problems } = audit(memory);
      for (const port of ports) port.close();
      memory.close();
      return problems;
    },
  };
}
