import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { REPOSITORY } from "./fixtures/launcher-tree.js";

const RULE = join(REPOSITORY, "lint/no-burst-allocation.grit");

interface Diagnostic {
  category: string;
  location: { start: { line: number } };
}

/** The lines, from 1, of a module that the rule flags. Biome runs outside of the linted tree, on this text alone. */
function flaggedLines(t: ExecutionContext, source: readonly string[]): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), "weir-lint-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const config = { root: true, linter: { rules: { preset: "none" } }, plugins: [RULE] };
  writeFileSync(join(folder, "biome.json"), JSON.stringify(config));
  writeFileSync(join(folder, "module.ts"), `${source.join("\n")}\n`);
  const biome = join(REPOSITORY, "node_modules/@biomejs/biome/bin/biome");
  const args = [biome, "lint", "--reporter=json", "--max-diagnostics=none", "module.ts"];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { cwd: folder }, (error, stdout, stderr) => {
      try {
        const { diagnostics } = JSON.parse(stdout) as { diagnostics: Diagnostic[] };
        const plugin = diagnostics.filter((diagnostic) => diagnostic.category === "plugin");
        const lines = plugin.map((diagnostic) => diagnostic.location.start.line);
        resolve([...new Set(lines)].sort((a, b) => a - b));
      } catch {
        reject(error ?? new Error(stderr));
      }
    });
  });
}

const FORBIDDEN: Record<string, string> = {
  "an object that is constructed": "const a = new Uint8Array(4);",
  "an array literal": "const a = [n];",
  "an object literal": "const a = { n };",
  "a regular expression": "const a = /x/;",
  "a template string": "const a = `$" + "{n}`;",
  "an arrow function": "const a = () => n;",
  "a function expression": "const a = function () { return n; };",
  "a function declaration": "function a() { return n; }",
  "a class": "const a = class {};",
  "a spread argument": "Math.max(...handles);",
  "a try with a catch": "try { handles[0] = n; } catch { n = 0; }",
  "a try with a finally": "try { handles[0] = n; } finally { n = 0; }",
  "a throw": "if (n > 4) throw handles;",
  "an await": "await n;",
};

for (const [what, statement] of Object.entries(FORBIDDEN)) {
  test.serial(`${what} is flagged in a burst function`, async (t) => {
    const lines = await flaggedLines(t, [
      "export async function rxBurst(handles, n) {",
      "  for (let i = 0; i < n; i++) {",
      `    ${statement}`,
      "  }",
      "  return n;",
      "}",
    ]);
    t.deepEqual(lines, [3]);
  });
}

test.serial("every way to write a burst function is looked at", async (t) => {
  const source = [
    "function aBurst() { return []; }",
    "const bBurst = () => { return []; };",
    "const cBurst = () => ({});",
    "const dBurst = function () { return []; };",
    "const object = {",
    "  eBurst() { return []; },",
    "  fBurst: () => { return []; },",
    "};",
    "class Queue {",
    "  gBurst() { return []; }",
    "  hBurst = () => { return []; };",
    "  #iBurst() { return []; }",
    "}",
    "object.jBurst = () => { return []; };",
    "function template() { return function kBurst() { return []; }; }",
    "export default function lBurst() { return []; }",
  ];
  const expected = [1, 2, 3, 4, 6, 7, 10, 11, 12, 14, 15, 16];
  t.deepEqual(await flaggedLines(t, source), expected);
});

test.serial("what surrounds a burst function, and other names, may allocate", async (t) => {
  const source = [
    "function makeQueue(size) {",
    "  const ring = new Uint32Array(size);",
    "  const rxBurst = (handles, n) => { handles[0] = ring[n]; return n; };",
    "  return { rxBurst, txBurst(handles, n) { return n; } };",
    "}",
    "function rxBurst2() { return []; }",
    "function burstSize() { return [32]; }",
    "const framesPerBurst = new Uint32Array(32);",
    "const namesPerBurst = framesPerBurst.map(() => { return [1]; });",
    "type RxBurst = { (handles: Uint32Array, n: number): [number] };",
  ];
  t.deepEqual(await flaggedLines(t, source), []);
});

test.serial("a plain burst function passes", async (t) => {
  const source = [
    "export function txBurst(handles: Uint32Array, n: number): number {",
    "  const { ring } = state;",
    "  for (let i = 0; i < n; i++) ring[i & 255] = handles[i] as number;",
    '  if (n > 256) dropped("full");',
    "  return n > 256 ? 256 : n;",
    "}",
  ];
  t.deepEqual(await flaggedLines(t, source), []);
});
