/**
 * The buffer table: what is known of each buffer, in process-wide columns indexed by handle.
 *
 * The columns lie in memory that no device and no peer can reach. They are sized for every slot that the arena can hold
 * and the system gives them pages as they are touched.
 *
 * While a buffer is free: kind = its pool with no shape, next 0, segments 1, refs 1, base 0, flags 0. Whoever takes one
 * sets position and the lengths; whoever gives one back leaves the rest as it was. `flags` is 0 wherever the shape has no
 * SHAPE_FLAGGED, so that the one comparison which tells a plain buffer also says that nothing is left to do to its bytes.
 */
export interface Table {
  /** Arena offset of the first data byte. Of a clone: inside its base's slot. */
  readonly position: Uint32Array;
  /** Bytes of data in this segment. */
  readonly dataLength: Uint16Array;
  /** Bytes of the whole frame. First segment only. */
  readonly packetLength: Uint32Array;
  /** The next segment's handle, 0 at the end. */
  readonly next: Uint32Array;
  /** Segments of the frame. First segment only. */
  readonly segments: Uint8Array;
  /** Pool id and shape: `pool << POOL_SHIFT | shape`. One comparison tells a plain buffer of a pool. */
  readonly kind: Uint16Array;
  /** References to a buffer's bytes: its own and one of each clone and fragment. Atomic. */
  readonly refs: Int32Array;
  /** The buffer whose bytes this clone or fragment shows; 0 when it shows its own. */
  readonly base: Uint32Array;
  /** Port that received the frame. First segment only. */
  readonly port: Uint16Array;
  /** FLAG_… bits; 0 without SHAPE_FLAGGED. First segment only. */
  readonly flags: Uint32Array;
  /** With FLAG_NEEDS_CSUM: the frame's byte from which on the checksum counts. */
  readonly csumStart: Uint16Array;
  /** With FLAG_NEEDS_CSUM: where it goes, in bytes behind `csumStart`. The pseudo header's sum lies there already. */
  readonly csumOffset: Uint16Array;
  /** Who holds it and since when: see ledger.ts. */
  readonly ledger: Int32Array;
}

/** The shared memory behind a table, by column. */
export type TableImage = { readonly [Column in keyof Table]: SharedArrayBuffer };

/** Segments a frame may have: what `segments` can count. */
export const SEGMENTS_LIMIT = 255;

export const POOL_SHIFT = 8;
export const POOLS_MAX = 255;
export const SHAPE_MASK = 0xff;
/** `next` is not 0. */
export const SHAPE_CHAINED = 1;
/** `base` is not 0. */
export const SHAPE_INDIRECT = 2;
/** Clones of it were made; `refs` may be above 1. */
export const SHAPE_SHARED = 4;
/** `flags` is not 0. */
export const SHAPE_FLAGGED = 8;

/** The transport checksum is still to be completed, by a device that can or by `LcoreMemory.settleChecksum`. */
export const FLAG_NEEDS_CSUM = 1;
/** Whoever received the frame found its transport checksum right. */
export const FLAG_CSUM_VALID = 2;

/** A table for `slots` slots. */
export function createTable(slots: number): TableImage {
  const column = (bytesEach: number): SharedArrayBuffer => new SharedArrayBuffer(slots * bytesEach);
  return {
    position: column(4),
    dataLength: column(2),
    packetLength: column(4),
    next: column(4),
    segments: column(1),
    kind: column(2),
    refs: column(4),
    base: column(4),
    port: column(2),
    flags: column(4),
    csumStart: column(2),
    csumOffset: column(2),
    ledger: column(4),
  };
}

/** The table as the calling thread sees it. */
export function attachTable(image: TableImage): Table {
  return {
    position: new Uint32Array(image.position),
    dataLength: new Uint16Array(image.dataLength),
    packetLength: new Uint32Array(image.packetLength),
    next: new Uint32Array(image.next),
    segments: new Uint8Array(image.segments),
    kind: new Uint16Array(image.kind),
    refs: new Int32Array(image.refs),
    base: new Uint32Array(image.base),
    port: new Uint16Array(image.port),
    flags: new Uint32Array(image.flags),
    csumStart: new Uint16Array(image.csumStart),
    csumOffset: new Uint16Array(image.csumOffset),
    ledger: new Int32Array(image.ledger),
  };
}
