/** Data path: what the receive bursts of a split virtqueue are made from (split-rx-burst.ts). */
import {
  type Burst,
  FLAG_CSUM_VALID,
  FRAME_BYTES_MAX,
  type LcoreMemory,
  type QueueImage,
  specialise,
} from "@weir/core";
import { VIRTIO_NET_HDR_F_DATA_VALID, VIRTQ_DESC_F_WRITE } from "./layout.js";
import { firstSlotBytes, HEADER_AT, type SplitParams, splitConstants } from "./split-queue.js";
import { type RxConstants, splitRx } from "./split-rx-burst.js";

export function attachRx(queue: QueueImage, memory: LcoreMemory): Burst {
  const { mergeable, slotsPerBuffer } = queue.params as SplitParams;
  const base = splitConstants(queue, memory);
  const { SIZE, BULK, HEADROOM, DATA_ROOM, HEADER_BYTES } = base;
  const buffers = Math.floor(SIZE / slotsPerBuffer);
  const FIRST = firstSlotBytes(HEADROOM, DATA_ROOM);
  const SPAN_MAX = mergeable ? Math.ceil((FRAME_BYTES_MAX + HEADER_BYTES) / FIRST) : 1;
  const pieces = Math.max(SPAN_MAX, slotsPerBuffer);
  const constants: RxConstants = {
    ...base,
    MERGEABLE: mergeable,
    SLOTS: slotsPerBuffer,
    BUFFERS: buffers,
    BULK: Math.max(1, Math.min(BULK, buffers >>> 3)),
    FIRST,
    POSTED: FIRST + (slotsPerBuffer - 1) * DATA_ROOM,
    HEADER_AT,
    SPAN_MAX: Math.min(SPAN_MAX, SIZE),
    posted: new Uint32Array(SIZE),
    freeHeads: new Uint16Array(SIZE),
    spare: new Uint32Array(SIZE),
    pieces: new Uint32Array(pieces),
    starts: new Uint32Array(pieces),
    lengths: new Uint32Array(pieces),
    WRITE: VIRTQ_DESC_F_WRITE,
    DATA_VALID: VIRTIO_NET_HDR_F_DATA_VALID,
    FLAG_CSUM_VALID,
  };
  return specialise(splitRx, constants, queue.name);
}
