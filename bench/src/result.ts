/** What a run leaves behind: the JSON and the table. */
import { cpus } from "node:os";
import type { Spread } from "./measure.js";

export interface RowResult {
  readonly row: string;
  /** What one figure is of. */
  readonly unit: string;
  readonly reference: string;
  /** TSC cycles per unit, `p50` with its spread; and weir / reference, pair by pair. Absent: see `skipped`. */
  readonly weir?: Spread;
  readonly referenceCycles?: Spread;
  readonly ratio?: Spread;
  /** Pairs that counted, and those in which a thread lost its CPU. */
  readonly pairs?: number;
  readonly refused?: number;
  /** Why it was not measured. */
  readonly skipped?: string;
  readonly problems?: readonly string[];
}

export interface Result {
  readonly date: string;
  readonly commit: string;
  readonly node: string;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly tscMhz: number;
    readonly kernel: string;
  };
  readonly secondsPerRow: number;
  readonly rows: readonly RowResult[];
}

export function cpuModel(): string {
  return cpus()[0]?.model ?? "unknown";
}

const HEADER = ["row", "weir", "reference", "ratio", "p10-p90", "pairs", "against"];

/** Widths of the columns that hold figures; the first and the last are text. */
const WIDTHS = [26, 16, 16, 6, 11, 6];

export function tableHead(): string {
  return `${line(HEADER)}\n${"-".repeat(112)}`;
}

export function tableRow(result: RowResult, tscMhz: number): string {
  const { row, unit, reference, weir, referenceCycles, ratio, pairs, skipped, problems } = result;
  if (weir === undefined || referenceCycles === undefined || ratio === undefined)
    return `${row.padEnd(WIDTHS[0])}  skipped: ${skipped ?? "no figure"}`;
  const figure = (cycles: number): string =>
    `${cycles.toFixed(2)} cyc ${((cycles / tscMhz) * 1000).toFixed(1)} ns`;
  const cells = line([
    row,
    figure(weir.p50),
    figure(referenceCycles.p50),
    ratio.p50.toFixed(2),
    `${ratio.p10.toFixed(2)}-${ratio.p90.toFixed(2)}`,
    String(pairs ?? 0),
    `${reference} (per ${unit})`,
  ]);
  return [cells, ...(problems ?? []).map((problem) => `  audit: ${problem}`)].join("\n");
}

function line(cells: readonly string[]): string {
  return cells
    .map((cell, i) => {
      const width = WIDTHS[i];
      if (width === undefined) return cell;
      return i === 0 ? cell.padEnd(width) : cell.padStart(width);
    })
    .join("  ");
}
