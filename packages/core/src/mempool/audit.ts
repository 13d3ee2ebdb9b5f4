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
import { POOL_SHIFT, SHAPE_CHAINED, SHAPE_MASK, SHAPE_SHARED } from "./table.js";

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
  checkFreeLists(memory, scan, problem);
  checkCounters(memory, scan, problem);

  let total = 0;
  let free = 0;
  const held: Account["held"][number][] = [];
  for (const { holder, buffers, oldestTicks } of scan.values()) {
    total += buffers;
    if (holder.kind === "free" || holder.kind === "cache") free += buffers;
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
  const { ledger, kind, next, refs } = memory.table;
  const found = new Map<number, Found>();
  for (const holder of memory.holders.all())
    found.set(holder.id, { holder, buffers: 0, oldestTicks: 0 });
  for (const pool of memory.pools) {
    for (const { firstSlot, slots } of pool.chunks) {
      for (let handle = firstSlot; handle < firstSlot + slots; handle++) {
        const word = ledger[handle];
        const entry = found.get(word >>> HOLDER_SHIFT);
        if (entry === undefined) {
          problem(`buffer ${handle} is held by ${word >>> HOLDER_SHIFT}, which is nobody`);
          continue;
        }
        entry.buffers++;
        const age = (memory.tick - word) & TICK_MASK;
        if (age > entry.oldestTicks) entry.oldestTicks = age;

        const what = kind[handle];
        if (what >>> POOL_SHIFT !== pool.id)
          problem(`buffer ${handle} of pool ${pool.name} says pool ${what >>> POOL_SHIFT}`);
        const isFree = entry.holder.kind === "free" || entry.holder.kind === "cache";
        if (isFree && (what & SHAPE_MASK) !== 0)
          problem(`buffer ${handle} is free and has shape ${what & SHAPE_MASK}`);
        if (((what & SHAPE_CHAINED) !== 0) !== (next[handle] !== 0)) {
          problem(`buffer ${handle} has next ${next[handle]} against shape ${what & SHAPE_MASK}`);
        }
        const references = refs[handle];
        if (references < 1 || (references > 1 && (what & SHAPE_SHARED) === 0)) {
          problem(
            `buffer ${handle} has ${references} references against shape ${what & SHAPE_MASK}`,
          );
        }
        if (entry.holder.id === HOLDER_SHARED && (what & SHAPE_SHARED) === 0)
          problem(`buffer ${handle} is kept alive by no clone`);
      }
    }
  }
  return found;
}

/** Each handle on a free list is there once, the ledger says that list holds it, and none is missing from its list. */
function checkFreeLists(
  memory: PacketMemory,
  scan: Map<number, Found>,
  problem: (text: string) => void,
): void {
  const { ledger, kind } = memory.table;
  const seen = new Uint8Array(ledger.length);
  let inRings = 0;
  for (const pool of memory.pools) {
    const { ring, caches } = pool.freeHandles();
    inRings += ring.length;
    for (const { holder, handles } of caches) {
      const says = scan.get(holder)?.buffers;
      if (says !== handles.length)
        problem(`cache ${holder} lists ${handles.length} buffers, the ledger says ${says}`);
    }
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
  const free = scan.get(HOLDER_FREE)?.buffers;
  if (free !== inRings)
    problem(`the common rings list ${inRings} buffers, the ledger says ${free}`);
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
