/**
 * The device's accesses to memory: the only way there. Each is translated when it is made, so that nothing is reached
 * once an unmap has returned; what is not mapped is refused and recorded.
 */
import { type ArenaImage, type ArenaView, attachArena } from "@weir/core";
import type { DeviceLog } from "./device-log.js";
import { type DeviceMappings, isMsi } from "./iommu.js";

interface Entry {
  /** First byte, and the first byte behind it. */
  readonly first: number;
  readonly end: number;
  readonly memory: ArenaView;
  /** Add it to an IOVA for the offset in the arena. */
  readonly delta: number;
}

/** Nothing is mapped here: every access misses it. */
const NONE: Entry = {
  first: -1,
  end: -1,
  memory: attachNothing(),
  delta: 0,
};
/** Pieces shorter than this are copied by bytes: a view costs more. */
const VIEW_BYTES_MIN = 96;

/** An access that was refused; it is recorded already. */
export class DmaRefused extends Error {
  override readonly name = "DmaRefused";
}

export class Dma implements DeviceMappings {
  readonly #log: DeviceLog;
  readonly #entries: Entry[] = [];
  readonly #arenas = new Map<number, ArenaView>();
  /** The entry of the last access. */
  #last: Entry = NONE;
  /** Where the byte asked for by `#reach` lies in the memory of `#last`. */
  #offset = 0;

  constructor(log: DeviceLog) {
    this.#log = log;
  }

  map(iova: number, bytes: number, arena: ArenaImage, offset: number): void {
    let memory = this.#arenas.get(arena.region);
    if (memory === undefined) {
      memory = attachArena(arena);
      this.#arenas.set(arena.region, memory);
    }
    this.#entries.push({ first: iova, end: iova + bytes, memory, delta: offset - iova });
  }

  unmap(iova: number, bytes: number): void {
    this.#last = NONE;
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      const entry = this.#entries[i] as Entry;
      if (entry.first >= iova && entry.end <= iova + bytes) this.#entries.splice(i, 1);
    }
  }

  /** Little-endian, aligned, and whole at once: for indices that the other side publishes. */
  load16(iova: number): number {
    this.#reach(iova, 2, 2, "read");
    return Atomics.load(this.#last.memory.u16, this.#offset >>> 1);
  }

  /** As `load16`; what was stored before it is seen before it. */
  store16(iova: number, value: number): void {
    this.#reach(iova, 2, 2, "write");
    Atomics.store(this.#last.memory.u16, this.#offset >>> 1, value);
  }

  /** `words` words of 32 bits into `out`; aligned, and within one mapping. */
  load32(iova: number, words: number, out: Uint32Array): void {
    this.#reach(iova, words * 4, words * 4, "read");
    const at = this.#offset >>> 2;
    for (let i = 0; i < words; i++) out[i] = this.#last.memory.u32[at + i];
  }

  store32(iova: number, value: number): void {
    this.#reach(iova, 4, 4, "write");
    this.#last.memory.u32[this.#offset >>> 2] = value;
  }

  read(iova: number, bytes: number, out: Uint8Array, at: number): void {
    for (let done = 0; done < bytes; ) {
      const part = this.#reach(iova + done, bytes - done, 1, "read");
      copy(this.#last.memory.u8, this.#offset, out, at + done, part);
      done += part;
    }
  }

  write(iova: number, bytes: number, from: Uint8Array, at: number): void {
    for (let done = 0; done < bytes; ) {
      const part = this.#reach(iova + done, bytes - done, 1, "write");
      copy(from, at + done, this.#last.memory.u8, this.#offset, part);
      done += part;
    }
  }

  /** Finds the mapping of `iova`; returns how many of the bytes lie in it. @throws DmaRefused when fewer than `min` do */
  #reach(iova: number, bytes: number, min: number, access: "read" | "write"): number {
    let entry = this.#last;
    if (iova < entry.first || iova >= entry.end) {
      entry = this.#find(iova);
      this.#last = entry;
    }
    const room = entry.end - iova;
    const part = bytes < room ? bytes : room;
    if (part < min || entry === NONE) {
      this.#log.fault(iova, bytes, access);
      const where = isMsi(iova) ? "the MSI range" : "nothing that is mapped";
      throw new DmaRefused(`${access} of ${bytes} bytes at 0x${iova.toString(16)}: ${where}`);
    }
    this.#offset = iova + entry.delta;
    return part;
  }

  #find(iova: number): Entry {
    for (const entry of this.#entries) if (iova >= entry.first && iova < entry.end) return entry;
    return NONE;
  }
}

function copy(from: Uint8Array, start: number, to: Uint8Array, at: number, bytes: number): void {
  if (bytes >= VIEW_BYTES_MIN) to.set(from.subarray(start, start + bytes), at);
  else for (let i = 0; i < bytes; i++) to[at + i] = from[start + i];
}

function attachNothing(): ArenaView {
  const buffer = new ArrayBuffer(0);
  return {
    u8: new Uint8Array(buffer),
    u16: new Uint16Array(buffer),
    i32: new Int32Array(buffer),
    u32: new Uint32Array(buffer),
  };
}
