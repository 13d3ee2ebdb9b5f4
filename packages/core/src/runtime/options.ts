/**
 * Lifetime path: command-line options, EAL's and an application's, on node:util's parseArgs.
 */
import { parseArgs } from "node:util";
import { usageError, type WeirError } from "../errors.js";

export interface Option {
  readonly type: "string" | "boolean";
  readonly short?: string;
  readonly multiple?: boolean;
  /** What the value is called in the help. */
  readonly value?: string;
  readonly help: string;
}

export type OptionTable = Readonly<Record<string, Option>>;
export type OptionValues = Record<string, string | boolean | (string | boolean)[] | undefined>;

export interface SplitArguments {
  readonly eal: OptionValues;
  readonly app: OptionValues;
}

/**
 * EAL options stand before the first `--` and the application's behind it. Without `--` both are accepted, as long as
 * a name means one thing. @throws WeirError usage, which names the option and says what is allowed
 */
export function splitArguments(
  argv: readonly string[],
  eal: OptionTable,
  app: OptionTable,
): SplitArguments {
  const at = argv.indexOf("--");
  if (at >= 0) {
    return {
      eal: parse(argv.slice(0, at), eal, "EAL option"),
      app: parse(argv.slice(at + 1), app, "application option"),
    };
  }
  const shared: Record<string, Option> = { ...eal };
  const ambiguous = new Set<string>();
  const ealShorts = new Set(Object.values(eal).map(({ short }) => short));
  for (const [name, option] of Object.entries(app)) {
    if (name in eal || (option.short !== undefined && ealShorts.has(option.short)))
      ambiguous.add(name);
    else shared[name] = option;
  }
  const values = parse(argv, shared, "option");
  const mine: OptionValues = {};
  const theirs: OptionValues = {};
  for (const [name, value] of Object.entries(values)) {
    if (name in eal) theirs[name] = value;
    else mine[name] = value;
  }
  for (const [name, option] of Object.entries(app)) {
    if (
      ambiguous.has(name) &&
      option.short !== undefined &&
      argv.some((text) => text.startsWith(`-${option.short}`))
    ) {
      throw usageError(
        `-${option.short} is an EAL option and an application option: write EAL options, then --, then the application's`,
      );
    }
  }
  return { eal: theirs, app: mine };
}

function parse(args: readonly string[], options: OptionTable, what: string): OptionValues {
  try {
    return {
      ...parseArgs({ args: [...args], options, strict: true, allowPositionals: false }).values,
    };
  } catch (error) {
    throw describeParseError(error, options, what);
  }
}

/** One sentence for what parseArgs threw: which option, and what is allowed. */
export function describeParseError(error: unknown, options: OptionTable, what: string): WeirError {
  const message = error instanceof Error ? error.message : String(error);
  const name = /'(.+?)'/.exec(message)?.[1]?.split(/[ ,]/)[0] ?? "";
  const code = (error as { code?: unknown }).code;
  if (code === "ERR_PARSE_ARGS_UNKNOWN_OPTION") {
    return usageError(
      `${name} is not an ${what.replace(/^option$/, "option known here")}; known are ${names(options)}`,
    );
  }
  if (code === "ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL") {
    return usageError(`"${name}" is not an option: arguments are written --name value or -n value`);
  }
  return usageError(message.split("\n")[0] as string);
}

function names(options: OptionTable): string {
  return Object.entries(options)
    .map(([name, { short }]) => (short === undefined ? `--${name}` : `-${short}`))
    .join(" ");
}

/** The options as `--help` prints them. */
export function optionHelp(title: string, options: OptionTable): string {
  const rows = Object.entries(options).map(([name, { short, value, help }]) => {
    const flags = short === undefined ? `    --${name}` : `-${short}, --${name}`;
    return { left: `  ${flags}${value === undefined ? "" : ` ${value}`}`, help };
  });
  const width = Math.min(34, Math.max(...rows.map(({ left }) => left.length)));
  const lines = rows.map(({ left, help }) =>
    left.length > width
      ? `${left}\n${" ".repeat(width)}  ${help}`
      : `${left.padEnd(width)}  ${help}`,
  );
  return `${title}:\n${lines.join("\n")}\n`;
}
