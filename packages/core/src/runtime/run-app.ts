/** Lifetime path: an application from its command line to its exit code. */

import { EXIT_OK, EXIT_SETUP, WeirError } from "../errors.js";
import type { VdevDriver } from "../ethdev/device.js";
import { hugepages } from "../memory/arena.js";
import { exitNow } from "../os/libc.js";
import type { AppSpec } from "./app.js";
import { EAL_OPTIONS, type EalOptions, ealHelp, interpretEal } from "./eal-args.js";
import { importApp } from "./lcore.js";
import { optionHelp, splitArguments } from "./options.js";
import { type RuntimeDir, takeRuntimeDir } from "./runtime-dir.js";
import { Session } from "./session.js";
import { ThreadedExecutor } from "./threaded.js";

export interface RunAppOptions {
  readonly drivers: readonly VdevDriver[];
  /** What `-v` prints. */
  readonly version: string;
}

/** Runs the application that `module` (a URL) exports. @returns its exit code @throws WeirError */
export async function runApp(
  module: string,
  argv: readonly string[],
  options: RunAppOptions,
): Promise<number> {
  const spec = await importApp(module);
  const appOptions = { ...spec.options };
  const given = splitArguments(argv, EAL_OPTIONS, appOptions);
  if (given.eal.help === true || given.app.help === true) {
    const usage = `Usage: weir ${spec.name} [EAL options] -- [application options]\n`;
    const mine =
      spec.options === undefined ? "" : `\n${optionHelp(`${spec.name} options`, spec.options)}`;
    const devices = options.drivers.map(
      ({ prefix, parameters }) => `  ${prefix}N${parameters.map((p) => `,${p}=`).join("")}\n`,
    );
    process.stdout.write(
      `${usage}${spec.summary === undefined ? "" : `\n${spec.summary}\n`}${mine}\n${ealHelp()}\nVirtual devices:\n${devices.join("")}`,
    );
    return EXIT_OK;
  }
  if (given.eal.version === true) {
    process.stdout.write(`weir ${options.version}\n`);
    return EXIT_OK;
  }
  const eal = interpretEal(given.eal);
  for (const note of eal.notes) log(note);
  if (eal.allow.length > 0) {
    throw new WeirError(
      "ENODEV",
      `-a ${eal.allow[0]}: this version has no driver for PCI devices yet; use --vdev`,
      EXIT_SETUP,
    );
  }
  // From here on a signal finds everything that was opened and closes it: a device must never be left as it is.
  let session: Session | undefined;
  let early = 0;
  const onSignal = (): void => {
    early++;
    session?.requestStop();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  let dir: RuntimeDir | undefined;
  try {
    dir = eal.inMemory ? undefined : takeRuntimeDir(eal.filePrefix);
    session = await Session.open({
      module,
      vdevs: eal.vdevs,
      drivers: options.drivers,
      lcores: eal.lcores,
      executor: new ThreadedExecutor(mainCpus(eal)),
      hugepages: chooseHugepages(eal),
      memoryMib: eal.memoryMib,
      appOptions: given.app,
      log,
    });
    for (let i = 0; i < early; i++) session.requestStop();
    return await runToTheEnd(spec, session);
  } finally {
    dir?.release();
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}

async function runToTheEnd(spec: AppSpec<unknown>, session: Session): Promise<number> {
  const { code, status } = await session.run();
  try {
    spec.onEnd?.(status);
  } finally {
    // A thread that does not return from its turn, or from a system call, keeps the process alive, and process.exit()
    // would wait for it. Everything is reported: files, pipes and terminals are written synchronously on Linux.
    if (session.stuck) exitNow(code);
  }
  return code;
}

/** The CPUs of the main lcore, which ctl shares when no other is left. */
function mainCpus(eal: EalOptions): readonly number[] {
  return eal.lcores.find(({ id }) => id === eal.mainLcore)?.cpus ?? [];
}

/** Hugepages when the machine has any; ordinary ones, with a note, when it has none. */
function chooseHugepages(eal: EalOptions): boolean {
  if (eal.noHuge) return false;
  if (hugepages().total > 0) return true;
  log(
    "this machine has no hugepages reserved: using ordinary pages (--no-huge says the same without this line)",
  );
  return false;
}

function log(line: string): void {
  process.stderr.write(`weir: ${line}\n`);
}
