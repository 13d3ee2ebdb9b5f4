/** The common configuration structure, register by register (1.2 4.1.4.3). */
import type { Width } from "@weir/core";

/** What the registers act on. `rule` records what a driver must not do, and returns true when it did. */
export interface CommonConfigTarget {
  featureWord(select: number): number;
  driverFeatureWord(select: number): number;
  setDriverFeatureWord(select: number, value: number): void;
  configVector: number;
  readonly queuesMax: number;
  readonly status: number;
  writeStatus(value: number): void;
  readonly generation: number;
  /** The one that `queue_select` names; undefined when there is none. */
  selectedQueue(select: number): QueueRegisters | undefined;
  checkVector(value: number): number;
  broken(kind: string, detail: string): void;
}

/** About one virtqueue. Addresses as two words, low one first (1.2 4.1.3). */
export interface QueueRegisters {
  readonly index: number;
  size: number;
  vector: number;
  enabled: boolean;
  readonly notifyOff: number;
  /** queue_desc, queue_driver, queue_device. */
  readonly addresses: Uint32Array;
  /** The driver may set it up now. */
  configurable(what: string): boolean;
  resize(value: number): void;
  enable(value: number): void;
  reset(value: number): void;
}

export interface Register {
  readonly name: string;
  readonly width: Width;
  read(): number;
  /** None: read-only for the driver. */
  write?(value: number): void;
}

export const COMMON_BYTES = 60;

const ADDRESS_NAMES = ["queue_desc", "queue_driver", "queue_device"];

/** The registers by their offset. Selectors live here: they start out as 0. */
export function commonRegisters(target: CommonConfigTarget): ReadonlyMap<number, Register> {
  let deviceSelect = 0;
  let driverSelect = 0;
  let queueSelect = 0;
  const queue = (): QueueRegisters | undefined => target.selectedQueue(queueSelect);
  const ofQueue = (name: string, change: (queue: QueueRegisters) => void): void => {
    const selected = queue();
    if (selected === undefined)
      target.broken("no-such-queue", `${name} of queue ${queueSelect} is written`);
    else change(selected);
  };

  const registers = new Map<number, Register>([
    [
      0,
      {
        name: "device_feature_select",
        width: 4,
        read: () => deviceSelect,
        write: (value) => {
          deviceSelect = value;
        },
      },
    ],
    [4, { name: "device_feature", width: 4, read: () => target.featureWord(deviceSelect) }],
    [
      8,
      {
        name: "driver_feature_select",
        width: 4,
        read: () => driverSelect,
        write: (value) => {
          driverSelect = value;
        },
      },
    ],
    [
      12,
      {
        name: "driver_feature",
        width: 4,
        read: () => target.driverFeatureWord(driverSelect),
        write: (value) => target.setDriverFeatureWord(driverSelect, value),
      },
    ],
    [
      16,
      {
        name: "config_msix_vector",
        width: 2,
        read: () => target.configVector,
        write: (value) => {
          target.configVector = target.checkVector(value);
        },
      },
    ],
    [18, { name: "num_queues", width: 2, read: () => target.queuesMax }],
    [
      20,
      {
        name: "device_status",
        width: 1,
        read: () => target.status,
        write: (value) => target.writeStatus(value),
      },
    ],
    [21, { name: "config_generation", width: 1, read: () => target.generation }],
    [
      22,
      {
        name: "queue_select",
        width: 2,
        read: () => queueSelect,
        write: (value) => {
          queueSelect = value;
        },
      },
    ],
    [
      24,
      {
        name: "queue_size",
        width: 2,
        read: () => queue()?.size ?? 0,
        write: (value) => ofQueue("queue_size", (selected) => selected.resize(value)),
      },
    ],
    [
      26,
      {
        name: "queue_msix_vector",
        width: 2,
        read: () => queue()?.vector ?? 0xffff,
        write: (value) =>
          ofQueue("queue_msix_vector", (selected) => {
            selected.vector = target.checkVector(value);
          }),
      },
    ],
    [
      28,
      {
        name: "queue_enable",
        width: 2,
        read: () => (queue()?.enabled ? 1 : 0),
        write: (value) => ofQueue("queue_enable", (selected) => selected.enable(value)),
      },
    ],
    [30, { name: "queue_notify_off", width: 2, read: () => queue()?.notifyOff ?? 0 }],
    // queue_notify_data (56) exists with NOTIF_CONFIG_DATA only, which is not offered
    [
      58,
      {
        name: "queue_reset",
        width: 2,
        read: () => 0, // a reset is over when the write returns
        write: (value) => ofQueue("queue_reset", (selected) => selected.reset(value)),
      },
    ],
  ]);
  for (let word = 0; word < 6; word++) {
    const name = `${ADDRESS_NAMES[word >>> 1]} (${word % 2 === 0 ? "low" : "high"} word)`;
    registers.set(32 + 4 * word, {
      name,
      width: 4,
      read: () => queue()?.addresses[word] ?? 0,
      write: (value) =>
        ofQueue(name, (selected) => {
          if (selected.configurable(name)) selected.addresses[word] = value;
        }),
    });
  }
  return registers;
}
