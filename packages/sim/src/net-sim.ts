/** net_sim: a simulated card as a port. Lifetime path. */
import { closeSync } from "node:fs";
import {
  type EthDevice,
  type IovaRange,
  numberArgument,
  type PciDriver,
  type ProbeEnv,
  parseMac,
  randomMac,
  type SteppedHost,
  usageError,
  type VdevDriver,
  type VdevSpec,
} from "@weir/core";
import { createCapture, openCapture, openTap } from "@weir/drivers";
import type { BackendSpec } from "./backend.js";
import { type FaultOptions, NO_FAULTS, parseFaults } from "./faults.js";
import { usableRanges } from "./iommu.js";
import type { SimFunction } from "./sim-function.js";
import { type SimFunctionOptions, SimMachine, threadedFunction } from "./sim-machine.js";
import { NET_DEFAULTS, type NetOptions } from "./virtio-net/options.js";

const MODELS = ["virtio-net"];
const PAIRS_MAX = 64;
const QUEUE_SIZE_MAX = 32_768;
/** 1.2 5.1.4.1 */
const MTU_MIN = 68;
/** The longest frame less its header and two VLAN tags. */
const MTU_MAX: number = 9728 - 14 - 8;
const SEED_MAX: number = 2 ** 32 - 1;
const STEPS_MAX: number = 2 ** 40;
/** No four-level IOMMU goes further. */
const IOVA_MAX: bigint = (1n << 48n) - 1n;

/** One machine for each stepped run: its cards can meet on a wire. */
const machines = new WeakMap<SteppedHost, SimMachine>();

/** @param drivers of PCI functions; the first that matches the simulated one drives it */
export function netSim(drivers: readonly PciDriver[]): VdevDriver {
  return {
    prefix: "net_sim",
    parameters: [
      "model",
      "wire",
      "tap",
      "rx_pcap",
      "tx_pcap",
      "infinite_rx",
      "loop",
      "queues",
      "queue_size",
      "mtu",
      "mac",
      "mrg_rxbuf",
      "in_order",
      "event_idx",
      "indirect",
      "csum",
      "aperture",
      "faults",
      "die-at",
      "seed",
    ],
    probe: (spec, env) => probe(spec, env, drivers),
  };
}

function probe(spec: VdevSpec, env: ProbeEnv, drivers: readonly PciDriver[]): EthDevice {
  const model = spec.args.get("model") ?? "virtio-net";
  if (!MODELS.includes(model))
    throw usageError(
      `--vdev ${spec.name}: there is no model=${model}; known are ${MODELS.join(", ")}`,
    );
  const net = netArguments(spec);
  const faults = faultArguments(spec);
  const ranges = apertureArgument(spec);
  const seed = numberArgument(spec, "seed", { min: 0, max: SEED_MAX, fallback: -1 });
  const { backend, close } = openBackend(spec, net.mtu ?? 0);
  const options: SimFunctionOptions = {
    name: spec.name,
    net,
    backend,
    faults,
    ranges,
    onClose: close,
    ...(seed < 0 ? {} : { seed }),
  };
  let fn: SimFunction;
  try {
    fn = create(options, env);
  } catch (error) {
    close();
    throw error;
  }
  try {
    const driver = drivers.find((each) => each.matches(fn.ids));
    if (driver === undefined) {
      const known = drivers.map(({ name }) => name).join(", ") || "none";
      throw usageError(`--vdev ${spec.name}: no driver for model=${model}; there are ${known}`);
    }
    const device: Mutable<EthDevice> = driver.probe(fn, spec);
    device.simulated = true;
    if (backend.kind === "capture" && !backend.infinite) {
      // The card's queues cannot know that what is behind it has ended: the card's owner does.
      device.finite = true;
      device.exhausted = () => !fn.alive || fn.report.finished || fn.report.dead;
    }
    return device;
  } catch (error) {
    fn.close();
    throw error;
  }
}

function create(options: SimFunctionOptions, { stepped }: ProbeEnv): SimFunction {
  if (stepped === undefined) {
    const net = { ...options.net, mac: options.net?.mac ?? randomMac() };
    return threadedFunction({ ...options, net }, Math.floor(Math.random() * SEED_MAX));
  }
  const machine = machines.get(stepped) ?? new SimMachine(stepped);
  machines.set(stepped, machine);
  return machine.create(options);
}

function netArguments(spec: VdevSpec): Partial<NetOptions> {
  const number = (key: string, min: number, max: number, fallback: number): number =>
    numberArgument(spec, key, { min, max, fallback });
  const on = (key: string, fallback: boolean): boolean => number(key, 0, 1, fallback ? 1 : 0) === 1;
  const queueSize = number("queue_size", 2, QUEUE_SIZE_MAX, NET_DEFAULTS.queueSize);
  if ((queueSize & (queueSize - 1)) !== 0)
    throw usageError(
      `--vdev ${spec.name}: queue_size=${queueSize} is not a power of two, such as 256`,
    );
  const mtu = number("mtu", MTU_MIN, MTU_MAX, 0);
  const macText = spec.args.get("mac");
  const mac = macText === undefined ? undefined : parseMac(macText);
  if (macText !== undefined && (mac === undefined || (mac[0] & 1) === 1))
    throw usageError(
      `--vdev ${spec.name}: mac=${macText} is not the address of one interface, such as 02:00:00:00:00:01`,
    );
  return {
    pairs: number("queues", 1, PAIRS_MAX, NET_DEFAULTS.pairs),
    queueSize,
    mrgRxbuf: on("mrg_rxbuf", NET_DEFAULTS.mrgRxbuf),
    inOrder: on("in_order", NET_DEFAULTS.inOrder),
    eventIdx: on("event_idx", NET_DEFAULTS.eventIdx),
    indirect: on("indirect", NET_DEFAULTS.indirect),
    csum: on("csum", NET_DEFAULTS.csum),
    ...(mtu === 0 ? {} : { mtu }),
    ...(mac === undefined ? {} : { mac }),
  };
}

function faultArguments(spec: VdevSpec): FaultOptions {
  const text = spec.args.get("faults");
  const options = text === undefined ? NO_FAULTS : parseFaults(text, spec.name);
  const dieAt = numberArgument(spec, "die-at", { min: 1, max: STEPS_MAX, fallback: 0 });
  return dieAt === 0 ? options : { ...options, dieAt };
}

/** `200000-3fffffff`, with or without 0x. */
function apertureArgument(spec: VdevSpec): readonly IovaRange[] {
  const text = spec.args.get("aperture");
  if (text === undefined) return usableRanges();
  const parts = /^(?:0x)?([0-9a-f]{1,16})-(?:0x)?([0-9a-f]{1,16})$/i.exec(text);
  const [first, last] = [BigInt(`0x${parts?.[1] ?? 0}`), BigInt(`0x${parts?.[2] ?? 0}`)];
  if (parts === null || first >= last || last > IOVA_MAX)
    throw usageError(
      `--vdev ${spec.name}: aperture=${text} is not LOW-HIGH in hexadecimal, such as 0x200000-0x3fffffff`,
    );
  return usableRanges(first, last);
}

/** Opens what is behind the card; `close` is its opposite, once. */
function openBackend(spec: VdevSpec, mtu: number): { backend: BackendSpec; close: () => void } {
  const { args } = spec;
  const kinds = [
    args.has("wire"),
    args.has("tap"),
    args.has("rx_pcap") || args.has("tx_pcap"),
    numberArgument(spec, "loop", { min: 0, max: 1, fallback: 0 }) === 1,
  ];
  if (kinds.filter(Boolean).length > 1)
    throw usageError(
      `--vdev ${spec.name}: one thing is behind a card: wire=, tap=, rx_pcap= with tx_pcap=, or loop=1`,
    );
  const infinite = numberArgument(spec, "infinite_rx", { min: 0, max: 1, fallback: 0 }) === 1;
  const nothing = (): void => undefined;
  const [wire, tap, capture, loop] = kinds;
  if (wire) return { backend: { kind: "wire", name: args.get("wire") ?? "" }, close: nothing };
  if (tap) {
    const { fd } = openTap(spec, "tap", args.get("tap") ?? "", { mtu });
    return { backend: { kind: "tap", fd }, close: () => closeSync(fd) };
  }
  if (loop) return { backend: { kind: "loop" }, close: nothing };
  if (!capture) return { backend: { kind: "none" }, close: nothing };
  const [rxPath, txPath] = [args.get("rx_pcap"), args.get("tx_pcap")];
  const rx = rxPath === undefined ? undefined : openCapture(rxPath);
  if (infinite && (rx === undefined || rx.frames === 0))
    throw usageError(`--vdev ${spec.name}: infinite_rx=1 needs an rx_pcap with at least one frame`);
  const txFd = txPath === undefined ? -1 : createCapture(spec.name, txPath);
  return {
    backend: { kind: "capture", rx, infinite, txFd },
    close: txFd < 0 ? nothing : () => closeSync(txFd),
  };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
