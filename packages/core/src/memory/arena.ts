/**
 * The arena: one reserved address range per process, chunks of packet memory committed into it.
 *
 * Lifetime path. `commit` and `decommit` are a pair; `close` is the end of everything. The address range never moves
 * and is never unmapped under a view: a decommitted range becomes anonymous zero pages, so a late store is harmless.
 */
import { readFileSync } from "node:fs";
import { assert, WeirError } from "../errors.js";
import { native } from "../native/addon.js";
import {
  allocateRange,
  closeFd,
  MFD_HUGE_2MB,
  MFD_HUGETLB,
  punchHole,
  sealedMemfd,
} from "../os/libc.js";
import { ARENA_BYTES_MAX, SLOT_STRIDE } from "./slot.js";

export const SMALL_PAGE_BYTES = 4096;
export const HUGE_PAGE_BYTES: number = 2 * 1024 * 1024;
/** Chunks consist of whole granules, so that a table by granule can say where each is mapped. */
export const GRANULE_BYTES: number = HUGE_PAGE_BYTES;

/** A committed range of the arena. `firstSlot` to `firstSlot + slots - 1` are the slots that lie whole in it. */
export interface Chunk {
  readonly offset: number;
  readonly bytes: number;
  readonly firstSlot: number;
  readonly slots: number;
}

/** What another thread needs to see the arena. */
export interface ArenaImage {
  readonly region: number;
  readonly bytes: number;
}

/** Typed arrays over the whole arena; index 0 is arena offset 0. One set per isolate. */
export interface ArenaView {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
}

export interface ArenaOptions {
  /** Bytes of address space; a multiple of 2 MiB, at most 2 GiB. */
  readonly bytes?: number;
  /** `false`: 4 KiB pages of a memfd. */
  readonly hugepages?: boolean;
}

/** Views of an arena for the calling thread. Valid for ever. */
export function attachArena(image: ArenaImage): ArenaView {
  const buffer = native.regionView(image.region, 0, image.bytes);
  return {
    u8: new Uint8Array(buffer),
    u16: new Uint16Array(buffer),
    i32: new Int32Array(buffer),
    u32: new Uint32Array(buffer),
  };
}

export class Arena {
  readonly image: ArenaImage;
  /** Bytes of one page of the backing file. */
  readonly pageBytes: number;
  /** The sealed file that backs every chunk; a peer may be handed it. Owned by the arena. */
  readonly fd: number;
  /** Slots that the address range can hold, slot 0 (which is never a buffer) included. */
  readonly slotsMax: number;

  /** Free ranges of the address range, by offset, never adjacent to each other. */
  readonly #free: { offset: number; bytes: number }[];
  readonly #chunks = new Set<Chunk>();
  #closed = false;

  /** @throws WeirError ENOMEM or an errno of memfd_create; nothing is left behind then. */
  constructor(options: ArenaOptions = {}) {
    const bytes = options.bytes ?? ARENA_BYTES_MAX;
    assert(
      bytes > 0 && bytes <= ARENA_BYTES_MAX && bytes % HUGE_PAGE_BYTES === 0,
      `arena of ${bytes} bytes`,
    );
    this.pageBytes = options.hugepages ? HUGE_PAGE_BYTES : SMALL_PAGE_BYTES;
    this.fd = sealedMemfd("weir-arena", bytes, options.hugepages ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
    try {
      this.image = { region: native.regionReserve(bytes), bytes };
    } catch (error) {
      closeFd(this.fd);
      throw error;
    }
    this.slotsMax = Math.floor(bytes / SLOT_STRIDE);
    this.#free = [{ offset: 0, bytes }];
  }

  get chunks(): ReadonlySet<Chunk> {
    return this.#chunks;
  }

  get committedBytes(): number {
    let sum = 0;
    for (const chunk of this.#chunks) sum += chunk.bytes;
    return sum;
  }

  /**
   * Memory for at least `slots` whole slots, allocated and touched now. Opposite: `decommit`.
   * The lowest range that fits is taken, so that what is committed stays a short prefix.
   * @throws WeirError ENOMEM when the system or the arena has no more; the message says what is needed.
   */
  commitSlots(slots: number): Chunk {
    assert(slots > 0, `a chunk of ${slots} slots`);
    assert(!this.#closed, "commit in a closed arena, whose fd may be another file by now");
    for (const range of this.#free) {
      const firstSlot = firstWholeSlot(range.offset);
      const bytes = roundUp((firstSlot + slots) * SLOT_STRIDE - range.offset, GRANULE_BYTES);
      if (bytes <= range.bytes) return this.#commit(range, bytes);
    }
    throw this.#full(`${slots} more buffers`);
  }

  /**
   * As `commitSlots`, for memory that is not buffers: rings and control blocks. At least `bytes` bytes.
   * @throws WeirError ENOMEM
   */
  commitBytes(bytes: number): Chunk {
    assert(
      !this.#closed && bytes > 0,
      `${bytes} bytes committed in ${this.#closed ? "a closed" : "an"} arena`,
    );
    const whole = roundUp(bytes, GRANULE_BYTES);
    const range = this.#free.find((free) => free.bytes >= whole);
    if (range === undefined) throw this.#full(`${whole} more bytes`);
    return this.#commit(range, whole);
  }

  #full(what: string): WeirError {
    return new WeirError(
      "ENOMEM",
      `packet memory is full: ${what} do not fit in the arena of ${mib(this.image.bytes)} MiB ` +
        `(${mib(this.committedBytes)} MiB are in use); ask for fewer buffers`,
    );
  }

  /** Gives a chunk back: the pages to the system, the range to the arena. Nothing may hold a slot of it or map it. */
  decommit(chunk: Chunk): void {
    assert(this.#chunks.delete(chunk), "decommit of a chunk that is not committed");
    native.regionReset(this.image.region, chunk.offset, chunk.bytes);
    punchHole(this.fd, chunk.offset, chunk.bytes);
    this.#giveBack(chunk.offset, chunk.bytes);
  }

  /** Decommits what is left and closes the file. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const chunk of [...this.#chunks]) this.decommit(chunk);
    native.regionRelease(this.image.region);
    closeFd(this.fd);
  }

  #commit(range: { offset: number; bytes: number }, bytes: number): Chunk {
    const { offset } = range;
    try {
      allocateRange(this.fd, offset, bytes);
      native.regionMapFd(this.image.region, offset, bytes, this.fd, offset, {
        shared: true,
        write: true,
        populate: true,
      });
    } catch (error) {
      punchHole(this.fd, offset, bytes);
      throw this.#explain(error, bytes);
    }
    range.offset += bytes;
    range.bytes -= bytes;
    if (range.bytes === 0) this.#free.splice(this.#free.indexOf(range), 1);
    const firstSlot = firstWholeSlot(offset);
    const slots = Math.floor((offset + bytes) / SLOT_STRIDE) - firstSlot;
    const chunk: Chunk = { offset, bytes, firstSlot, slots };
    this.#chunks.add(chunk);
    return chunk;
  }

  #giveBack(offset: number, bytes: number): void {
    const at = this.#free.findIndex((range) => range.offset > offset);
    this.#free.splice(at < 0 ? this.#free.length : at, 0, { offset, bytes });
    for (let i = this.#free.length - 1; i > 0; i--) {
      const left = this.#free[i - 1];
      const right = this.#free[i];
      if (left !== undefined && right !== undefined && left.offset + left.bytes === right.offset) {
        left.bytes += right.bytes;
        this.#free.splice(i, 1);
      }
    }
  }

  #explain(error: unknown, bytes: number): unknown {
    if (!isOutOfMemory(error)) return error;
    if (this.pageBytes !== HUGE_PAGE_BYTES) {
      return new WeirError(
        "ENOMEM",
        `the system has no ${mib(bytes)} MiB for packet buffers; ask for less with -m`,
      );
    }
    const { total, free } = hugepages();
    const needed = bytes / HUGE_PAGE_BYTES;
    return new WeirError(
      "ENOMEM",
      `${needed} hugepages of 2 MiB are needed and ${free} of ${total} are free: ` +
        `echo ${total - free + needed} > /proc/sys/vm/nr_hugepages as root, or run with --no-huge`,
    );
  }
}

/** 2 MiB hugepages of this machine, in all and free (and not reserved by anyone). */
export function hugepages(): { total: number; free: number } {
  const read = (name: string): number => {
    try {
      return Number(readFileSync(`/sys/kernel/mm/hugepages/hugepages-2048kB/${name}`, "utf8"));
    } catch {
      return 0; // a kernel without 2 MiB pages has none: that is the answer, not a failure
    }
  };
  return {
    total: read("nr_hugepages"),
    free: Math.max(0, read("free_hugepages") - read("resv_hugepages")),
  };
}

function isOutOfMemory(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === "ENOMEM" || code === "ENOSPC";
}

/** The first slot that starts at or after `offset`. Slot 0 is never a buffer: its number means "none". */
function firstWholeSlot(offset: number): number {
  return Math.max(1, Math.ceil(offset / SLOT_STRIDE));
}

function roundUp(n: number, unit: number): number {
  return Math.ceil(n / unit) * unit;
}

function mib(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
