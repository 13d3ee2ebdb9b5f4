/** `./weir bench`: measures every row against its reference and prints the ratios. Asserts nothing. */
import { execFileSync, fork } from "node:child_process";
import { writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { EXIT_OK, EXIT_USAGE, native } from "@weir/core";
import { measureTscHz } from "./measure.js";
import { cpuModel, type Result, type RowResult, tableHead, tableRow } from "./result.js";
import type { RowReply } from "./row-process.js";
import { rows } from "./rows/index.js";
import { measureTestpmd, testpmdRows } from "./testpmd/rows.js";

const SECONDS = 1;
const SECONDS_MAX = 3600;
const HELP = `Usage: weir bench [FILTER] [options]

Measures weir beside the same work in C and beside DPDK's testpmd, and prints cycles and ratios.
FILTER picks the rows whose name contains it.

  --seconds N     time for each row (default: ${SECONDS})
  --json FILE     writes the figures there too
  --cpu N         CPU to measure on (default: the last one allowed)
  --hugepages     testpmd rows with hugepages too: reserves them for the while, as root
  --list          names the rows
`;

/** @returns the exit code */
export async function main(argv: string[]): Promise<number> {
  let options: Options;
  try {
    options = readOptions(argv);
  } catch (error) {
    process.stderr.write(`weir bench: ${(error as Error).message}\n`);
    return EXIT_USAGE;
  }
  const { filter, help, list } = options;
  if (help) {
    process.stdout.write(HELP);
    return EXIT_OK;
  }
  const local = rows.map((row, index) => ({ row, index }));
  const wanted = local.filter(({ row }) => row.name.includes(filter));
  const peers = testpmdRows(options.hugepages).filter(({ name }) => name.includes(filter));
  if (list || wanted.length + peers.length === 0) {
    const names = [
      ...local.map(({ row }) => row.name),
      ...testpmdRows(true).map((row) => row.name),
    ];
    process.stdout.write(`${names.join("\n")}\n`);
    return list ? EXIT_OK : EXIT_USAGE;
  }

  const tscMhz = Math.round(measureTscHz() / 1e6);
  process.stdout.write(
    `${cpuModel()}, ${cpus().length} cores, TSC ${tscMhz} MHz, Node ${process.version}, CPU ${options.cpu}\n\n${tableHead()}\n`,
  );
  const results: RowResult[] = [];
  const report = (result: RowResult): void => {
    results.push(result);
    process.stdout.write(`${tableRow(result, tscMhz)}\n`);
  };
  for (const { row, index } of wanted) {
    const { name, unit, reference } = row;
    report({ row: name, unit, reference, ...(await measureRow(index, options)) });
  }
  for (const row of peers) report(await measureTestpmd(row, { ...options, tscHz: tscMhz * 1e6 }));

  if (options.json !== undefined) {
    const result: Result = {
      date: new Date().toISOString(),
      commit: commit(),
      node: process.version,
      machine: { cpu: cpuModel(), cores: cpus().length, tscMhz, kernel: release() },
      secondsPerRow: options.seconds,
      rows: results.map(rounded),
    };
    writeFileSync(options.json, `${JSON.stringify(result, null, 2)}\n`);
  }
  return EXIT_OK;
}

interface Options {
  readonly filter: string;
  readonly seconds: number;
  readonly cpu: number;
  readonly json: string | undefined;
  readonly hugepages: boolean;
  readonly list: boolean;
  readonly help: boolean;
}

/** @throws Error that says what is wrong */
function readOptions(args: string[]): Options {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      seconds: { type: "string" },
      json: { type: "string" },
      cpu: { type: "string" },
      hugepages: { type: "boolean" },
      list: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (positionals.length > 1) throw new Error(`one filter at most, not ${positionals.join(" ")}`);
  const seconds = Number(values.seconds ?? SECONDS);
  if (!(seconds > 0 && seconds <= SECONDS_MAX))
    throw new Error(`--seconds ${values.seconds} is not above 0 and at most ${SECONDS_MAX}`);
  const allowed = native.affinity();
  const cpu = values.cpu === undefined ? (allowed.at(-1) as number) : Number(values.cpu);
  if (!allowed.includes(cpu))
    throw new Error(`--cpu ${values.cpu}: the CPUs of this process are ${allowed.join(",")}`);
  return {
    filter: positionals[0] ?? "",
    seconds,
    cpu,
    json: values.json,
    hugepages: values.hugepages ?? false,
    list: values.list ?? false,
    help: values.help ?? false,
  };
}

function measureRow(
  index: number,
  { seconds, cpu }: Options,
): Promise<Partial<Omit<RowResult, "row" | "unit" | "reference">>> {
  return new Promise((resolve) => {
    const program = fileURLToPath(new URL("./row-process.js", import.meta.url));
    const child = fork(program, [String(index), String(seconds), String(cpu)]);
    child.once("message", (reply: RowReply) => {
      if (reply.type === "skipped") resolve({ skipped: reply.reason });
      else {
        const { weir, reference, ratio, pairs, refused } = reply.pairs;
        const { problems } = reply;
        const counts = { weir, referenceCycles: reference, ratio, pairs, refused };
        resolve(problems.length > 0 ? { ...counts, problems } : counts);
      }
    });
    child.once("exit", (code, signal) => {
      resolve({ skipped: `its process ended with ${signal ?? code}` });
    });
  });
}

function commit(): string {
  const root = fileURLToPath(new URL("../../../", import.meta.url));
  const git = (...args: string[]): string =>
    execFileSync("git", ["-C", root, ...args], { encoding: "utf8", stdio: "pipe" }).trim();
  try {
    const dirty = git("status", "--porcelain", "--untracked-files=no") !== "";
    return `${git("rev-parse", "--short=12", "HEAD")}${dirty ? " with changes" : ""}`;
  } catch {
    return "unknown"; // an installed package has no history: that is the answer, not a failure
  }
}

/** Three digits behind the point say all that a figure can. */
function rounded(result: RowResult): RowResult {
  return JSON.parse(
    JSON.stringify(result, (_, value: unknown) =>
      typeof value === "number" ? Math.round(value * 1000) / 1000 : value,
    ),
  ) as RowResult;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.exitCode = await main(process.argv.slice(2));
}
