/** weir's l2fwd as a contender: the whole program, in a process of its own. */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { L2fwdReading } from "../l2fwd-process.js";
import type { Contender, Reading } from "./contender.js";

const END_MS = 5000;
const MEMORY_MIB = 512;

/** @throws Error when it does not start */
export async function startWeir(options: {
  readonly driver: string;
  readonly hugepages: boolean;
  readonly cpu: number;
}): Promise<Contender> {
  const { driver, hugepages, cpu } = options;
  const program = fileURLToPath(new URL("../l2fwd-process.js", import.meta.url));
  const eal = [
    ...["--in-memory", "-m", String(MEMORY_MIB), "--lcores", `1@${cpu}`],
    ...["--vdev", `${driver}0`, "--vdev", `${driver}1`],
    ...(hugepages ? [] : ["--no-huge"]),
  ];
  const child = fork(program, eal);
  const exited = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
  });
  const packets = (): Promise<Reading> =>
    new Promise((resolve, reject) => {
      const gone = (): void => reject(new Error("weir's l2fwd ended"));
      child.once("exit", gone);
      child.once("message", (reading: L2fwdReading) => {
        child.off("exit", gone);
        resolve({ ...reading, doubtNs: 0 });
      });
      child.send("packets");
    });
  await packets();
  return {
    pid: child.pid as number,
    packets,
    async close() {
      const kill = setTimeout(() => child.kill("SIGKILL"), END_MS);
      child.send("stop");
      await exited;
      clearTimeout(kill);
    },
  };
}
