/**
 * Lifetime path: the packet memory of a process. One arena, one buffer table, one ledger, and the pools in them.
 */
import { WeirError } from "../errors.js";
import { Arena, type ArenaOptions } from "../memory/arena.js";
import { attachLcoreMemory, type LcoreMemory, type MemoryImage } from "./lcore-memory.js";
import {
  FAULT_NAMES,
  FAULT_WORDS,
  HOLDER_FREE,
  HOLDER_SHIFT,
  HOLDERS_MAX,
  type Holder,
  Holders,
  TICK_MASK,
} from "./ledger.js";
import { Pool, type PoolImage, type PoolOptions } from "./pool.js";
import {
  attachTable,
  createTable,
  POOLS_MAX,
  SHAPE_CHAINED,
  type Table,
  type TableImage,
} from "./table.js";

export interface PacketMemoryOptions extends ArenaOptions {
  /** Names of the threads that touch packets, by row. Row 0 is ctl. */
  readonly threads: readonly string[];
}

/** Returns and sends that were refused, summed over all threads, by name. */
export type Faults = Record<(typeof FAULT_NAMES)[number], number>;

export class PacketMemory {
  readonly arena: Arena;
  readonly holders: Holders = new Holders();
  readonly table: Table;
  readonly threads: readonly string[];
  readonly pools: Pool[] = [];
  /** The holder of each thread, by row. */
  readonly threadHolders: readonly Holder[];

  readonly #tableImage: TableImage;
  readonly #clock: Int32Array = new Int32Array(new SharedArrayBuffer(64));
  readonly #moves: SharedArrayBuffer;
  readonly #faults: SharedArrayBuffer;
  #ctl: LcoreMemory | undefined;

  constructor(options: PacketMemoryOptions) {
    this.arena = new Arena(options);
    this.threads = options.threads;
    this.threadHolders = options.threads.map((name) => this.holders.add("lcore", name));
    this.#tableImage = createTable(this.arena.slotsMax);
    this.table = attachTable(this.#tableImage);
    this.#moves = new SharedArrayBuffer(options.threads.length * HOLDERS_MAX * 4);
    this.#faults = new SharedArrayBuffer(options.threads.length * FAULT_WORDS * 4);
  }

  /** What a thread attaches to. Take it after the pools were made. */
  get image(): MemoryImage {
    return {
      arena: this.arena.image,
      table: this.#tableImage,
      clock: this.#clock.buffer as SharedArrayBuffer,
      moves: this.#moves,
      faults: this.#faults,
      pools: this.pools.map((pool): PoolImage => pool.image),
    };
  }

  /** ctl's own view, row 0. */
  get ctl(): LcoreMemory {
    this.#ctl ??= this.attach(0);
    return this.#ctl;
  }

  attach(thread: number): LcoreMemory {
    const holder = this.threadHolders[thread];
    if (holder === undefined) throw new RangeError(`there is no thread ${thread}`);
    return attachLcoreMemory(this.image, thread, holder.id);
  }

  /** @throws WeirError ENOMEM, or ERR_WEIR_LIMIT after 255 pools */
  createPool(options: PoolOptions): Pool {
    let id = 1;
    while (this.pools.some((pool) => pool.id === id)) id++;
    if (id > POOLS_MAX)
      throw new WeirError("ERR_WEIR_LIMIT", `there are ${POOLS_MAX} pools already; share one`);
    const pool = new Pool(id, options, this.arena, this.table, this.holders, this.threads);
    this.pools.push(pool);
    this.#count(HOLDER_FREE, pool.buffers);
    this.#ctl = undefined; // its list of pools is too short now
    return pool;
  }

  /** Opposite of `createPool`. @throws WeirError EBUSY while a buffer is held */
  closePool(pool: Pool): void {
    this.#ctl?.flush();
    const { ring, caches } = pool.freeHandles();
    pool.close();
    this.pools.splice(this.pools.indexOf(pool), 1);
    this.#count(HOLDER_FREE, -ring.length);
    for (const { holder, handles } of caches) this.#count(holder, -handles.length);
    this.#ctl = undefined;
  }

  /** The ledger's clock. Called by ctl as its time goes on. */
  setTick(tick: number): void {
    this.#clock[0] = tick & TICK_MASK;
  }

  get tick(): number {
    return this.#clock[0];
  }

  /** Buffers in all pools. */
  get buffers(): number {
    return this.pools.reduce((sum, pool) => sum + pool.buffers, 0);
  }

  /** What each holder holds by the threads' counters: for a screen; exact at quiescence. */
  heldByCounters(): Map<Holder, number> {
    const moves = new Int32Array(this.#moves);
    const held = new Map<Holder, number>();
    for (const holder of this.holders.all()) {
      let sum = 0;
      for (let at = holder.id; at < moves.length; at += HOLDERS_MAX) sum = (sum + moves[at]) | 0;
      held.set(holder, sum);
    }
    return held;
  }

  faults(): Faults {
    const words = new Int32Array(this.#faults);
    const sums = FAULT_NAMES.map((_, fault) => {
      let sum = 0;
      for (let at = fault; at < words.length; at += FAULT_WORDS) sum += words[at];
      return sum;
    });
    return Object.fromEntries(FAULT_NAMES.map((name, i) => [name, sums[i]])) as Faults;
  }

  /**
   * Takes back everything that a holder holds, by the ledger: of a thread that died, or a queue that no thread runs any
   * more. ctl only; the holder's owner must be quiescent. Returns how many buffers that were.
   */
  takeBack(holder: Holder): number {
    const { ctl } = this;
    const handles = new Uint32Array(1);
    let count = 0;
    for (const pool of this.pools) {
      for (const chunk of pool.chunks) {
        for (let handle = chunk.firstSlot; handle < chunk.firstSlot + chunk.slots; handle++) {
          if (this.table.ledger[handle] >>> HOLDER_SHIFT !== holder.id) continue;
          // Chains are taken back by their segments: each is found by the scan, whatever linked it.
          this.#unlink(handle);
          handles[0] = handle;
          ctl.cache(pool.id).put(handles, 0, 1, holder.id);
          count++;
        }
      }
    }
    ctl.flush();
    return count;
  }

  /**
   * Makes the counters of a dead thread agree with the ledger again: it may have died between a store in the ledger and
   * its count. `holders` are those that nobody else moved buffers for: what it moved, it moved between them and the free.
   */
  settleDeadThread(thread: number, holders: readonly Holder[]): void {
    const row = new Int32Array(this.#moves, thread * HOLDERS_MAX * 4, HOLDERS_MAX);
    for (const pool of this.pools) pool.emptyCache(thread);
    const counted = this.heldByCounters();
    for (const holder of holders) {
      row[holder.id] += this.#countHeld(holder) - (counted.get(holder) ?? 0);
    }
    row[HOLDER_FREE] = 0;
    row[HOLDER_FREE] = -row.reduce((sum, each) => (sum + each) | 0, 0) | 0;
  }

  /** By the ledger. */
  #countHeld(holder: Holder): number {
    const { ledger } = this.table;
    let count = 0;
    for (const { firstSlot, slots } of this.pools.flatMap(({ chunks }) => chunks)) {
      for (let handle = firstSlot; handle < firstSlot + slots; handle++) {
        if (ledger[handle] >>> HOLDER_SHIFT === holder.id) count++;
      }
    }
    return count;
  }

  /** Ends everything. Every pool's buffers must be free. Opposite of the constructor. */
  close(): void {
    for (const pool of [...this.pools]) this.closePool(pool);
    this.arena.close();
  }

  #unlink(handle: number): void {
    const { next, segments, kind } = this.table;
    next[handle] = 0;
    segments[handle] = 1;
    kind[handle] = kind[handle] & ~SHAPE_CHAINED;
  }

  /** Buffers that came or went with a pool. */
  #count(holder: number, buffers: number): void {
    const row = new Int32Array(this.#moves, 0, HOLDERS_MAX);
    row[holder] = (row[holder] + buffers) | 0;
  }
}
