/** The `weir` command: finds what to run by its first argument. */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { EXIT_OK, runApp, usageError } from "@weir/core";
import { pciDrivers, vdevs } from "@weir/drivers";
import { netSim } from "@weir/sim";

/** Everything that --vdev knows. */
const drivers = [...vdevs, netSim(pciDrivers)];

interface Command {
  readonly summary: string;
  run(argv: readonly string[]): Promise<number>;
}

const version: string = (
  JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) as {
    version: string;
  }
).version;

const ours = (module: string): string => new URL(module, import.meta.url).href;
const runOurs = (module: string, argv: readonly string[]): Promise<number> =>
  runApp(ours(module), argv, { drivers, version });

const COMMANDS: Readonly<Record<string, Command>> = {
  start: { summary: "forwards a real capture for a few seconds, with the live screen", run: start },
  l2fwd: {
    summary: "forwards between pairs of ports",
    run: (argv) => runOurs("../l2fwd/index.js", argv),
  },
  pktgen: {
    summary: "sends generated frames or a capture, and counts what comes back",
    run: (argv) => runOurs("../pktgen/index.js", argv),
  },
  bench: {
    summary: "measures the hot loops beside C and, where it is installed, testpmd",
    run: bench,
  },
  run: { summary: "runs an application of yours: weir run FILE [options]", run: runFile },
};

/** @param argv the arguments after the command's own name @returns the exit code @throws WeirError */
export async function main(argv: readonly string[]): Promise<number> {
  const [name = "--help", ...rest] = argv;
  if (name === "--help" || name === "-h" || name === "help") {
    process.stdout.write(help());
    return EXIT_OK;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined)
    throw usageError(
      `there is no command "${name}"; the commands are ${Object.keys(COMMANDS).join(", ")}, build, test`,
    );
  return command.run(rest);
}

function help(): string {
  const rows = Object.entries(COMMANDS).map(
    ([name, { summary }]) => `  ${name.padEnd(8)} ${summary}\n`,
  );
  return (
    `weir ${version}: userspace packet I/O\n\nUsage: weir COMMAND [EAL options] -- [application options]\n\n` +
    `${rows.join("")}  build    installs and builds, and nothing else\n  test     builds and runs the tests\n\nweir COMMAND --help tells more.\n`
  );
}

/**
 * The first-time user's run: l2fwd between two simulated virtio-net cards, whose wires replay the two sides of one
 * session of real programs.
 */
function start(argv: readonly string[]): Promise<number> {
  const capture = (side: string): string =>
    fileURLToPath(new URL(`../../../captures/mixed-${side}.pcap`, import.meta.url));
  const card = (side: string, i: number): string =>
    `net_sim${i},model=virtio-net,mtu=9000,rx_pcap=${capture(side)},infinite_rx=1`;
  const devices = ["a", "b"].flatMap((side, i) => ["--vdev", card(side, i)]);
  const fixed = ["--in-memory", "--no-huge", ...devices, "--", "--duration", "4", "-T", "1"];
  return runOurs("../l2fwd/index.js", [...fixed, ...argv]);
}

/** The benches are no part of what is published: they are found beside the packages, in the repository. */
async function bench(argv: readonly string[]): Promise<number> {
  const module = ours("../../../../../bench/dist/src/main.js");
  const { main: run } = (await import(module)) as {
    main: (argv: readonly string[]) => Promise<number>;
  };
  return run(argv);
}

/** An application of the user's. TypeScript of this workspace runs from what `tsc -b` made of it. */
function runFile(argv: readonly string[]): Promise<number> {
  const [file, ...rest] = argv;
  if (file === undefined)
    throw usageError("run needs the file of an application: weir run FILE [options]");
  const path = resolve(file);
  if (!existsSync(path))
    throw usageError(`${file} does not exist: weir run needs the file of an application`);
  return runApp(pathToFileURL(compiled(path) ?? path).href, rest, {
    drivers,
    version,
  });
}

/** Where `tsc -b` put a TypeScript file of this workspace; undefined when it is no such file. */
function compiled(path: string): string | undefined {
  if (!path.endsWith(".ts")) return undefined;
  const root = fileURLToPath(new URL("../../../../../", import.meta.url));
  const match = /^((?:packages\/[^/]+|examples|bench))\/(.*)\.ts$/.exec(
    path.startsWith(root) ? path.slice(root.length) : "",
  );
  if (match === null) return undefined;
  const output = `${root}${match[1]}/dist/${match[2]}.js`;
  return existsSync(output) ? output : undefined;
}
