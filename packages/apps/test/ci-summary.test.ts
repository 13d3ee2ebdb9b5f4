import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { REPOSITORY } from "./fixtures/launcher-tree.js";

interface Step {
  kind: "step" | "tap";
  exitCode: number;
  tap?: readonly string[];
}

/** The last line that .ci/summary.mjs prints, and its exit code. */
function summarise(
  t: ExecutionContext,
  steps: readonly Step[],
  skips = "",
): { last: string; exitCode: number | null } {
  const folder = mkdtempSync(join(tmpdir(), "weir-summary-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const rows = steps.map(({ kind, exitCode, tap }, i) => {
    const file = join(folder, `${i}.tap`);
    writeFileSync(file, (tap ?? []).join("\n"));
    return `${kind}\tname${i}\t${exitCode}\t${file}\n`;
  });
  writeFileSync(join(folder, "results"), rows.join(""));
  writeFileSync(join(folder, "skips"), skips);
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(REPOSITORY, ".ci/summary.mjs"), join(folder, "results"), join(folder, "skips")],
    { encoding: "utf8" },
  );
  t.is(stderr, "");
  return { last: stdout.trimEnd().split("\n").at(-1) ?? "", exitCode: status };
}

const PASSING = ["TAP version 13", "ok 1 - a", "ok 2 - b", "", "1..2", "# tests 2"];
const SKIPPING = ["TAP version 13", "ok 1 - a", "ok 2 - needs a NIC # SKIP", "", "1..2"];

test("tests and steps are added up", (t) => {
  const steps: Step[] = [
    { kind: "step", exitCode: 0 },
    { kind: "tap", exitCode: 0, tap: PASSING },
  ];
  t.deepEqual(summarise(t, steps), { last: "3 passed, 0 failed, 0 skipped", exitCode: 0 });
});

test("a failed step is one failure and fails the run", (t) => {
  const steps: Step[] = [
    { kind: "step", exitCode: 2 },
    { kind: "tap", exitCode: 0, tap: PASSING },
  ];
  t.deepEqual(summarise(t, steps), { last: "2 passed, 1 failed, 0 skipped", exitCode: 1 });
});

test("a failed test is one failure, whatever stands below it", (t) => {
  const tap = ["ok 1 - a", "not ok 2 - b", "  ---", "    ok 9 - no test", "  ...", "1..2"];
  const steps: Step[] = [{ kind: "tap", exitCode: 1, tap }];
  t.deepEqual(summarise(t, steps), { last: "1 passed, 1 failed, 0 skipped", exitCode: 1 });
});

test("a skip that is listed with a reason is counted as skipped", (t) => {
  const steps: Step[] = [{ kind: "tap", exitCode: 0, tap: SKIPPING }];
  const skips = "# comment\nneeds a NIC\tthere is none\n";
  t.deepEqual(summarise(t, steps, skips), { last: "1 passed, 0 failed, 1 skipped", exitCode: 0 });
});

test("a skip that is not listed is counted as failed", (t) => {
  const steps: Step[] = [{ kind: "tap", exitCode: 0, tap: SKIPPING }];
  t.deepEqual(summarise(t, steps), { last: "1 passed, 1 failed, 0 skipped", exitCode: 1 });
});

test("a stream that broke off counts one failure beside the tests that it has", (t) => {
  const steps: Step[] = [{ kind: "tap", exitCode: 0, tap: PASSING.slice(0, 3) }];
  t.deepEqual(summarise(t, steps), { last: "2 passed, 1 failed, 0 skipped", exitCode: 1 });
});

test("a stream without a test fails", (t) => {
  const steps: Step[] = [{ kind: "tap", exitCode: 0, tap: ["TAP version 13", "1..0"] }];
  t.deepEqual(summarise(t, steps), { last: "0 passed, 1 failed, 0 skipped", exitCode: 1 });
});

test("a runner that failed although each of its tests passed fails", (t) => {
  const steps: Step[] = [{ kind: "tap", exitCode: 1, tap: PASSING }];
  t.deepEqual(summarise(t, steps), { last: "2 passed, 1 failed, 0 skipped", exitCode: 1 });
});
