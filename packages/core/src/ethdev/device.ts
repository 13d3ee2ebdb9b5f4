/**
 * Lifetime path: what a driver gives core, and how a driver is found by a device's name.
 */
import type { PciFunction, PciIds } from "../bus/pci-function.js";
import type { DmaTarget, Space } from "../dma/space.js";
import { usageError } from "../errors.js";
import type { PacketMemory } from "../mempool/packet-memory.js";
import type { Pool } from "../mempool/pool.js";
import type { Random } from "../random.js";

/** A device as its driver presents it. Verbs in pairs: configure/close, start/stop. */
export interface EthDevice {
  /** As the user wrote it, e.g. "net_tap0". */
  readonly name: string;
  readonly driver: string;
  readonly mac: Uint8Array;
  readonly rxQueuesMax: number;
  readonly txQueuesMax: number;
  /** Why a restriction on the queues exists, for the message when it is broken. */
  readonly queueLimitReason?: string;
  /** True when its receive side ends by itself, as a capture does. */
  readonly finite: boolean;
  /** Of a finite device whose queues cannot tell: whether everything that will ever come has been handed to them. */
  exhausted?(): boolean;
  /** Where its DMA goes through; none for a software port. */
  readonly dma?: DmaTarget;
  /**
   * Makes what the queues need. The pool's memory is mapped in the space already. @throws WeirError and leaves nothing behind
   */
  configure(queues: { readonly rx: number; readonly tx: number }, host: DeviceHost): void;
  /** The parts of a queue's image that the driver decides. After `configure`. */
  rxQueue(queue: number): DeviceQueue;
  txQueue(queue: number): DeviceQueue;
  /** It stands for hardware: what it carries in a second says nothing of any card. */
  readonly simulated?: boolean;
  /** It can be started again after a stop: its queues keep nothing of what was taken back from them. */
  readonly restartable?: boolean;
  /** Called on ctl before the lcores run, and awaited: a device may have to be told things that it takes its time for. */
  start(): void | Promise<void>;
  /** Called on ctl after the lcores stopped. */
  stop(): void;
  /** Releases everything; completes whatever fails, and throws the errors together then. Idempotent. */
  close(): void;
  /** Whether the link is up, where the device can tell. */
  linkUp?(): boolean;
}

/** What core lends a device for its queues. */
export interface DeviceHost {
  readonly memory: PacketMemory;
  /** The space of its port: rings are mapped there. */
  readonly space: Space;
  /** The pool that frames are received into. */
  readonly pool: Pool;
  readonly clock: Clock;
}

/** ctl's time. Under the stepped scheduler it is virtual, and devices go on only while ctl sleeps. */
export interface Clock {
  /** Milliseconds since some moment. */
  now(): number;
  sleep(ms: number): Promise<void>;
}

export interface DeviceQueue {
  readonly module: string;
  readonly params: unknown;
  /** Send only: what it holds is taken out by another lcore, so it is not to be taken back while that one runs. */
  readonly drainedElsewhere?: boolean;
}

/** A driver of virtual devices. */
export interface VdevDriver {
  /** What device names start with, e.g. "net_tap". */
  readonly prefix: string;
  /** Its arguments, for messages and `--help`. */
  readonly parameters: readonly string[];
  /** @throws WeirError when the device cannot be opened; nothing is left behind then */
  probe(spec: VdevSpec, env: ProbeEnv): EthDevice;
}

/** A driver of PCI functions. */
export interface PciDriver {
  readonly name: string;
  matches(ids: PciIds): boolean;
  /** Takes the function over; it is closed with the device. @throws WeirError with the function still the caller's */
  probe(pci: PciFunction, spec: VdevSpec): EthDevice;
}

/** How the process runs, for devices that have a life of their own. */
export interface ProbeEnv {
  /** Under the stepped scheduler: where a device adds itself as an actor. None: devices run in threads of their own. */
  readonly stepped?: SteppedHost;
}

export interface SteppedHost {
  readonly random: Random;
  /** Virtual milliseconds. */
  now(): number;
  /** Adds what is stepped when its turn comes. Returns its removal. */
  add(actor: { readonly name: string; step(): void }): () => void;
}

/** `net_pcap0,rx_pcap=a.pcap,tx_pcap=b.pcap` taken apart. */
export interface VdevSpec {
  readonly name: string;
  readonly args: ReadonlyMap<string, string>;
}

/** The driver for a `--vdev` argument, and the argument taken apart. @throws WeirError usage */
export function findVdev(
  text: string,
  drivers: readonly VdevDriver[],
): { driver: VdevDriver; spec: VdevSpec } {
  const [name = "", ...pairs] = text.split(",");
  const driver = drivers.find(
    ({ prefix }) => name.startsWith(prefix) && /^\d*$/.test(name.slice(prefix.length)),
  );
  if (driver === undefined) {
    const known = drivers.map(({ prefix }) => `${prefix}N`).join(", ");
    throw usageError(`--vdev ${name}: there is no such device; known are ${known}`);
  }
  const args = new Map<string, string>();
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    const key = at < 0 ? pair : pair.slice(0, at);
    if (at < 0 || !driver.parameters.includes(key)) {
      const known = driver.parameters.map((parameter) => `${parameter}=`).join(" ");
      throw usageError(
        `--vdev ${name}: "${pair}" is not an argument of ${driver.prefix}; it takes ${known || "none"}`,
      );
    }
    if (args.has(key)) throw usageError(`--vdev ${name}: ${key}= is given twice`);
    args.set(key, pair.slice(at + 1));
  }
  return { driver, spec: { name, args } };
}

/** A whole number among a device's arguments. @throws WeirError usage */
export function numberArgument(
  spec: VdevSpec,
  key: string,
  range: { min: number; max: number; fallback: number },
): number {
  const text = spec.args.get(key);
  if (text === undefined) return range.fallback;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < range.min || value > range.max) {
    throw usageError(
      `--vdev ${spec.name}: ${key}=${text} is not a whole number from ${range.min} to ${range.max}`,
    );
  }
  return value;
}
