/** A virtqueue as a device type uses it, whatever the layout of its ring. */

/** A chain that the device may use: device-readable segments first, then device-writable ones (1.2 2.7.4.2). */
export class Chain {
  head = 0;
  readonly addresses: number[] = [];
  readonly lengths: number[] = [];
  /** Descriptors of the ring's own table that it occupies. */
  readonly descriptors: number[] = [];
  segments = 0;
  readable = 0;
  readBytes = 0;
  writeBytes = 0;
}

/** The driver broke a rule that the queue cannot go on after: it needs a reset. */
export class QueueError extends Error {
  override readonly name = "QueueError";
  readonly kind: string;

  constructor(kind: string, detail: string) {
    super(detail);
    this.kind = kind;
  }
}

export interface Virtqueue {
  readonly size: number;
  readonly inOrder: boolean;
  /** Chains that were fetched and not taken. */
  readonly ready: number;
  /** Fetches and checks what the driver made available. @throws QueueError or DmaRefused */
  fetch(): void;
  /** The i-th of the ready ones. It stays. */
  peek(i: number): Chain;
  /** The first of the ready ones. It is the device's until it is used. */
  take(): Chain;
  /**
   * Stages a chain as used.
   * @param written bytes, 0 for one that was read only
   * @param skippable with IN_ORDER its entry may be left out when a later one follows (1.2 2.7.9)
   */
  use(chain: Chain, written: number, skippable: boolean): void;
  /** Makes the staged ones visible; true when the driver wants to be notified of them. */
  publish(): boolean;
  /** True when the driver waits for it. */
  outstanding(head: number): boolean;
  /** A fault: stages an entry that is not true. */
  lie(id: number, length: number): void;
  /** A fault: moves the used index without entries. */
  jump(entries: number): void;
}
