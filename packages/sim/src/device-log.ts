/** What a simulated device saw of its driver: refused accesses, broken rules, counts. Tests look here. */

/** An access that the IOMMU refused. */
export interface DmaFault {
  readonly function: string;
  readonly iova: number;
  readonly length: number;
  readonly access: "read" | "write";
  /** The device's own step. */
  readonly step: number;
}

/** A rule of the specification that the driver broke. */
export interface Violation {
  /** Stable, for tests: "chain-loop". */
  readonly kind: string;
  readonly detail: string;
  readonly step: number;
}

export interface Counters {
  /** Frames that the card sent, handed to what is behind it. */
  txFrames: number;
  txBytes: number;
  /** Frames from the driver that went nowhere: the link was down, no room behind the card, or not sendable. */
  txDropped: number;
  /** Frames handed to the driver. */
  rxFrames: number;
  rxBytes: number;
  /** Frames that arrived and that no buffer could take, or while the link was down. */
  rxDropped: number;
  /** Frames that the receive filters kept out. */
  rxFiltered: number;
  /** Doorbells seen; one that is written over before it is polled is not. */
  doorbells: number;
  interrupts: number;
  controlCommands: number;
  resets: number;
  /** FEATURES_OK that was not granted. */
  refusals: number;
}

/** Records kept of each kind; more are only counted. */
const RECORDS_MAX = 1000;

export class DeviceLog {
  readonly name: string;
  step = 0;
  readonly faults: DmaFault[] = [];
  readonly violations: Violation[] = [];
  readonly counters: Counters = {
    txFrames: 0,
    txBytes: 0,
    txDropped: 0,
    rxFrames: 0,
    rxBytes: 0,
    rxDropped: 0,
    rxFiltered: 0,
    doorbells: 0,
    interrupts: 0,
    controlCommands: 0,
    resets: 0,
    refusals: 0,
  };
  faultCount = 0;
  violationCount = 0;

  constructor(name: string) {
    this.name = name;
  }

  fault(iova: number, length: number, access: "read" | "write"): void {
    this.faultCount++;
    if (this.faults.length < RECORDS_MAX)
      this.faults.push({ function: this.name, iova, length, access, step: this.step });
  }

  violation(kind: string, detail: string): void {
    this.violationCount++;
    if (this.violations.length < RECORDS_MAX)
      this.violations.push({ kind, detail, step: this.step });
  }
}
