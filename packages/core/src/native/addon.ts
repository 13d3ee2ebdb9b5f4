// The typed face of the native addon (packages/core/native). Nothing else in weir is native code of ours.
//
// Two kinds of functions. The lifetime path (regions, guards, pinning) throws an Error with `code` (the errno's name,
// "EINVAL"), `errno` (its number) and a message that says what to do. The data path (framesRead, framesWrite, bytesWrite,
// fence, tsc) never throws and never allocates: it answers with a count, and says why it is short in status[0].
//
// The state behind it is the process's: a region reserved in the main thread is viewed from any worker by its id.

import { createRequire } from "node:module";

/** How a file descriptor is mapped into a region. */
export interface MapOptions {
  /** MAP_SHARED: stores reach the file, the device or the peer. Otherwise they are private copies. */
  readonly shared: boolean;
  /** Map writable. When false, a store through a view is a SIGSEGV, which nothing catches. */
  readonly write: boolean;
  /** Allocate every page now, and fail when there is none. Not possible for device memory (BARs). */
  readonly populate: boolean;
}

export interface NativeAddon {
  /**
   * Reserves an address range that never moves and is never unmapped while the process lives. Reads as zeros, costs memory
   * only where it is touched, is not inherited by forked children and is left out of core files. Ranges of 2 MiB (1 GiB)
   * and more start on a multiple of 2 MiB (1 GiB), so that huge pages can be mapped into them.
   *
   * @param bytes a multiple of 4096, from 4096 to 2^32
   * @returns the region's id, above 0, good in every thread, never given out twice
   * @throws ENOMEM no address space; EINVAL
   */
  regionReserve(bytes: number): number;

  /**
   * Drops the region's content and its guards. The id is void afterwards; the address range is kept, views of it stay
   * harmless, and the next regionReserve of the same size gets it, zeroed. Take back every DMA mapping and every buffer before.
   *
   * @throws EINVAL not reserved
   */
  regionRelease(region: number): void;

  /** The address of the region's first byte. @throws EINVAL not reserved */
  regionAddress(region: number): bigint;

  /**
   * An ArrayBuffer over [offset, offset + bytes) of the region: no copy, and nothing happens when it is collected. Make one
   * per thread, before live traffic. It may outlive the region's release and then shows whatever lies there.
   *
   * @param offset a multiple of 4096
   * @param bytes a multiple of 4096 above 0
   * @throws EINVAL not inside a reserved region
   */
  regionView(region: number, offset: number, bytes: number): ArrayBuffer;

  /**
   * Maps `fd` from `fdOffset` over [offset, offset + bytes) of the region, under live views. The fd stays the caller's and may
   * be closed afterwards. Guards on the range stay and start afresh.
   *
   * When the fd cannot be mapped (EBADF, EACCES, ENODEV, EINVAL) the range is as it was; when populating fails (ENOMEM) it is
   * as after regionReset. A hugetlb file wants offset, bytes and fdOffset to be multiples of its page size.
   */
  regionMapFd(
    region: number,
    offset: number,
    bytes: number,
    fd: number,
    fdOffset: number,
    options: MapOptions,
  ): void;

  /**
   * Puts fresh zero pages over the range, under live views: how a chunk is decommitted. The device's last DMA must be over,
   * and the IOMMU mapping gone. Guards on the range stay.
   *
   * @throws EINVAL outside the region, or part of a huge page
   */
  regionReset(region: number, offset: number, bytes: number): void;

  /**
   * Puts writable all-ones pages over the range now, under live views. Raises no guard's flag. No thread ever reads anything
   * but the old content or all ones. Revoke before guardRemove, or a fault in between ends the process.
   *
   * @throws EINVAL outside the region, or part of a huge page; ENOMEM
   */
  regionRevoke(region: number, offset: number, bytes: number): void;

  /**
   * Guards a range whose pages may vanish (a BAR, a peer's memory): an access that would be a SIGBUS finds all-ones pages
   * instead, and raises the slot's flag before. The pages are private and writable: later reads may return your own
   * writes, so trust the flag, not the value. A system call on such a page is not saved, it answers EFAULT.
   *
   * The first call installs the process's SIGBUS handler; other faults go to the one before. `process.on("SIGBUS")` would
   * replace it: never use that.
   *
   * @param pageBytes what one fault takes away: 4096, or 2 MiB for huge pages; the range consists of whole ones
   * @returns the slot, 0 to 1023
   * @throws EEXIST overlaps a guard; ENOSPC all slots taken; EINVAL; ENOMEM
   */
  guardAdd(region: number, offset: number, bytes: number, pageBytes: number): number;

  /** Ends a guard. When it returns no handler is at work in the range, in any thread. @throws EINVAL not in use */
  guardRemove(slot: number): void;

  /**
   * One Int32 per slot: how many pages were revoked by a fault since the slot's guardAdd (or mapped anew and revoked again).
   * Static memory, one buffer per thread is enough. Read it with a plain load when polling.
   */
  guardFlags(): ArrayBuffer;

  /** A full fence (mfence), write-combined and device stores included. Data path. */
  fence(): void;

  /** The time stamp counter in cycles, after all earlier loads. Exact up to 2^53 (45 days at 2.3 GHz), then to the nearest 2 or 4. */
  tsc(): number;

  /** The calling thread's id, as in /proc/self/task. */
  gettid(): number;

  /** Runs the calling thread on these CPUs (0 to 8191) only. @throws EINVAL none of them is allowed */
  pin(cpus: readonly number[]): void;

  /** The CPUs that the calling thread may run on, ascending. */
  affinity(): number[];

  /**
   * Moves every other task of the process (V8's pool, libuv's, workers) onto these CPUs, except `exceptTids`.
   *
   * @returns how many were moved
   * @throws EINVAL none of the CPUs is allowed
   */
  pinOthers(cpus: readonly number[], exceptTids: readonly number[]): number;

  /**
   * Reads up to n frames from a non-blocking fd that keeps message boundaries, one readv(2) each. Data path.
   *
   * @param base the memory that the positions count in, in bytes
   * @param positions byte offsets, `segs` consecutive ones per frame, at least n * segs
   * @param segs segments per frame, 1 to 255
   * @param room bytes of each segment. The kernel cuts a longer frame to segs * room without a word: leave a byte to spare
   * @param lengths out: lengths[i] is the length of frame i in bytes
   * @param status out: 0 when all n were read; else EAGAIN (nothing more now), ENODATA (a read gave no bytes: end of
   *   file, or an empty datagram), EINVAL (an index outside its array), EFAULT (the memory was revoked), or read's own errno
   * @returns how many frames were read
   */
  readonly framesRead: (
    fd: number,
    base: Uint8Array,
    positions: Uint32Array,
    segs: number,
    room: number,
    n: number,
    lengths: Uint32Array,
    status: Int32Array,
  ) => number;

  /**
   * Writes up to n frames to a non-blocking fd that keeps message boundaries, one writev(2) each. Data path.
   *
   * @param positions byte offsets into base, one per segment, all frames' segments in a row
   * @param segLengths bytes of each segment, in the same order
   * @param segCounts segments of frame i, 1 to 255
   * @param status out: 0 when all n were written; else EAGAIN (the fd is full), EINVAL (an index outside its array, or an
   *   empty frame), EIO (the fd took part of a frame: it keeps no boundaries), or write's own errno
   * @returns how many frames were written; the rest stay the caller's
   */
  readonly framesWrite: (
    fd: number,
    base: Uint8Array,
    positions: Uint32Array,
    segLengths: Uint32Array,
    segCounts: Uint8Array,
    n: number,
    status: Int32Array,
  ) => number;

  /**
   * Writes base[offset, offset + length) to a stream or file, repeating short writes. Data path.
   *
   * @param status out: 0 when everything was written; else EAGAIN, EINVAL, or write's own errno
   * @returns bytes written
   */
  readonly bytesWrite: (
    fd: number,
    base: Uint8Array,
    offset: number,
    length: number,
    status: Int32Array,
  ) => number;
}

/** The addon is missing or does not fit this Node. */
export class AddonError extends Error {
  override readonly name = "AddonError";
  readonly code = "ERR_WEIR_ADDON";
}

// Relative to the compiled file, packages/core/dist/src/native/addon.js.
const ADDON_PATH = "../../../native/build/Release/weir_native.node";

function load(): NativeAddon {
  try {
    return createRequire(import.meta.url)(ADDON_PATH) as NativeAddon;
  } catch (cause) {
    throw new AddonError("The native addon could not be loaded: run `./weir build`.", { cause });
  }
}

export const native: NativeAddon = load();
