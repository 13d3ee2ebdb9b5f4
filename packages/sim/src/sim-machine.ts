/** Lifetime path: makes simulated functions, for a stepped run, for a test, or in the process's device thread. */
import { type IovaRange, native, Random, type SteppedHost } from "@weir/core";
import type { BackendSpec } from "./backend.js";
import type { DeviceLink, DeviceSpec } from "./device-link.js";
import { type FaultOptions, NO_FAULTS } from "./faults.js";
import { usableRanges } from "./iommu.js";
import { Machine } from "./machine.js";
import type { SimDevice } from "./sim-device.js";
import { REGION_BYTES } from "./sim-device.js";
import { SimFunction } from "./sim-function.js";
import { DeviceThread } from "./thread/device-thread.js";
import { NET_DEFAULTS, type NetOptions } from "./virtio-net/options.js";

export interface SimFunctionOptions {
  readonly name: string;
  readonly net?: Partial<NetOptions>;
  readonly backend?: BackendSpec;
  readonly faults?: FaultOptions;
  readonly seed?: number;
  /** IOVAs that it can use. */
  readonly ranges?: readonly IovaRange[];
  /** Called once when the function is closed, after its device touches nothing any more. */
  readonly onClose?: () => void;
}

/** Functions that are open, by name: where a test or an operator looks inside. */
const open = new Map<string, SimFunction>();

/** An open simulated device; undefined when there is none of that name. */
export function simulatedDevice(name: string): SimFunction | undefined {
  return open.get(name);
}

/** Simulated devices in the calling thread: nothing moves but by `step`, or by the scheduler that they are added to. */
export class SimMachine {
  readonly #machine = new Machine();
  readonly #random: Random;
  readonly #stepped: SteppedHost | undefined;

  /** @param source a seed, or a scheduler whose actors the devices become */
  constructor(source: number | SteppedHost) {
    this.#stepped = typeof source === "number" ? undefined : source;
    this.#random = typeof source === "number" ? new Random(source) : source.random;
  }

  create(options: SimFunctionOptions): SimFunction {
    let device: SimDevice | undefined;
    let leave = (): void => undefined;
    const fn = openFunction(options, this.#random.next(), (spec, onInterrupt) => {
      const made = this.#machine.create(spec, onInterrupt);
      device = made;
      return directLink(made, () => {
        leave();
        this.#machine.remove(made);
      });
    });
    leave = this.#stepped?.add({ name: options.name, step: () => device?.step() }) ?? leave;
    return fn;
  }

  /** A step of each device, in the order of their creation. */
  step(count = 1): void {
    for (let i = 0; i < count; i++) this.#machine.step();
  }

  /** Frames that a wire had no room for. */
  wireDrops(name: string): number {
    return this.#machine.wireDrops(name);
  }
}

/** A function whose device lives in the process's device thread. */
export function threadedFunction(options: SimFunctionOptions, seed: number): SimFunction {
  return openFunction(options, seed, (spec, onInterrupt) =>
    DeviceThread.current().create(spec, onInterrupt),
  );
}

function openFunction(
  options: SimFunctionOptions,
  seed: number,
  connect: (spec: DeviceSpec, onInterrupt: (vector: number) => void) => DeviceLink,
): SimFunction {
  const { name } = options;
  const random = new Random(options.seed ?? seed);
  const region = native.regionReserve(REGION_BYTES);
  let fn: SimFunction | undefined;
  try {
    const spec: DeviceSpec = {
      name,
      model: "virtio-net",
      region,
      seed: random.next(),
      net: { ...NET_DEFAULTS, mac: seededMac(random), ...options.net },
      backend: options.backend ?? { kind: "none" },
      faults: options.faults ?? NO_FAULTS,
    };
    const link = connect(spec, (vector) => fn?.interrupt(vector));
    fn = new SimFunction(name, link, region, options.ranges ?? usableRanges(), () => {
      if (open.get(name) === fn) open.delete(name);
      native.regionRevoke(region, 0, REGION_BYTES);
      native.regionRelease(region);
      options.onClose?.();
    });
  } catch (error) {
    native.regionRelease(region);
    throw error;
  }
  open.set(name, fn);
  return fn;
}

/** Locally administered, and the same under the same seed. */
function seededMac(random: Random): Uint8Array {
  const mac = Uint8Array.from({ length: 6 }, () => random.below(256));
  mac[0] = 0x02;
  return mac;
}

function directLink(device: SimDevice, remove: () => void): DeviceLink {
  return {
    alive: true,
    configRead: (...args) => device.configRead(...args),
    configWrite: (...args) => device.configWrite(...args),
    barRead: (...args) => device.barRead(...args),
    barWrite: (...args) => device.barWrite(...args),
    map: (...args) => device.map(...args),
    unmap: (...args) => device.unmap(...args),
    report: () => device.report(),
    command: (command) => device.command(command),
    remove,
  };
}
