/**
 * The control queue (VIRTIO 1.2, 5.1.6.5). Lifetime path: ctl alone uses it, one command at a time, and waits for each.
 */
import { type Clock, WeirError } from "@weir/core";
import {
  AVAIL_FLAGS_IDX,
  AVAIL_RING,
  DESC_ADDR_HIGH,
  DESC_ADDR_LOW,
  DESC_FLAGS_NEXT,
  DESC_LEN,
  DESC_WORDS,
  STATUS_DEVICE_NEEDS_RESET,
  USED_FLAGS_IDX,
  USED_RING,
  VIRTIO_NET_CTRL_ANNOUNCE,
  VIRTIO_NET_CTRL_ANNOUNCE_ACK,
  VIRTIO_NET_CTRL_MAC,
  VIRTIO_NET_CTRL_MAC_ADDR_SET,
  VIRTIO_NET_CTRL_MAC_TABLE_SET,
  VIRTIO_NET_CTRL_MQ,
  VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
  VIRTIO_NET_CTRL_RX,
  VIRTIO_NET_CTRL_RX_ALLMULTI,
  VIRTIO_NET_CTRL_RX_PROMISC,
  VIRTIO_NET_CTRL_VLAN,
  VIRTIO_NET_CTRL_VLAN_ADD,
  VIRTIO_NET_CTRL_VLAN_DEL,
  VIRTIO_NET_OK,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
} from "./layout.js";
import type { QueueMemory, QueueRings, QueueWish } from "./queue-memory.js";
import type { Doorbell, Transport } from "./transport.js";

/** Entries that are enough for one command at a time. */
const SIZE = 16;
/** A command has two descriptors: what the device reads, and its answer. */
const SIZE_MIN = 2;
/** Time that a device may take for a command, and between two looks for its answer. */
const COMMAND_MS = 1000;
const LOOK_MS = 0.1;
/** Class, command and data of the longest command. */
const COMMAND_BYTES_MAX = 1024;
const ACK_AT = COMMAND_BYTES_MAX;
const EXTRA_BYTES: number = COMMAND_BYTES_MAX + 16;
/** What `ack` holds until the device writes it: neither OK nor ERR. */
const NO_ANSWER = 0xff;
/** Addresses in a MAC table, unicast and multicast together. */
export const MAC_TABLE_MAX = 128;

/** What a control queue needs on a device that allows `sizeMax` entries. */
export function controlWish(name: string, sizeMax: number): QueueWish {
  if (sizeMax < SIZE_MIN)
    throw new WeirError("EPROTO", `${name} offers a control queue of ${sizeMax} entries`);
  return { size: Math.min(SIZE, sizeMax), extraBytes: EXTRA_BYTES };
}

export class ControlQueue {
  readonly #transport: Transport;
  readonly #memory: QueueMemory;
  readonly #rings: QueueRings;
  readonly #doorbell: Doorbell;
  readonly #clock: Clock;
  /** Settles with the command before: they run one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  /** Commands made available, modulo 2^16; each takes the next two descriptors of the ring, as IN_ORDER wants (2.7.5). */
  #offered = 0;
  /** A command was not answered: its memory is the device's until a reset. */
  #stuck = false;
  /** Counts resets: a command that was under way at one is over. */
  #epoch = 0;

  constructor(
    transport: Transport,
    memory: QueueMemory,
    rings: QueueRings,
    doorbell: Doorbell,
    clock: Clock,
  ) {
    this.#transport = transport;
    this.#memory = memory;
    this.#rings = rings;
    this.#doorbell = doorbell;
    this.#clock = clock;
  }

  /** The device was reset: what was under way is cancelled, and the memory may go. */
  cancel(): void {
    this.#epoch++;
  }

  /** The device was reset and its rings are empty. */
  begin(): void {
    this.cancel();
    this.#offered = 0;
    this.#stuck = false;
    this.#memory.view.i32[this.#rings.available / 4 + AVAIL_FLAGS_IDX] = VIRTQ_AVAIL_F_NO_INTERRUPT;
  }

  /** 5.1.6.5.6 */
  setQueuePairs(pairs: number): Promise<void> {
    return this.#command(
      "set its queue pairs",
      VIRTIO_NET_CTRL_MQ,
      VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
      [pairs & 0xff, pairs >>> 8],
    );
  }

  /** 5.1.6.5.1 */
  setPromiscuous(on: boolean): Promise<void> {
    return this.#command("set promiscuous mode", VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, [
      on ? 1 : 0,
    ]);
  }

  /** 5.1.6.5.1 */
  setAllMulticast(on: boolean): Promise<void> {
    return this.#command(
      "set all-multicast mode",
      VIRTIO_NET_CTRL_RX,
      VIRTIO_NET_CTRL_RX_ALLMULTI,
      [on ? 1 : 0],
    );
  }

  /** 5.1.6.5.2: the address that the device receives for. */
  setMac(mac: Uint8Array): Promise<void> {
    return this.#command(
      "set its MAC address",
      VIRTIO_NET_CTRL_MAC,
      VIRTIO_NET_CTRL_MAC_ADDR_SET,
      mac,
    );
  }

  /** 5.1.6.5.2: addresses that it receives for beside its own. */
  async setMacTable(addresses: readonly Uint8Array[]): Promise<void> {
    if (addresses.length > MAC_TABLE_MAX) {
      throw new WeirError(
        "ENOSPC",
        `${this.#transport.name} takes ${MAC_TABLE_MAX} MAC addresses at most; use promiscuous mode`,
      );
    }
    const isMulticast = (mac: Uint8Array): boolean => (mac[0] & 1) === 1;
    const table = (macs: readonly Uint8Array[]): number[] => [
      ...[macs.length, 0, 0, 0],
      ...macs.flatMap((mac) => [...mac]),
    ];
    await this.#command("set its MAC table", VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, [
      ...table(addresses.filter((mac) => !isMulticast(mac))),
      ...table(addresses.filter(isMulticast)),
    ]);
  }

  /** 5.1.6.5.3: receives frames with this VLAN id, or no longer. */
  setVlan(id: number, on: boolean): Promise<void> {
    const command = on ? VIRTIO_NET_CTRL_VLAN_ADD : VIRTIO_NET_CTRL_VLAN_DEL;
    return this.#command("set its VLAN filter", VIRTIO_NET_CTRL_VLAN, command, [
      id & 0xff,
      id >>> 8,
    ]);
  }

  /** 5.1.6.5.4: the driver has seen that it is to announce itself. */
  acknowledgeAnnounce(): Promise<void> {
    return this.#command(
      "note an announcement",
      VIRTIO_NET_CTRL_ANNOUNCE,
      VIRTIO_NET_CTRL_ANNOUNCE_ACK,
      [],
    );
  }

  /** Rejects with a WeirError: EIO the device refuses, ETIMEDOUT it does not answer, EPROTO nonsense, ENODEV it is gone. */
  #command(what: string, kind: number, command: number, data: ArrayLike<number>): Promise<void> {
    const run = (): Promise<void> => this.#run(what, kind, command, data);
    const done = this.#last.then(run, run);
    this.#last = done;
    return done;
  }

  async #run(what: string, kind: number, command: number, data: ArrayLike<number>): Promise<void> {
    const { name } = this.#transport;
    if (this.#stuck) {
      throw new WeirError(
        "EIO",
        `${name} cannot ${what}: it has not answered an earlier command; restart it`,
      );
    }
    const { u8, i32 } = this.#memory.view;
    const { size, extra, used } = this.#rings;
    u8[extra] = kind;
    u8[extra + 1] = command;
    u8.set(data, extra + 2);
    u8[extra + ACK_AT] = NO_ANSWER;
    const head = (2 * this.#offered) & (size - 1);
    this.#submit(head, 2 + data.length);
    this.#stuck = true; // until it is answered
    const epoch = this.#epoch;
    const deadline = this.#clock.now() + COMMAND_MS;
    // Acquires: the answer was written before the index moved.
    while (Atomics.load(i32, used / 4 + USED_FLAGS_IDX) >>> 16 !== this.#offered) {
      this.#check();
      if (this.#clock.now() >= deadline)
        throw new WeirError("ETIMEDOUT", `${name} did not ${what} within ${COMMAND_MS} ms`);
      await this.#clock.sleep(LOOK_MS);
      if (epoch !== this.#epoch)
        throw new WeirError("ECANCELED", `${name} was stopped before it could ${what}`);
    }
    const entry = used / 4 + USED_RING + 2 * ((this.#offered - 1) & (size - 1));
    if (i32[entry] !== head)
      throw new WeirError("EPROTO", `${name} answered another command when told to ${what}`);
    this.#stuck = false;
    if (u8[extra + ACK_AT] !== VIRTIO_NET_OK)
      throw new WeirError("EIO", `${name} refuses to ${what}`);
  }

  /** Makes the command in the buffer available, and says so. */
  #submit(head: number, bytes: number): void {
    const { i32, u16 } = this.#memory.view;
    const { size, descriptors, available, used, extra } = this.#rings;
    const answer = (head + 1) & (size - 1);
    this.#describe(descriptors, head, extra, bytes, VIRTQ_DESC_F_NEXT | (answer << 16));
    this.#describe(descriptors, answer, extra + ACK_AT, 1, VIRTQ_DESC_F_WRITE);
    u16[available / 2 + AVAIL_RING + (this.#offered & (size - 1))] = head;
    this.#offered = (this.#offered + 1) & 0xffff;
    // Orders the descriptors before the index, and the index before the load of the flags (2.7.13).
    const word = (this.#offered << 16) | VIRTQ_AVAIL_F_NO_INTERRUPT;
    Atomics.store(i32, available / 4 + AVAIL_FLAGS_IDX, word);
    if ((Atomics.load(i32, used / 4 + USED_FLAGS_IDX) & VIRTQ_USED_F_NO_NOTIFY) === 0)
      this.#transport.notify(this.#doorbell);
  }

  #describe(table: number, id: number, at: number, bytes: number, flagsNext: number): void {
    const { i32 } = this.#memory.view;
    const word = table / 4 + id * DESC_WORDS;
    const iova = this.#memory.iova(at);
    i32[word + DESC_ADDR_LOW] = Number(iova & 0xffffffffn);
    i32[word + DESC_ADDR_HIGH] = Number(iova >> 32n);
    i32[word + DESC_LEN] = bytes;
    i32[word + DESC_FLAGS_NEXT] = flagsNext;
  }

  /** Throws when the device is gone or has given up: there will be no answer. */
  #check(): void {
    if ((this.#transport.status() & STATUS_DEVICE_NEEDS_RESET) !== 0)
      throw new WeirError("EIO", `${this.#transport.name} has failed and needs a reset`);
  }
}
