/** Lifetime path: what follows from a plan's routes. A send queue for each lcore that sends to a port, so that none has two writers. */
import { usageError } from "../errors.js";
import type { EthDevice } from "../ethdev/device.js";
import type { PortInfo, Route } from "./app.js";

export function portInfo(id: number, device: EthDevice): PortInfo {
  return { id, name: device.name, driver: device.driver, mac: device.mac, finite: device.finite };
}

/** The lcores that send to a port, ascending: each has a send queue of its own there. */
export function senders(port: number, routes: readonly Route[]): number[] {
  const lcores = routes.filter(({ sendsTo }) => sendsTo.includes(port)).map(({ lcore }) => lcore);
  return [...new Set(lcores)].sort((a, b) => a - b);
}

export function queueCounts(port: number, routes: readonly Route[]): { rx: number; tx: number } {
  const queues = routes.filter((route) => route.port === port).map(({ queue }) => queue);
  return { rx: Math.max(-1, ...queues) + 1, tx: senders(port, routes).length };
}

/** @throws WeirError usage */
export function checkRoutes(
  routes: readonly Route[],
  ports: readonly PortInfo[],
  lcores: readonly number[],
): void {
  const seen = new Set<string>();
  for (const { port, queue, lcore, sendsTo } of routes) {
    const key = `${port}/${queue}`;
    if (seen.has(key))
      throw usageError(`queue ${queue} of port ${port} is given to two lcores: a queue has one`);
    seen.add(key);
    if (!lcores.includes(lcore))
      throw usageError(`lcore ${lcore} is not among the lcores ${lcores.join(",")}: see -l`);
    for (const id of [port, ...sendsTo]) {
      if (ports[id] === undefined)
        throw usageError(`there is no port ${id}; the ports are 0 to ${ports.length - 1}`);
    }
  }
  if (routes.length === 0) throw usageError("no port is polled by any lcore");
}
