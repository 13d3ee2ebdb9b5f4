// Sums up a CI run.
//
//   node .ci/summary.mjs RESULTS SKIPS   one line per step, then "N passed, N failed, N skipped"; exit 1 on a failure
//   node .ci/summary.mjs failures TAP    the failed tests of one TAP file with their diagnostics
//
// RESULTS holds a line per step: kind (step | tap), name, exit code, file; separated by tabs. A `step` counts as one, a
// `tap` as many as its file has tests. SKIPS holds the skips that are allowed: a part of the title, a tab, the reason.
// Any other skip counts as failed, and so does a TAP stream that breaks off or runs no test.
import { readFileSync } from "node:fs";

const TEST_LINE = /^(not ok|ok) \d+ - (.*?)(?: # (SKIP|TODO)\b.*)?$/;
const DIAGNOSTIC_LINES_MAX = 40;

/** The tests of a TAP stream, and whether it is whole. */
function parseTap(text) {
  const tests = [];
  let planned = -1;
  let test = null;
  for (const line of text.split("\n")) {
    const found = TEST_LINE.exec(line);
    const plan = /^1\.\.(\d+)/.exec(line);
    if (found !== null) {
      const skipped = found[3] !== undefined;
      test = { title: found[2], failed: found[1] === "not ok" && !skipped, skipped, lines: [] };
      tests.push(test);
    } else if (plan !== null) {
      planned = Number(plan[1]);
    } else if (test !== null && /^ {2}|^#/.test(line)) {
      test.lines.push(line);
    }
  }
  return { tests, isWhole: planned === tests.length };
}

function readSkips(file) {
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.startsWith("#"))
    .map((line) => {
      const [title, reason] = line.split("\t");
      if (!title || !reason?.trim()) throw new Error(`${file}: no tab and reason in "${line}"`);
      return { title, reason };
    });
}

function sumStep({ exitCode }) {
  const passed = exitCode === 0 ? 1 : 0;
  return { passed, failed: 1 - passed, skipped: 0, notes: [] };
}

function sumTap({ exitCode, file }, skips) {
  const { tests, isWhole } = parseTap(readFileSync(file, "utf8"));
  const sum = { passed: 0, failed: 0, skipped: 0, notes: [] };
  for (const { title, failed, skipped } of tests) {
    const allowed = skips.find((skip) => title.includes(skip.title));
    if (skipped && allowed !== undefined) {
      sum.skipped += 1;
      sum.notes.push(`skipped: ${title} (${allowed.reason})`);
    } else if (failed || skipped) {
      sum.failed += 1;
      sum.notes.push(skipped ? `skipped, but not in skips.txt: ${title}` : `failed: ${title}`);
    } else {
      sum.passed += 1;
    }
  }
  const isBroken = tests.length === 0 || !isWhole || (exitCode !== 0 && sum.failed === 0);
  if (isBroken) {
    sum.failed += 1;
    sum.notes.push(`failed: the run ended with exit code ${exitCode} after ${tests.length} tests`);
  }
  return sum;
}

function summarise(resultsFile, skipsFile) {
  const skips = readSkips(skipsFile);
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const line of readFileSync(resultsFile, "utf8").split("\n")) {
    if (line === "") continue;
    const [kind, name, exitCode, file] = line.split("\t");
    const result = { exitCode: Number(exitCode), file };
    const sum = kind === "tap" ? sumTap(result, skips) : sumStep(result);
    console.log(`${name}: ${counts(sum).replace(/, 0 skipped$/, "")}.`);
    for (const note of sum.notes) console.log("  %s", note);
    for (const key of Object.keys(total)) total[key] += sum[key];
  }
  console.log(counts(total));
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
}

function counts({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

function printFailures(tapFile) {
  for (const { title, failed, lines } of parseTap(readFileSync(tapFile, "utf8")).tests) {
    if (failed) console.log([title, ...lines.slice(0, DIAGNOSTIC_LINES_MAX)].join("\n"));
  }
  return 0;
}

const [first, second] = process.argv.slice(2);
process.exitCode = first === "failures" ? printFailures(second) : summarise(first, second);
