/**
 * Ports with the queues of virtio-net and no device behind them: the driver's own burst modules over rings in the arena,
 * which somebody else serves. 256 entries, mergeable buffers, no IN_ORDER.
 */
import type { Chunk, DeviceHost, DeviceQueue, EthDevice, VdevDriver } from "@weir/core";

const SIZE = 256;
// VIRTIO 1.2, 2.7: bytes of the parts, each on lines of its own as the driver places them
const DESCRIPTORS = 16 * SIZE;
const AVAILABLE = 640;
const USED = 2176;
const HEADERS = 16 * SIZE;
const DOORBELL = 128;
const FRAME_BYTES_MAX = 1514;

/** In bytes from the start of the arena. */
export interface Rings {
  readonly size: number;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  readonly extra: number;
}

/** What `params` of such a queue has for whoever serves it. */
export interface RingParams {
  readonly rings: Rings;
}

export const virtioRings: VdevDriver = {
  prefix: "net_rings",
  parameters: [],
  probe: ({ name }) => new RingsDevice(name),
};

class RingsDevice implements EthDevice {
  readonly name: string;
  readonly driver = "net_rings";
  readonly mac: Uint8Array = Uint8Array.of(2, 0, 0, 0, 0, 0);
  readonly rxQueuesMax = 1;
  readonly txQueuesMax = 1;
  readonly finite = false;
  readonly #epoch = new Int32Array(new SharedArrayBuffer(4));
  #made: { readonly chunk: Chunk; readonly host: DeviceHost } | undefined;

  constructor(name: string) {
    this.name = name;
  }

  configure(_queues: { readonly rx: number; readonly tx: number }, host: DeviceHost): void {
    const chunk = host.memory.arena.commitBytes(
      2 * (DESCRIPTORS + AVAILABLE + USED + HEADERS + DOORBELL),
    );
    host.space.map(chunk);
    this.#made = { chunk, host };
  }

  rxQueue(): DeviceQueue {
    return this.#queue("split-rx.js", 0);
  }

  txQueue(): DeviceQueue {
    return this.#queue("split-tx.js", 1);
  }

  start(): void {
    this.#epoch[0] = this.#epoch[0] + 1;
  }

  stop(): void {}

  close(): void {
    if (this.#made === undefined) return;
    const { chunk, host } = this.#made;
    this.#made = undefined;
    const mapping = host.space.mappings.get(chunk);
    if (mapping !== undefined) host.space.unmap(mapping);
    host.memory.arena.decommit(chunk);
  }

  #queue(module: string, index: number): DeviceQueue {
    if (this.#made === undefined) throw new Error(`${this.name} is not configured`);
    const { chunk, host } = this.#made;
    const descriptors =
      chunk.offset + index * (DESCRIPTORS + AVAILABLE + USED + HEADERS + DOORBELL);
    const available = descriptors + DESCRIPTORS;
    const used = available + AVAILABLE;
    const extra = used + USED;
    const { region } = host.memory.arena.image;
    return {
      // The driver's own modules, which its package keeps to itself.
      module: new URL(`virtio-net/${module}`, import.meta.resolve("@weir/drivers")).href,
      params: {
        rings: { size: SIZE, descriptors, available, used, extra } satisfies Rings,
        doorbell: {
          kind: "bar",
          bar: { region, offset: chunk.offset, bytes: chunk.bytes },
          offset: extra + HEADERS - chunk.offset,
          value: 1,
        },
        translation: host.space.translation,
        epoch: this.#epoch.buffer as SharedArrayBuffer,
        inOrder: false,
        mergeable: true,
        slotsPerBuffer: 1,
        checksums: false,
        frameBytesMax: FRAME_BYTES_MAX,
      },
    };
  }
}
