/**
 * The shape of a slot, the unit of packet memory. A handle is a slot's number in the arena; 0 means "none".
 *
 * The stride is an odd number of cache lines. A power of two would put the first header line of every buffer into the
 * same few L1 sets: 15-25 cycles per packet against about 3 (bench: `stride`). The data room is a full 2,048 bytes
 * beside the headroom because the 82599 takes receive buffer sizes in units of 1 KiB (82599 data sheet 8.2.3.8.7) and
 * would otherwise write past the end of the slot.
 */
/** Bytes kept free in front of a received frame, for headers that are put in front of it. */
export const HEADROOM = 128;
/** Bytes of payload a slot takes. */
export const DATA_ROOM = 2048;
/** Bytes behind the data room: nothing writes here. */
export const TAILROOM = 64;
/** Bytes from one slot to the next: 35 cache lines. */
export const SLOT_STRIDE: number = HEADROOM + DATA_ROOM + TAILROOM;

/** No element index of a typed array may pass 2^31: beyond, an access costs 60-130 cycles on Node 26. */
export const ARENA_BYTES_MAX: number = 2 ** 31;

/** The longest frame a vdev takes, header and VLAN tags included: the 82599's jumbo limit (82599 data sheet 8.2.3.22.8). */
export const FRAME_BYTES_MAX = 9728;
/** Segments of the longest frame. */
export const SEGMENTS_MAX: number = Math.ceil(FRAME_BYTES_MAX / DATA_ROOM);

/** First byte of the data room of a slot, as an offset in the arena. */
export function dataStart(handle: number): number {
  return handle * SLOT_STRIDE + HEADROOM;
}
