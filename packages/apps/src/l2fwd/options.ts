/** Lifetime path: l2fwd's options, with DPDK's names, and the plan that they make. */
import {
  maskBits,
  type OptionTable,
  type OptionValues,
  type Plan,
  type PortInfo,
  type Route,
  type SetupEnv,
  type Status,
  usageError,
  wholeNumber,
} from "@weir/core";

const DAY_SECONDS = 86400;
/** As DPDK's l2fwd. */
const PERIOD_SECONDS = 10;

export const L2FWD_OPTIONS: OptionTable = {
  portmask: {
    type: "string",
    short: "p",
    value: "MASK",
    help: "ports to use, as a hexadecimal mask (default: all)",
  },
  promiscuous: {
    type: "boolean",
    short: "P",
    help: "receives every frame; the ports here always do",
  },
  queues: {
    type: "string",
    short: "q",
    value: "N",
    help: "ports that one lcore polls (default: as many as it takes)",
  },
  period: {
    type: "string",
    short: "T",
    value: "SECONDS",
    help: `time between two screens, 0 for none (default: ${PERIOD_SECONDS}, on a terminal 1)`,
  },
  "no-mac-updating": { type: "boolean", help: "leaves the MAC addresses as they are" },
  "mac-updating": { type: "boolean", help: "sets the MAC addresses (the default)" },
  portmap: {
    type: "string",
    value: "MAP",
    help: "pairs of ports: '(0,1)(2,3)' (default: neighbours)",
  },
  duration: { type: "string", value: "SECONDS", help: "ends after so long" },
  count: { type: "string", value: "N", help: "ends after at least N frames were sent" },
  json: { type: "boolean", help: "prints one JSON object at the end, and nothing else on stdout" },
};

/** What an lcore needs to know. */
export interface L2fwdShared {
  /** By receiving port, the port that sends. */
  readonly destination: Readonly<Record<number, number>>;
  readonly updateMacs: boolean;
}

/** @throws WeirError usage */
export function planL2fwd({ ports, lcores, options }: SetupEnv): {
  plan: Plan<L2fwdShared>;
  json: boolean;
} {
  const json = options.json === true;
  const enabled = enabledPorts(text(options, "portmask"), ports);
  const map = text(options, "portmap");
  const destination = map === undefined ? pairNeighbours(enabled) : parsePortmap(map, enabled);
  const updateMacs = options["no-mac-updating"] !== true;
  if (!updateMacs && options["mac-updating"] === true)
    throw usageError("--mac-updating and --no-mac-updating exclude each other");
  const count = text(options, "count");
  const target =
    count === undefined ? undefined : wholeNumber("--count", count, Number.MAX_SAFE_INTEGER, 1);
  const period = text(options, "period");
  const fallback = process.stdout.isTTY ? 1 : PERIOD_SECONDS;
  const duration = text(options, "duration");
  const plan: Plan<L2fwdShared> = {
    routes: spread(enabled, destination, lcores, text(options, "queues")),
    shared: { destination, updateMacs },
    periodSeconds: json
      ? 0
      : period === undefined
        ? fallback
        : wholeNumber("-T", period, DAY_SECONDS),
    ...(duration === undefined ? {} : { seconds: seconds(duration) }),
    ...(target === undefined
      ? {}
      : { done: (status: Status) => status.ports.reduce((sum, { tx }) => sum + tx, 0) >= target }),
  };
  return { plan, json };
}

function text(options: OptionValues, name: string): string | undefined {
  return options[name] as string | undefined;
}

function seconds(duration: string): number {
  const value = Number(duration);
  if (!/^\d+(\.\d+)?$/.test(duration) || value <= 0)
    throw usageError(`--duration ${duration} is not a number of seconds above 0`);
  return value;
}

function enabledPorts(mask: string | undefined, ports: readonly PortInfo[]): number[] {
  if (mask === undefined) return ports.map(({ id }) => id);
  const bits = maskBits("-p", mask);
  const missing = bits.filter((bit) => ports[bit] === undefined);
  if (missing.length > 0) {
    throw usageError(
      `-p ${mask} names port ${missing.join(", ")}, and there ${ports.length === 1 ? "is only port 0" : `are only ports 0 to ${ports.length - 1}`}`,
    );
  }
  return bits;
}

/** Neighbours among the enabled ports; the last of an odd number is its own, as in DPDK. */
function pairNeighbours(enabled: readonly number[]): Record<number, number> {
  const destination: Record<number, number> = {};
  for (let i = 0; i < enabled.length; i += 2) {
    const a = enabled[i];
    const b = enabled[i + 1] ?? a;
    destination[a] = b;
    destination[b] = a;
  }
  return destination;
}

function parsePortmap(map: string, enabled: readonly number[]): Record<number, number> {
  const compact = map.replaceAll(/\s/g, "");
  if (!/^(\(\d+,\d+\))+$/.test(compact))
    throw usageError(`--portmap ${map} is not a list of pairs such as '(0,1)(2,3)'`);
  const destination: Record<number, number> = {};
  for (const [, left, right] of compact.matchAll(/\((\d+),(\d+)\)/g)) {
    const a = Number(left);
    const b = Number(right);
    for (const port of new Set([a, b])) {
      if (!enabled.includes(port))
        throw usageError(`--portmap ${map} names port ${port}, which is not enabled: see -p`);
      if (destination[port] !== undefined)
        throw usageError(`--portmap ${map} names port ${port} twice`);
    }
    destination[a] = b;
    destination[b] = a;
  }
  const left = enabled.find((port) => destination[port] === undefined);
  if (left !== undefined)
    throw usageError(`--portmap ${map} says nothing of port ${left}, which is enabled: see -p`);
  return destination;
}

/** Gives each port to an lcore: evenly, or `-q` ports to each in turn. */
function spread(
  enabled: readonly number[],
  destination: Record<number, number>,
  lcores: readonly number[],
  queues: string | undefined,
): Route[] {
  const each = queues === undefined ? undefined : wholeNumber("-q", queues, 16, 1);
  if (each !== undefined && Math.ceil(enabled.length / each) > lcores.length) {
    throw usageError(
      `-q ${each}: ${enabled.length} ports need ${Math.ceil(enabled.length / each)} lcores and there are ${lcores.length}: give more with -l, or a larger -q`,
    );
  }
  return enabled.map((port, i) => ({
    port,
    queue: 0,
    lcore: lcores[each === undefined ? i % lcores.length : Math.floor(i / each)],
    sendsTo: [destination[port]],
  }));
}
