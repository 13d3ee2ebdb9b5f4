/**
 * Lifetime path: the account of every buffer, taken by reading the whole ledger and compared with two other sources,
 * the free lists and the threads' counters. At quiescence all three must agree; `free + held == total`.
 */
import {
  HOLDER_FREE,
  HOLDER_SHARED,
  HOLDER_SHIFT,
  type Holder,
  TICK_MASK,
  TICK_MS,
} from "./ledger.js";
import type { PacketMemory } from "./packet-memory.js";
import type { Pool } from "./pool.js";
import {
  POOL_SHIFT,
  SHAPE_CHAINED,
  SHAPE_FLAGGED,
  SHAPE_INDIRECT,
  SHAPE_MASK,
  SHAPE_SHARED,
} from "./table.js";

export interface Account {
  readonly total: number;
  readonly free: number;
  /** Everything that is not free, by the name of who holds it, with the age of what is held longest. */
  readonly held: readonly {
    readonly holder: Holder;
    readonly buffers: number;
    readonly oldestMs: number;
  }[];
  /** What does not agree; empty at quiescence, or there is a bug in weir. Each is one sentence. */
  readonly problems: readonly string[];
}

const PROBLEMS_MAX = 20;

/** Reads the ledger. Exact only while no thread moves buffers. */
export function audit(memory: PacketMemory): Account {
  const problems: string[] = [];
  const problem = (text: string): void => {
    if (problems.length < PROBLEMS_MAX) problems.push(text);
  };
  const scan = scanLedger(memory, problem);
  checkReferences(memory, problem);
  checkFreeLists(memory, scan, problem);
  checkCounters(memory, scan, problem);

  let total = 0;
  let free = 0;
  const held: Account["held"][number][] = [];
  for (const { holder, buffers, oldestTicks } of scan.values()) {
    total += buffers;
    if (isFree(holder)) free += buffers;
    else if (buffers > 0) held.push({ holder, buffers, oldestMs: oldestTicks * TICK_MS });
  }
  if (total !== memory.buffers)
    problem(`the ledger counts ${total} buffers, the pools ${memory.buffers}`);
  return { total, free, held, problems };
}

interface Found {
  readonly holder: Holder;
  buffers: number;
  oldestTicks: number;
}

function scanLedger(memory: PacketMemory, problem: (text: string) => void): Map<number, Found> {
  const { ledger, kind, next, flags } = memory.table;
  const found = new Map<number, Found>();
  for (const holder of memory.holders.all())
    found.set(holder.id, { holder, buffers: 0, oldestTicks: 0 });
  eachBuffer(memory, (handle, pool) => {
    const word = ledger[handle];
    const entry = found.get(word >>> HOLDER_SHIFT);
    if (entry === undefined) {
      problem(`buffer ${handle} is held by ${word >>> HOLDER_SHIFT}, which is nobody`);
      return;
    }
    entry.buffers++;
    const age = (memory.tick - word) & TICK_MASK;
    if (age > entry.oldestTicks) entry.oldestTicks = age;

    const what = kind[handle];
    if (what >>> POOL_SHIFT !== pool.id)
      problem(`buffer ${handle} of pool ${pool.name} says pool ${what >>> POOL_SHIFT}`);
    if (isFree(entry.holder) && (what & SHAPE_MASK) !== 0)
      problem(`buffer ${handle} is free and has shape ${what & SHAPE_MASK}`);
    if (((what & SHAPE_CHAINED) !== 0) !== (next[handle] !== 0))
      problem(`buffer ${handle} has next ${next[handle]} against shape ${what & SHAPE_MASK}`);
    if (((what & SHAPE_FLAGGED) !== 0) !== (flags[handle] !== 0))
      problem(`buffer ${handle} has flags ${flags[handle]} against shape ${what & SHAPE_MASK}`);
  });
  return found;
}

/** Each buffer has a reference of its own, unless that was given back, and one of each clone; only clones have a base. */
function checkReferences(memory: PacketMemory, problem: (text: string) => void): void {
  const { ledger, kind, refs, base } = memory.table;
  const clones = new Uint32Array(refs.length);
  eachBuffer(memory, (handle) => {
    clones[base[handle]]++;
    if (((kind[handle] & SHAPE_INDIRECT) !== 0) !== (base[handle] !== 0)) {
      problem(
        `buffer ${handle} has base ${base[handle]} against shape ${kind[handle] & SHAPE_MASK}`,
      );
    }
  });
  eachBuffer(memory, (handle) => {
    const own = ledger[handle] >>> HOLDER_SHIFT === HOLDER_SHARED ? 0 : 1;
    if (own === 0 && clones[handle] === 0) problem(`buffer ${handle} is kept alive by no clone`);
    if (refs[handle] !== own + clones[handle]) {
      problem(
        `buffer ${handle} has ${refs[handle]} references, against ${own} of its own and ${clones[handle]} of clones`,
      );
    }
    if (clones[handle] > 0 && (kind[handle] & SHAPE_SHARED) === 0) {
      problem(
        `buffer ${handle} has ${clones[handle]} clones against shape ${kind[handle] & SHAPE_MASK}`,
      );
    }
  });
}

/** Each handle on a free list is there once, the ledger says that list holds it, and none is missing from its list. */
function checkFreeLists(
  memory: PacketMemory,
  scan: Map<number, Found>,
  problem: (text: string) => void,
): void {
  const { ledger, kind } = memory.table;
  const seen = new Uint8Array(ledger.length);
  for (const pool of memory.pools) {
    const { ring, caches } = pool.freeHandles();
    for (const { holder, handles } of [{ holder: HOLDER_FREE, handles: ring }, ...caches]) {
      for (const handle of handles) {
        if (seen[handle] === 1) problem(`buffer ${handle} is on two free lists, or twice on one`);
        seen[handle] = 1;
        const says = ledger[handle] >>> HOLDER_SHIFT;
        if (says !== holder)
          problem(
            `buffer ${handle} is on the free list of holder ${holder}, the ledger says ${says}`,
          );
        if (kind[handle] >>> POOL_SHIFT !== pool.id)
          problem(`buffer ${handle} is on a free list of pool ${pool.name}`);
      }
    }
  }
  eachBuffer(memory, (handle) => {
    const holder = scan.get(ledger[handle] >>> HOLDER_SHIFT)?.holder;
    if (holder !== undefined && isFree(holder) && seen[handle] === 0)
      problem(`buffer ${handle} is lost: "${holder.name}" has it and does not list it`);
  });
}

function checkCounters(
  memory: PacketMemory,
  scan: Map<number, Found>,
  problem: (text: string) => void,
): void {
  for (const [holder, counted] of memory.heldByCounters()) {
    const { buffers } = scan.get(holder.id) as Found;
    if (counted !== buffers)
      problem(
        `${holder.name} holds ${buffers} buffers by the ledger and ${counted} by the counters`,
      );
  }
}

function isFree({ kind }: Holder): boolean {
  return kind === "free" || kind === "cache";
}

function eachBuffer(memory: PacketMemory, visit: (handle: number, pool: Pool) => void): void {
  for (const pool of memory.pools) {
    for (const { firstSlot, slots } of pool.chunks) {
      for (let handle = firstSlot; handle < firstSlot + slots; handle++) visit(handle, pool);
    }
  }
}
