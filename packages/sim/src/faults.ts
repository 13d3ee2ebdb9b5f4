/**
 * Seeded faults of a device: what a broken or hostile one does to its driver. Off by default; rates are per mille of the
 * occasions, drawn from a generator of the device's own, so that a seed replays them.
 */
import { Random, usageError } from "@weir/core";

/**
 * late, lost, reorder: completions that come steps later, never, or swapped; never reordered when IN_ORDER was
 * negotiated, and none is lost then. hostile-id: a used entry out of range, not outstanding, or given twice. hostile-len:
 * a length that is too long, or zero. num-buffers: a receive header that lies about the buffers of its frame. idx-jump: a
 * used index that moves by more than the ring. flap: the link goes down for a while.
 */
export const FAULT_NAMES = [
  "late",
  "lost",
  "reorder",
  "hostile-id",
  "hostile-len",
  "num-buffers",
  "idx-jump",
  "flap",
] as const;

export type FaultName = (typeof FAULT_NAMES)[number];

export interface FaultOptions {
  /** Per mille. */
  readonly rates: Readonly<Partial<Record<FaultName, number>>>;
  /** The step at which the device dies. */
  readonly dieAt?: number;
}

export const NO_FAULTS: FaultOptions = { rates: {} };

/** `late:5+lost:1`; commas serve too, where they do not end the argument. @throws WeirError usage */
export function parseFaults(text: string, device: string): FaultOptions {
  const rates: Partial<Record<FaultName, number>> = {};
  let dieAt: number | undefined;
  for (const part of text.split(/[+,]/)) {
    const [key = "", value = ""] = part.split(":");
    const name = FAULT_NAMES.find((known) => known === key);
    const number = /^\d+$/.test(value) ? Number(value) : Number.NaN;
    if (key === "die-at" && number > 0) dieAt = number;
    else if (name !== undefined && number <= 1000) rates[name] = number;
    else
      throw usageError(
        `--vdev ${device}: faults= takes NAME:N joined by "+", N per mille, not "${part}"; the names are ${FAULT_NAMES.join(" ")}, and die-at:STEP`,
      );
  }
  return dieAt === undefined ? { rates } : { rates, dieAt };
}

export class Faults {
  readonly random: Random;
  readonly injected: Partial<Record<FaultName, number>> = {};
  /** False: no completion ever goes wrong, and nothing needs to be looked at. */
  readonly inCompletions: boolean;
  readonly #rates: FaultOptions["rates"];

  constructor(options: FaultOptions, seed: number) {
    this.#rates = options.rates;
    this.random = new Random(seed);
    this.inCompletions = FAULT_NAMES.some(
      (name) => name !== "flap" && name !== "num-buffers" && (options.rates[name] ?? 0) > 0,
    );
  }

  /** Whether it happens now; counted when it does. */
  strikes(name: FaultName): boolean {
    const rate = this.#rates[name] ?? 0;
    if (rate === 0 || this.random.below(1000) >= rate) return false;
    this.injected[name] = (this.injected[name] ?? 0) + 1;
    return true;
  }
}
