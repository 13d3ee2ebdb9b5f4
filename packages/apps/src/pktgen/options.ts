/** Lifetime path: pktgen's options and the plan that they make. */
import {
  formatMac,
  maskBits,
  type OptionTable,
  type Plan,
  type PortInfo,
  parseMac,
  type SetupEnv,
  type Status,
  usageError,
  wholeNumber,
} from "@weir/core";
import { loadCapture } from "@weir/drivers";
import { FRAME_SIZE_MAX, FRAME_SIZE_MIN, udpFrame } from "./udp-frame.js";

const FRAME_SIZE = 64;
/** Time for the last frames to come back. */
const SETTLE_SECONDS = 0.3;

export const PKTGEN_OPTIONS: OptionTable = {
  portmask: {
    type: "string",
    short: "p",
    value: "MASK",
    help: "ports that send, as a hexadecimal mask (default: all); every port counts what it receives",
  },
  pcap: {
    type: "string",
    short: "s",
    multiple: true,
    value: "PORT:FILE",
    help: "sends this capture out of the port",
  },
  loop: { type: "string", value: "N", help: "sends a capture N times (default: until the end)" },
  timing: { type: "boolean", help: "sends a capture with the times it was recorded with" },
  size: {
    type: "string",
    value: "BYTES",
    help: `size of generated frames, with their 4 bytes of FCS as Pktgen counts (default: ${FRAME_SIZE})`,
  },
  destination: {
    type: "string",
    value: "MAC",
    help: "destination address of generated frames (default: that of the port)",
  },
  rate: {
    type: "string",
    value: "PPS",
    help: "frames per second and port, such as 10000, 250k or 1.5M (default: as fast as it goes)",
  },
  count: { type: "string", value: "N", help: "ends after N frames per port" },
  run: { type: "string", value: "SECONDS", help: "ends after so long" },
  json: { type: "boolean", help: "prints one JSON object at the end, and nothing else on stdout" },
};

/** What a port sends: frames as ranges of bytes, over and over, `count` in all. */
export interface Source {
  readonly bytes: SharedArrayBuffer;
  readonly offsets: Uint32Array;
  readonly lengths: Uint32Array;
  readonly timesNs: Float64Array;
  readonly count: number;
  readonly originalTiming: boolean;
}

export interface PktgenShared {
  /** By port. */
  readonly sources: readonly Source[];
  /** Per port; 0: no limit. */
  readonly framesPerSecond: number;
}

export interface PktgenPlan {
  readonly plan: Plan<PktgenShared>;
  readonly json: boolean;
  /** When the last frame was sent or came back, for a run that ends by its count; 0 for others. */
  readonly activeSeconds: () => number;
}

/** @throws WeirError usage, or what loading a capture throws */
export function planPktgen({ ports, lcores, options }: SetupEnv): PktgenPlan {
  const text = (name: string): string | undefined => options[name] as string | undefined;
  const mask = text("portmask");
  const senders = mask === undefined ? ports.map(({ id }) => id) : maskBits("-p", mask);
  const missing = senders.find((id) => ports[id] === undefined);
  if (missing !== undefined)
    throw usageError(
      `-p ${mask} names port ${missing}, and the ports are 0 to ${ports.length - 1}`,
    );

  const captures = parseCaptures((options.pcap as string[] | undefined) ?? [], ports);
  const run = text("run");
  const seconds = run === undefined ? undefined : positive("--run", run);
  const count = text("count");
  const most =
    count === undefined
      ? Number.POSITIVE_INFINITY
      : wholeNumber("--count", count, Number.MAX_SAFE_INTEGER, 1);
  const loop = text("loop");
  const rounds =
    loop === undefined ? Number.POSITIVE_INFINITY : wholeNumber("--loop", loop, 2 ** 32, 1);
  if (captures.size === 0 && (loop !== undefined || options.timing === true))
    throw usageError("--loop and --timing are for captures: give one with -s PORT:FILE");
  const size = wholeNumber(
    "--size",
    text("size") ?? String(FRAME_SIZE),
    FRAME_SIZE_MAX,
    FRAME_SIZE_MIN,
  );
  const destination = text("destination");
  if (destination !== undefined && parseMac(destination) === undefined)
    throw usageError(`--destination ${destination} is not a MAC address such as 02:00:00:00:00:01`);

  const sources = ports.map((port): Source => {
    if (!senders.includes(port.id)) return { ...NOTHING, count: 0 };
    const file = captures.get(port.id);
    if (file === undefined) {
      const frame = udpFrame({
        size,
        source: formatMac(port.mac),
        destination: destination ?? formatMac(port.mac),
        port: port.id,
      });
      return { ...oneFrame(frame), count: most };
    }
    const capture = loadCapture(file);
    if (capture.frames === 0)
      throw usageError(`-s ${port.id}:${file}: the capture has no frame to send`);
    return {
      ...capture,
      count: Math.min(most, rounds * capture.frames),
      originalTiming: options.timing === true,
    };
  });

  const rate = text("rate");
  const target = sources.map((source) => source.count);
  const json = options.json === true;
  const settled = new Settled(target);
  return {
    json,
    activeSeconds: () => settled.activeSeconds,
    plan: {
      routes: ports.map(({ id }, i) => ({
        port: id,
        queue: 0,
        lcore: lcores[i % lcores.length],
        sendsTo: [id],
      })),
      shared: { sources, framesPerSecond: rate === undefined ? 0 : parseRate(rate) },
      endsWithSources: false,
      periodSeconds: json ? 0 : 1,
      ...(seconds === undefined ? {} : { seconds }),
      ...(target.every(Number.isFinite) ? { done: (status: Status) => settled.done(status) } : {}),
    },
  };
}

const NOTHING = {
  bytes: new SharedArrayBuffer(0),
  offsets: new Uint32Array(0),
  lengths: new Uint32Array(0),
  timesNs: new Float64Array(0),
  originalTiming: false,
};

function oneFrame(frame: Uint8Array): Omit<Source, "count"> {
  const bytes = new SharedArrayBuffer(frame.length);
  new Uint8Array(bytes).set(frame);
  return {
    ...NOTHING,
    bytes,
    offsets: Uint32Array.of(0),
    lengths: Uint32Array.of(frame.length),
    timesNs: Float64Array.of(0),
  };
}

/** Tells when every port has sent its target and nothing has come back for a while. */
class Settled {
  readonly #target: readonly number[];
  #received = -1;
  activeSeconds = 0;

  constructor(target: readonly number[]) {
    this.#target = target;
  }

  done({ ports, elapsedSeconds }: Status): boolean {
    const received = ports.reduce((sum, { rx }) => sum + rx, 0);
    if (received !== this.#received || ports.some(({ tx }, i) => tx < this.#target[i])) {
      this.#received = received;
      this.activeSeconds = elapsedSeconds;
    }
    return elapsedSeconds - this.activeSeconds >= SETTLE_SECONDS;
  }
}

function parseCaptures(given: readonly string[], ports: readonly PortInfo[]): Map<number, string> {
  const captures = new Map<number, string>();
  for (const text of given) {
    const match = /^(\d+):(.+)$/.exec(text);
    if (match === null) throw usageError(`-s ${text} is not PORT:FILE, such as 0:frames.pcap`);
    const port = Number(match[1]);
    if (ports[port] === undefined)
      throw usageError(`-s ${text} names port ${port}, and the ports are 0 to ${ports.length - 1}`);
    if (captures.has(port))
      throw usageError(`-s gives port ${port} two captures: merge them with mergecap`);
    captures.set(port, match[2]);
  }
  return captures;
}

/** "250k" frames per second. */
function parseRate(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kM]?)$/.exec(text);
  const value =
    match === null ? 0 : Number(match[1]) * (match[2] === "M" ? 1e6 : match[2] === "k" ? 1e3 : 1);
  if (value <= 0)
    throw usageError(
      `--rate ${text} is not a number of frames per second above 0, such as 10000, 250k or 1.5M`,
    );
  return value;
}

function positive(option: string, text: string): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value <= 0)
    throw usageError(`${option} ${text} is not a number of seconds above 0`);
  return value;
}
