/** Device side: the simulated devices that can meet on a wire. One per stepped run; in a threaded process the thread's. */
import type { Backend, BackendSpec } from "./backend.js";
import { captureBackend } from "./capture-backend.js";
import type { DeviceSpec } from "./device-link.js";
import { DeviceLog } from "./device-log.js";
import { Faults } from "./faults.js";
import { SimDevice } from "./sim-device.js";
import { tapBackend } from "./tap-backend.js";
import { VirtioPci } from "./virtio/transport.js";
import { VirtioNet } from "./virtio-net/device.js";
import { loopBackend, noBackend, Wire } from "./wire.js";

/** One vector for each queue, and one for configuration changes. */
export function vectorsFor(spec: DeviceSpec): number {
  return 2 * spec.net.pairs + 2;
}

export class Machine {
  readonly #devices = new Set<SimDevice>();
  readonly #wires = new Map<string, Wire>();

  get size(): number {
    return this.#devices.size;
  }

  /** @param deliver gets interrupts, when the step that raised them is over */
  create(spec: DeviceSpec, deliver: (vector: number) => void): SimDevice {
    const log = new DeviceLog(spec.name);
    const faults = new Faults(spec.faults, spec.seed);
    const backend = this.#backend(spec.backend);
    const { region } = spec;
    const { dieAt } = spec.faults;
    const options = { region, vectors: vectorsFor(spec), deliver };
    const device = new SimDevice(
      log,
      dieAt === undefined ? options : { ...options, dieAt },
      (host) =>
        new VirtioPci(host, {
          deviceType: (virtio) => new VirtioNet(virtio, spec.net, backend),
          faults,
          resetReads: spec.net.resetReads,
        }),
    );
    this.#devices.add(device);
    return device;
  }

  remove(device: SimDevice): void {
    if (this.#devices.delete(device)) device.close();
  }

  /** A step of each device, in the order of their creation; true when any had something to do. */
  step(): boolean {
    let worked = false;
    for (const device of this.#devices) worked = device.step() || worked;
    return worked;
  }

  /** Frames that a wire had no room for. */
  wireDrops(name: string): number {
    return this.#wires.get(name)?.drops ?? 0;
  }

  #backend(spec: BackendSpec): Backend {
    switch (spec.kind) {
      case "none":
        return noBackend();
      case "loop":
        return loopBackend();
      case "tap":
        return tapBackend(spec.fd);
      case "capture":
        return captureBackend(spec);
      case "wire": {
        for (const [name, wire] of this.#wires) if (wire.unused) this.#wires.delete(name);
        const wire = this.#wires.get(spec.name) ?? new Wire(spec.name);
        this.#wires.set(spec.name, wire);
        return wire.attach();
      }
    }
  }
}
