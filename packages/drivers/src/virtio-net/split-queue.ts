/**
 * What the two burst templates of a split virtqueue have in common: how a queue is described to an lcore, and the views
 * and constants that its bursts are made from.
 */
import {
  type BurstConstants,
  burstConstants,
  FLAG_NEEDS_CSUM,
  GRANULE_BYTES,
  type LcoreMemory,
  type QueueImage,
  type Translation,
} from "@weir/core";
import { attachDoorbell } from "./doorbell.js";
import {
  AVAIL_FLAGS_IDX,
  AVAIL_RING,
  DESC_ADDR_HIGH,
  DESC_ADDR_LOW,
  DESC_FLAGS_NEXT,
  DESC_LEN,
  DESC_WORDS,
  NET_HDR_BYTES,
  NET_HDR_CSUM_START,
  NET_HDR_FLAGS,
  NET_HDR_NUM_BUFFERS,
  USED_ELEM_WORDS,
  USED_FLAGS_IDX,
  USED_RING,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_USED_F_NO_NOTIFY,
} from "./layout.js";
import type { QueueRings } from "./queue-memory.js";
import type { Doorbell } from "./transport.js";

/** A queue's parameters, as `postMessage` can carry them. */
export interface SplitParams {
  readonly rings: QueueRings;
  readonly doorbell: Doorbell;
  readonly translation: Translation;
  /** Word 0 counts the starts of the device: a burst that sees a new count forgets what was before. */
  readonly epoch: SharedArrayBuffer;
  readonly inOrder: boolean;
  /** Receive: frames may span posted buffers (MRG_RXBUF). */
  readonly mergeable: boolean;
  /** Receive: descriptors, each of one slot, that a posted buffer is chained of. */
  readonly slotsPerBuffer: number;
  /** Send: the device completes checksums. */
  readonly checksums: boolean;
  /** Send: the longest frame without a VLAN tag that the device carries. */
  readonly frameBytesMax: number;
}

/** Where the header of a received frame starts in its slot; the frame's bytes follow it. */
export const HEADER_AT = 116;
/** A frame has at least an Ethernet header. */
export const FRAME_BYTES_MIN = 14;
/** Descriptors given back at once, and the fewest that a refill is worth. */
const BULK = 32;

export interface SplitConstants extends BurstConstants {
  readonly i32: Int32Array;
  readonly desc: Int32Array;
  readonly avail: Int32Array;
  readonly availRing: Uint16Array;
  readonly used: Int32Array;
  readonly ring: () => void;
  readonly epochWord: Int32Array;
  readonly SIZE: number;
  /** SIZE - 1: sizes are powers of two (2.7). */
  readonly MASK: number;
  readonly BULK: number;
  readonly IN_ORDER: boolean;
  readonly HEADER_BYTES: number;
  readonly FRAME_MIN: number;
  readonly DESC_WORDS: number;
  readonly DESC_LOW: number;
  readonly DESC_HIGH: number;
  readonly DESC_LEN: number;
  readonly DESC_FLAGS: number;
  readonly HDR_FLAGS: number;
  readonly HDR_CSUM_START: number;
  readonly HDR_NUM_BUFFERS: number;
  readonly NEXT: number;
  readonly NO_INTERRUPT: number;
  readonly NO_NOTIFY: number;
  readonly AVAIL_INDEX: number;
  readonly USED_INDEX: number;
  readonly USED_RING: number;
  readonly USED_ELEM_WORDS: number;
  readonly NEEDS_CSUM: number;
  readonly FLAG_NEEDS_CSUM: number;
  /** True: an IOVA is HIGH and the arena offset. False: the granule's words in `low` and `high`, and the offset in it. */
  readonly WINDOW: boolean;
  readonly HIGH: number;
  readonly low: Int32Array;
  readonly high: Int32Array;
  readonly GRANULE_SHIFT: number;
  readonly GRANULE_MASK: number;
}

export function splitConstants(queue: QueueImage, memory: LcoreMemory): SplitConstants {
  const { rings, doorbell, translation, epoch, inOrder } = queue.params as SplitParams;
  const { size } = rings;
  const { i32, u16 } = memory.arena;
  const words = (offset: number, count: number): Int32Array =>
    i32.subarray(offset / 4, offset / 4 + count);
  const table = translation.kind === "table" ? translation : undefined;
  return {
    ...burstConstants(queue, memory),
    i32,
    desc: words(rings.descriptors, size * DESC_WORDS),
    avail: words(rings.available, 1),
    availRing: u16.subarray(
      rings.available / 2 + AVAIL_RING,
      rings.available / 2 + AVAIL_RING + size,
    ),
    used: words(rings.used, USED_RING + size * USED_ELEM_WORDS),
    ring: attachDoorbell(doorbell, queue.name),
    epochWord: new Int32Array(epoch),
    SIZE: size,
    MASK: size - 1,
    BULK: Math.max(1, Math.min(BULK, size >>> 3)),
    IN_ORDER: inOrder,
    HEADER_BYTES: NET_HDR_BYTES,
    FRAME_MIN: FRAME_BYTES_MIN,
    DESC_WORDS,
    DESC_LOW: DESC_ADDR_LOW,
    DESC_HIGH: DESC_ADDR_HIGH,
    DESC_LEN,
    DESC_FLAGS: DESC_FLAGS_NEXT,
    HDR_FLAGS: NET_HDR_FLAGS,
    HDR_CSUM_START: NET_HDR_CSUM_START,
    HDR_NUM_BUFFERS: NET_HDR_NUM_BUFFERS,
    NEXT: VIRTQ_DESC_F_NEXT,
    NO_INTERRUPT: VIRTQ_AVAIL_F_NO_INTERRUPT,
    NO_NOTIFY: VIRTQ_USED_F_NO_NOTIFY,
    AVAIL_INDEX: AVAIL_FLAGS_IDX,
    USED_INDEX: USED_FLAGS_IDX,
    NEEDS_CSUM: VIRTIO_NET_HDR_F_NEEDS_CSUM,
    FLAG_NEEDS_CSUM,
    USED_RING,
    USED_ELEM_WORDS,
    WINDOW: table === undefined,
    HIGH: translation.kind === "window" ? translation.highWord | 0 : 0,
    low: new Int32Array(table?.low ?? new SharedArrayBuffer(4)),
    high: new Int32Array(table?.high ?? new SharedArrayBuffer(4)),
    GRANULE_SHIFT: Math.log2(GRANULE_BYTES),
    GRANULE_MASK: GRANULE_BYTES - 1,
  };
}

/** Bytes of the first slot of a posted buffer, header included. */
export function firstSlotBytes(headroom: number, dataRoom: number): number {
  return headroom + dataRoom - HEADER_AT;
}

/** Slots that a frame of `frameBytes` takes behind its header. */
export function slotsFor(frameBytes: number, headroom: number, dataRoom: number): number {
  const rest = NET_HDR_BYTES + frameBytes - firstSlotBytes(headroom, dataRoom);
  return 1 + Math.max(0, Math.ceil(rest / dataRoom));
}
