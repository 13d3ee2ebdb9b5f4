/** T51: an lcore that breaks costs its own work and nothing else. */
import { fileURLToPath } from "node:url";
import { native } from "@weir/core";
import test from "ava";
import { eventually, ownPrefix, startWeir, weir } from "./fixtures/weir.js";

const APP = fileURLToPath(new URL("./fixtures/crashing-app.js", import.meta.url));
const EXIT_CRASH = 70;
const IN_HAND = 132;

interface Report {
  readonly ports: readonly { tx: number; dropped: number }[];
  readonly buffers: { total: number; free: number; held: Record<string, number> };
  readonly lcores: readonly { lcore: number; state: string }[];
}

/** Two lcores, on one CPU when there is but one. */
function lcores(): string {
  const cpus = native.affinity();
  return `1@${cpus[0]},2@${cpus[1] ?? cpus[0]}`;
}

function lastLine(stdout: string): Report {
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Report;
}

async function crash(
  how: string,
): Promise<{ code: number | null; report: Report; stderr: string }> {
  const devices = ["--vdev", "net_null0", "--vdev", "net_null1"];
  const { code, stdout, stderr } = await weir(
    "run",
    APP,
    "--no-huge",
    "--file-prefix",
    ownPrefix(),
    "--lcores",
    lcores(),
    ...devices,
    "--",
    "--how",
    how,
  );
  return { code, report: lastLine(stdout), stderr };
}

for (const [how, reason] of [
  ["throw", /lcore 1 crashed: RangeError: the turn broke/],
  ["throw with an open timer", /lcore 1 crashed: RangeError: the turn broke/],
  ["exit", /lcore 1 crashed: it called process\.exit\(0\)/],
  ["memory", /lcore 1 crashed: .*memory/],
] as const) {
  test(`T51: after an lcore's end by "${how}" the other port goes on, its buffers are taken back, and the exit code is 70`, async (t) => {
    const { code, report, stderr } = await crash(how);
    t.is(code, EXIT_CRASH);
    t.regex(stderr, reason);
    const taken = Number(/(\d+) buffers of lcore 1 were taken back/.exec(stderr)?.[1]);
    t.true(taken >= IN_HAND, `${taken} taken back`);
    t.false(stderr.includes("audit"), stderr);
    t.deepEqual(
      report.lcores.map(({ state }) => state),
      ["crashed", "stopped"],
    );
    t.is(report.buffers.free, report.buffers.total);
    t.deepEqual(report.buffers.held, {});
  });
}

test("an lcore that never returns from its turn is declared stuck, what it holds is named, and the exit code is 70", async (t) => {
  const { code, report, stderr } = await crash("stuck");
  t.is(code, EXIT_CRASH);
  t.regex(stderr, /lcore 1 did not pass a quiescent point within 1000 ms/);
  t.deepEqual(
    report.lcores.map(({ state }) => state),
    ["stuck", "stopped"],
  );
  t.is(report.buffers.held["lcore 1"], IN_HAND);
  const held = Object.values(report.buffers.held).reduce((sum, count) => sum + count, 0);
  t.is(report.buffers.free + held, report.buffers.total);
});

test("an lcore whose turns are never ready is left behind when the user asks twice", async (t) => {
  const app = startWeir([
    "run",
    APP,
    "--no-huge",
    "--in-memory",
    "--lcores",
    lcores(),
    "--vdev",
    "net_null0",
    "--",
    "--how",
    "never ready",
  ]);
  await eventually(() => app.output().includes("set up"), "its first line"); // any moment from here on will do
  app.child.kill("SIGINT");
  await new Promise((resolve) => setTimeout(resolve, 300)); // or the kernel makes one signal of the two
  app.child.kill("SIGINT");
  const { code, stderr } = await app.ended;
  t.is(code, EXIT_CRASH);
  t.regex(stderr, /lcore 1 did not pass a quiescent point within 50 ms/);
});

test("an application that keeps a timer open ends in good order all the same", async (t) => {
  const app = startWeir([
    "run",
    APP,
    "--no-huge",
    "--in-memory",
    "--lcores",
    lcores(),
    "--vdev",
    "net_null0,no-rx=1",
    "--",
    "--how",
    "nothing, with an open timer",
  ]);
  await eventually(() => app.output().includes("set up"), "its first line");
  app.child.kill("SIGINT");
  const { code, stdout, stderr } = await app.ended;
  t.is(stderr, "");
  t.is(code, 0);
  const { buffers } = lastLine(stdout);
  t.is(buffers.free, buffers.total);
});
