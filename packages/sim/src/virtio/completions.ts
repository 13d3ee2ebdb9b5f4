/** Between a device and the used ring of a queue: where completions go wrong when faults are on. */
import type { Faults } from "../faults.js";
import type { Chain, Virtqueue } from "./virtqueue.js";

/** Buffers that are used together: the chains of one received frame, or one sent chain. */
interface Group {
  readonly chains: readonly Chain[];
  readonly written: readonly number[];
  readonly due: number;
}

/** A late completion comes this many of the queue's turns later, at most. */
const LATE_TURNS_MAX = 200;
/** Added to a length that lies. */
const LENGTH_LIE_MAX = 70_000;

export class Completions {
  readonly queue: Virtqueue;
  readonly #faults: Faults;
  #turn = 0;
  #waiting: Group[] = [];
  #lastId = 0;

  constructor(queue: Virtqueue, faults: Faults) {
    this.queue = queue;
    this.#faults = faults;
  }

  /** True when nothing is held back. */
  get settled(): boolean {
    return this.#waiting.length === 0;
  }

  /** One chain, used by itself. */
  complete(chain: Chain, written: number, skippable: boolean): void {
    if (this.#faults.inCompletions) this.completeGroup([chain], [written]);
    else this.queue.use(chain, written, skippable);
  }

  completeGroup(chains: readonly Chain[], written: readonly number[]): void {
    if (!this.#faults.inCompletions) {
      for (const [i, chain] of chains.entries()) this.queue.use(chain, written[i] ?? 0, false);
      return;
    }
    if (!this.queue.inOrder && this.#faults.strikes("lost")) return; // the driver waits for ever
    const late = this.#faults.strikes("late");
    const due = this.#turn + (late ? 1 + this.#faults.random.below(LATE_TURNS_MAX) : 0);
    this.#waiting.push({ chains, written, due });
    const { length } = this.#waiting;
    if (length > 1 && !this.queue.inOrder && this.#faults.strikes("reorder")) {
      const [last, before] = [
        this.#waiting[length - 1] as Group,
        this.#waiting[length - 2] as Group,
      ];
      this.#waiting[length - 2] = last;
      this.#waiting[length - 1] = before;
    }
  }

  /** Ends a turn of the queue: makes visible what is due. Returns whether the driver wants to be notified. */
  publish(): boolean {
    if (this.#faults.inCompletions) this.#release();
    return this.queue.publish();
  }

  #release(): void {
    this.#turn++;
    const kept: Group[] = [];
    for (const group of this.#waiting) {
      // In order, one that is late holds up all behind it.
      if (group.due > this.#turn || (this.queue.inOrder && kept.length > 0)) kept.push(group);
      else this.#use(group);
    }
    this.#waiting = kept;
    if (this.#faults.strikes("idx-jump"))
      this.queue.jump(this.queue.size + 1 + this.#faults.random.below(this.queue.size));
  }

  #use({ chains, written }: Group): void {
    const { queue } = this;
    const { random } = this.#faults;
    for (const [i, chain] of chains.entries()) {
      let length = written[i] ?? 0;
      if (this.#faults.strikes("hostile-len"))
        length = random.chance(50) ? 0 : length + 1 + random.below(LENGTH_LIE_MAX);
      if (this.#faults.strikes("hostile-id")) {
        const way = random.below(3);
        if (way === 0) queue.lie(queue.size + random.below(2 ** 16), length);
        else if (way === 1) queue.lie(this.#notOutstanding(), length);
        else {
          queue.use(chain, length, false);
          queue.lie(this.#lastId, length);
        }
        if (way < 2) continue; // the true one is never told
      } else queue.use(chain, length, false);
      this.#lastId = chain.head;
    }
  }

  #notOutstanding(): number {
    for (let id = 0; id < this.queue.size; id++) if (!this.queue.outstanding(id)) return id;
    return this.queue.size;
  }
}
