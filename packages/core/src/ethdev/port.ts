/**
 * Lifetime path: a port, one device with its queues, their holders, its space and its statistics.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { Space } from "../dma/space.js";
import { assert, usageError } from "../errors.js";
import type { Holder } from "../mempool/ledger.js";
import type { PacketMemory } from "../mempool/packet-memory.js";
import type { Pool } from "../mempool/pool.js";
import type { Clock, EthDevice } from "./device.js";
import { formatMac } from "./mac.js";
import {
  PORT_RUNNING,
  PORT_STATE,
  PORT_STOPPED,
  QUEUE_ERRNO,
  QUEUE_FINISHED,
  QUEUE_WORDS_BYTES,
  type QueueImage,
  STAT_BYTES,
  STAT_DROPPED,
  STAT_ERRORS,
  STAT_PACKETS,
  STATS,
} from "./queue.js";

export type PortState = "configured" | "running" | "stopped" | "closed";

/** Frames and bytes since the port was made. */
export interface PortStats {
  readonly rx: number;
  readonly rxBytes: number;
  /** Received frames that found no buffer. */
  readonly rxNoBuffer: number;
  readonly rxErrors: number;
  readonly tx: number;
  readonly txBytes: number;
  /** Frames for this port that its queues did not take. */
  readonly dropped: number;
  readonly txErrors: number;
}

interface Queue {
  readonly image: QueueImage;
  readonly holder: Holder;
}

const REAL_CLOCK: Clock = {
  now: () => performance.now(),
  sleep: async (ms) => {
    await sleep(ms);
  },
};

export class Port {
  readonly id: number;
  readonly device: EthDevice;
  readonly space: Space;
  #state: PortState = "configured";
  readonly #words = new Int32Array(new SharedArrayBuffer(64));
  readonly #rx: Queue[] = [];
  readonly #tx: Queue[] = [];
  readonly #memory: PacketMemory;
  readonly #clock: Clock;

  constructor(id: number, device: EthDevice, memory: PacketMemory, clock: Clock = REAL_CLOCK) {
    this.id = id;
    this.device = device;
    this.#memory = memory;
    this.#clock = clock;
    this.space = new Space(device.name, memory.arena, device.dma);
  }

  get name(): string {
    return this.device.name;
  }

  get macText(): string {
    return formatMac(this.device.mac);
  }

  get state(): PortState {
    return this.#state;
  }

  get rxQueues(): readonly QueueImage[] {
    return this.#rx.map(({ image }) => image);
  }

  get txQueues(): readonly QueueImage[] {
    return this.#tx.map(({ image }) => image);
  }

  /** Makes the queues and maps the pool's memory for the device. Opposite: `close`. @throws WeirError */
  configure(queues: { readonly rx: number; readonly tx: number }, pool: Pool): void {
    const { device } = this;
    for (const side of ["rx", "tx"] as const) {
      const max = side === "rx" ? device.rxQueuesMax : device.txQueuesMax;
      if (queues[side] <= max) continue;
      const why = device.queueLimitReason === undefined ? "" : `: ${device.queueLimitReason}`;
      throw usageError(
        `${device.name} has at most ${max} ${side} queues and ${queues[side]} are needed${why}`,
      );
    }
    for (const chunk of pool.chunks) this.space.map(chunk);
    device.configure(queues, {
      memory: this.#memory,
      space: this.space,
      pool,
      clock: this.#clock,
    });
    for (let q = 0; q < queues.rx; q++) this.#rx.push(this.#queue("rxq", q, pool.id));
    for (let q = 0; q < queues.tx; q++) this.#tx.push(this.#queue("txq", q, pool.id));
  }

  /** Lets bursts move frames. Opposite: `stop`. Started again only where the device can be: see EthDevice. */
  async start(): Promise<void> {
    const startable =
      this.#state === "configured" ||
      (this.#state === "stopped" && this.device.restartable === true);
    assert(startable, `start of ${this.name}, which is ${this.#state}`);
    await this.device.start();
    Atomics.store(this.#words, PORT_STATE, PORT_RUNNING);
    this.#state = "running";
  }

  /** From now on bursts move nothing: they give 0 once each lcore has passed a quiescent point. */
  block(): void {
    Atomics.store(this.#words, PORT_STATE, PORT_STOPPED);
  }

  /** Stops the device and takes back what its queues hold. Every lcore must have passed since `block`. */
  stop(): void {
    this.block();
    if (this.#state !== "running") return;
    this.#state = "stopped";
    this.device.stop();
    for (const { holder } of [...this.#rx, ...this.#tx]) this.#memory.takeBack(holder);
  }

  /** Releases the device, its mappings and its holders; completes whatever fails. Idempotent. @throws AggregateError */
  close(): void {
    if (this.#state === "closed") return;
    const errors: unknown[] = [];
    const attempt = (step: () => void): void => {
      try {
        step();
      } catch (error) {
        errors.push(error);
      }
    };
    attempt(() => this.stop());
    this.#state = "closed";
    attempt(() => this.device.close());
    attempt(() => this.space.close());
    for (const { holder } of [...this.#rx.splice(0), ...this.#tx.splice(0)]) {
      attempt(() => this.#memory.holders.remove(holder));
    }
    if (errors.length > 0)
      throw new AggregateError(errors, `${this.name} could not be closed cleanly`);
  }

  stats(): PortStats {
    const rx = sumStats(this.#rx);
    const tx = sumStats(this.#tx);
    return {
      rx: rx[STAT_PACKETS],
      rxBytes: rx[STAT_BYTES],
      rxNoBuffer: rx[STAT_DROPPED],
      rxErrors: rx[STAT_ERRORS],
      tx: tx[STAT_PACKETS],
      txBytes: tx[STAT_BYTES],
      dropped: tx[STAT_DROPPED],
      txErrors: tx[STAT_ERRORS],
    };
  }

  /** True when every receive queue, or the device, has said that nothing more will come. */
  get finished(): boolean {
    if (this.device.exhausted !== undefined) return this.#rx.length > 0 && this.device.exhausted();
    return (
      this.#rx.length > 0 &&
      this.#rx.every(
        ({ image }) => Atomics.load(new Int32Array(image.memory), QUEUE_FINISHED) === 1,
      )
    );
  }

  /** Queues that gave up for good, and why. */
  brokenQueues(): { name: string; errno: number }[] {
    return [...this.#rx, ...this.#tx]
      .map(({ image }) => ({
        name: image.name,
        errno: Atomics.load(new Int32Array(image.memory), QUEUE_ERRNO),
      }))
      .filter(({ errno }) => errno !== 0);
  }

  #queue(kind: "rxq" | "txq", queue: number, pool: number): Queue {
    const side = kind === "rxq" ? "rx" : "tx";
    const name = `${this.name} ${side} ${queue}`;
    const holder = this.#memory.holders.add(kind, name);
    const parts = side === "rx" ? this.device.rxQueue(queue) : this.device.txQueue(queue);
    const image: QueueImage = {
      port: this.id,
      queue,
      name,
      module: parts.module,
      holder: holder.id,
      pool,
      portWords: this.#words.buffer as SharedArrayBuffer,
      memory: new SharedArrayBuffer(QUEUE_WORDS_BYTES + STATS * 8),
      drainedElsewhere: parts.drainedElsewhere ?? false,
      params: parts.params,
    };
    return { image, holder };
  }
}

function sumStats(queues: readonly Queue[]): Float64Array {
  const sums = new Float64Array(STATS);
  for (const { image } of queues) {
    const stats = new Float64Array(image.memory, QUEUE_WORDS_BYTES, STATS);
    for (let i = 0; i < STATS; i++) sums[i] = sums[i] + stats[i];
  }
  return sums;
}
