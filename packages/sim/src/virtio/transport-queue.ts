/** One virtqueue as the common configuration shows it (1.2 4.1.4.3), and the ring once it is enabled. */
import type { QueueRegisters } from "./common-config.js";
import { Completions } from "./completions.js";
import * as v from "./constants.js";
import type { VirtioDeviceType, VirtioHost } from "./device-type.js";
import { SplitRing } from "./split-ring.js";

export interface TransportQueueHost extends VirtioHost {
  readonly featuresOk: boolean;
  broken(kind: string, detail: string): void;
}

export class TransportQueue implements QueueRegisters {
  readonly index: number;
  readonly notifyOff: number;
  size: number;
  vector: number = v.NO_VECTOR;
  enabled = false;
  readonly addresses: Uint32Array = new Uint32Array(6);
  completions: Completions | undefined;
  readonly #sizeMax: number;
  readonly #host: TransportQueueHost;
  readonly #type: VirtioDeviceType;

  constructor(
    index: number,
    sizeMax: number,
    notifyOff: number,
    host: TransportQueueHost,
    type: VirtioDeviceType,
  ) {
    this.index = index;
    this.size = sizeMax;
    this.notifyOff = notifyOff;
    this.#sizeMax = sizeMax;
    this.#host = host;
    this.#type = type;
  }

  configurable(what: string): boolean {
    const { featuresOk } = this.#host;
    if (!featuresOk)
      this.#broken("queue-before-features-ok", what); // 1.2 3.1.1, step 7
    else if (this.enabled) this.#broken("queue-changed-while-enabled", what); // 1.2 4.1.4.3.2
    return featuresOk && !this.enabled;
  }

  resize(value: number): void {
    if (!this.configurable("queue_size")) return;
    if (value === 0 || (value & (value - 1)) !== 0 || value > this.#sizeMax) {
      this.#broken("queue-size", `${value} of at most ${this.#sizeMax}`); // 1.2 4.1.4.3.2
      return;
    }
    this.size = value;
  }

  enable(value: number): void {
    if (value !== 1) {
      this.#broken("queue-enable-value", `${value}`); // 1.2 4.1.4.3.2
      return;
    }
    if (!this.configurable("queue_enable")) return;
    const [desc = 0, driver = 0, device = 0] = [0, 2, 4].map(
      (i) => this.addresses[i + 1] * 2 ** 32 + this.addresses[i],
    );
    // 1.2 2.7.1
    if (desc % v.DESC_ALIGN !== 0 || driver % v.AVAIL_ALIGN !== 0 || device % v.USED_ALIGN !== 0) {
      this.#broken("queue-alignment", `${desc} ${driver} ${device}`);
      return;
    }
    const { dma, faults } = this.#host;
    const ring = new SplitRing(dma, {
      size: this.size,
      desc,
      driver,
      device,
      eventIdx: this.#host.accepted(v.F_EVENT_IDX),
      inOrder: this.#host.accepted(v.F_IN_ORDER),
      indirect: this.#host.accepted(v.F_INDIRECT_DESC),
    });
    this.enabled = true;
    this.completions = new Completions(ring, faults);
    this.#type.enable(this.index, this.completions);
  }

  /** 1.2 2.6.1 */
  reset(value: number): void {
    if (value !== 1 || !this.#host.accepted(v.F_RING_RESET)) {
      this.#broken("queue-reset", `${value} is written`);
      return;
    }
    this.clear();
  }

  /** Back to what it is after a reset (1.2 4.1.4.3.1). */
  clear(): void {
    if (this.enabled) this.#type.disable(this.index);
    this.enabled = false;
    this.completions = undefined;
    this.size = this.#sizeMax;
    this.vector = v.NO_VECTOR;
    this.addresses.fill(0);
  }

  #broken(kind: string, detail: string): void {
    this.#host.broken(kind, `queue ${this.index}: ${detail}`);
  }
}
