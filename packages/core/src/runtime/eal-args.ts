/**
 * Lifetime path: EAL arguments, with DPDK's names and forms (DPDK "EAL parameters").
 */
import { availableParallelism } from "node:os";
import { usageError } from "../errors.js";
import { native } from "../native/addon.js";
import { type OptionTable, optionHelp } from "./options.js";

/** Lcore numbers go up to this, as RTE_MAX_LCORE. */
const LCORES_MAX = 128;
export const DEFAULT_FILE_PREFIX = "weir";

export interface Lcore {
  readonly id: number;
  /** CPUs it may run on. */
  readonly cpus: readonly number[];
}

export interface EalOptions {
  readonly lcores: readonly Lcore[];
  /** The lcore whose CPUs ctl shares when no CPU is left over. */
  readonly mainLcore: number;
  /** Packet memory at most, MiB; 0: as much as the arena holds. */
  readonly memoryMib: number;
  readonly vdevs: readonly string[];
  readonly allow: readonly string[];
  readonly filePrefix: string;
  readonly noHuge: boolean;
  readonly inMemory: boolean;
  /** Notes for the user: options that are accepted and do nothing here. */
  readonly notes: readonly string[];
  readonly help: boolean;
  readonly version: boolean;
}

export const EAL_OPTIONS: OptionTable = {
  cores: { type: "string", short: "l", value: "LIST", help: "lcores to run, by CPU: 1-3,5" },
  lcores: { type: "string", value: "MAP", help: "lcores with their CPUs: '1@0,2@(1-3)'" },
  coremask: {
    type: "string",
    short: "c",
    value: "MASK",
    help: "lcores to run, as a hexadecimal mask",
  },
  "main-lcore": {
    type: "string",
    value: "ID",
    help: "lcore whose CPU the control thread shares when none is left over",
  },
  memory: { type: "string", short: "m", value: "MB", help: "packet memory at most" },
  channels: {
    type: "string",
    short: "n",
    value: "N",
    help: "accepted; memory channels do not matter here",
  },
  ranks: {
    type: "string",
    short: "r",
    value: "N",
    help: "accepted; memory ranks do not matter here",
  },
  vdev: {
    type: "string",
    multiple: true,
    value: "DEVICE[,ARG=VALUE…]",
    help: "adds a virtual device",
  },
  allow: {
    type: "string",
    short: "a",
    multiple: true,
    value: "DEVICE",
    help: "uses this PCI device",
  },
  block: {
    type: "string",
    short: "b",
    multiple: true,
    value: "DEVICE",
    help: "does not use this PCI device",
  },
  "file-prefix": {
    type: "string",
    value: "NAME",
    help: `name of this instance's runtime folder (default: ${DEFAULT_FILE_PREFIX})`,
  },
  "no-huge": { type: "boolean", help: "uses ordinary pages" },
  "in-memory": { type: "boolean", help: "makes no runtime folder and takes no lock" },
  "no-pci": { type: "boolean", help: "does not look for PCI devices" },
  "proc-type": {
    type: "string",
    value: "primary",
    help: "only primary: tools attach through the runtime folder",
  },
  version: { type: "boolean", short: "v", help: "prints the version" },
  help: { type: "boolean", short: "h", help: "prints this" },
};

/** @throws WeirError usage */
export function interpretEal(values: Record<string, unknown>): EalOptions {
  const text = (key: string): string | undefined => values[key] as string | undefined;
  const list = (key: string): string[] => (values[key] as string[] | undefined) ?? [];
  const notes: string[] = [];
  for (const [key, flag] of [
    ["channels", "-n"],
    ["ranks", "-r"],
  ] as const) {
    if (text(key) !== undefined)
      notes.push(
        `${flag} is accepted and has no effect: weir does not spread memory over channels`,
      );
  }
  const procType = text("proc-type");
  if (procType !== undefined && procType !== "primary" && procType !== "auto") {
    throw usageError(
      `--proc-type=${procType} is not supported: every weir process is a primary; give each its own --file-prefix`,
    );
  }
  const allow = list("allow");
  if (allow.length > 0 && list("block").length > 0)
    throw usageError("-a and -b cannot be given together: allow some devices or block some");
  const filePrefix = text("file-prefix") ?? DEFAULT_FILE_PREFIX;
  if (!/^[\w.-]+$/.test(filePrefix) || filePrefix === "." || filePrefix === "..") {
    throw usageError(`--file-prefix ${filePrefix}: use letters, digits, ".", "_" and "-"`);
  }
  const lcores = chooseLcores(text("cores"), text("lcores"), text("coremask"));
  const mainText = text("main-lcore");
  const mainLcore =
    mainText === undefined
      ? (lcores[0] as Lcore).id
      : wholeNumber("--main-lcore", mainText, LCORES_MAX - 1);
  if (!lcores.some(({ id }) => id === mainLcore)) {
    throw usageError(
      `--main-lcore ${mainLcore} is not among the lcores ${lcores.map(({ id }) => id).join(",")}`,
    );
  }
  const memory = text("memory");
  return {
    lcores,
    mainLcore,
    memoryMib: memory === undefined ? 0 : wholeNumber("-m", memory, 2048, 1),
    vdevs: list("vdev"),
    allow,
    filePrefix,
    noHuge: values["no-huge"] === true,
    inMemory: values["in-memory"] === true,
    notes,
    help: values.help === true,
    version: values.version === true,
  };
}

export function ealHelp(): string {
  return optionHelp("EAL options", EAL_OPTIONS);
}

function chooseLcores(
  cores: string | undefined,
  map: string | undefined,
  mask: string | undefined,
): Lcore[] {
  const given = [cores, map, mask].filter((text) => text !== undefined);
  if (given.length > 1)
    throw usageError("give only one of -l, --lcores and -c: each says which lcores run");
  const usable = native.affinity();
  let lcores: Lcore[];
  if (cores !== undefined) lcores = numberList("-l", cores).map((id) => ({ id, cpus: [id] }));
  else if (mask !== undefined) lcores = maskBits("-c", mask).map((id) => ({ id, cpus: [id] }));
  else if (map !== undefined) lcores = lcoreMap(map);
  else lcores = defaultLcores(usable);
  for (const { id, cpus } of lcores) {
    const missing = cpus.find((cpu) => !usable.includes(cpu));
    if (missing !== undefined) {
      throw usageError(
        `lcore ${id} asks for CPU ${missing}, which this process may not use; it may use ${usable.join(",")}`,
      );
    }
  }
  return lcores;
}

/** All CPUs but the first, which is left to ctl; the only one when there is but one. */
function defaultLcores(usable: readonly number[]): Lcore[] {
  const cpus = usable.length > 1 ? usable.slice(1, 1 + availableParallelism()) : usable;
  return cpus.map((id) => ({ id, cpus: [id] }));
}

/** `1@0,2@(1-3),4`: DPDK's --lcores, lists of lcores in brackets included. */
function lcoreMap(text: string): Lcore[] {
  const lcores: Lcore[] = [];
  const items = text.match(/(\([^)]*\)|[^,(])+/g) ?? [];
  if (items.join(",") !== text)
    throw usageError(`--lcores ${text} is not a list such as '1@0,2@(1-3)'`);
  for (const item of items) {
    const [left = "", right] = item.split("@");
    const ids = numberList("--lcores", strip(left));
    for (const id of ids)
      lcores.push({ id, cpus: right === undefined ? [id] : numberList("--lcores", strip(right)) });
  }
  if (lcores.length === 0) throw usageError(`--lcores ${text} names no lcore`);
  if (new Set(lcores.map(({ id }) => id)).size !== lcores.length)
    throw usageError(`--lcores ${text} names an lcore twice`);
  return lcores;
}

function strip(text: string): string {
  return text.startsWith("(") && text.endsWith(")") ? text.slice(1, -1) : text;
}

/** `1-3,5` as numbers, ascending. */
function numberList(option: string, text: string): number[] {
  const numbers = new Set<number>();
  for (const part of text.split(",")) {
    const range = /^(\d+)(?:-(\d+))?$/.exec(part.trim());
    if (range === null)
      throw usageError(`${option} ${text}: "${part}" is not a number or a range such as 1-3`);
    const from = Number(range[1]);
    const to = Number(range[2] ?? range[1]);
    if (to < from || to >= LCORES_MAX)
      throw usageError(`${option} ${text}: "${part}" is not a range within 0-${LCORES_MAX - 1}`);
    for (let n = from; n <= to; n++) numbers.add(n);
  }
  return [...numbers].sort((a, b) => a - b);
}

/** The bits of a hexadecimal mask. @throws WeirError usage when it is no such mask or 0 */
export function maskBits(option: string, text: string): number[] {
  const digits = text.replace(/^0x/i, "");
  if (!/^[0-9a-f]{1,32}$/i.test(digits))
    throw usageError(`${option} ${text} is not a hexadecimal mask such as 0x3`);
  const mask = BigInt(`0x${digits}`);
  const bits: number[] = [];
  for (let bit = 0; bit < LCORES_MAX; bit++) if ((mask >> BigInt(bit)) & 1n) bits.push(bit);
  if (bits.length === 0) throw usageError(`${option} ${text} has no bit set`);
  return bits;
}

/** @throws WeirError usage */
export function wholeNumber(option: string, text: string, max: number, min = 0): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > max || value < min)
    throw usageError(`${option} ${text} is not a whole number from ${min} to ${max}`);
  return value;
}
