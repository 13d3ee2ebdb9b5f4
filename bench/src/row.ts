/** What a row is. */
import type { Sampler } from "./measure.js";
import type { BenchAddon } from "./native.js";

export interface RowEnv {
  readonly addon: BenchAddon;
  /** A CPU that is not the measuring thread's; undefined when there is only one. */
  readonly otherCpu: number | undefined;
  readonly tscHz: number;
  /** A sampler of work in the calling thread. */
  readonly time: (work: () => void) => Sampler;
}

export interface Prepared {
  readonly weir: Sampler;
  readonly reference: Sampler;
  /** Units of work in one sample. */
  readonly units: number;
  /** Ends it; returns what was wrong with the run. */
  readonly close: () => readonly string[] | Promise<readonly string[]>;
}

export interface Row {
  readonly name: string;
  /** What one figure is of: "packet", "buffer", "entry". */
  readonly unit: string;
  /** What weir is held against. */
  readonly reference: string;
  /** @throws Error when it cannot be measured here */
  readonly prepare: (env: RowEnv) => Promise<Prepared>;
}
