import {
  chmodSync,
  chownSync,
  constants,
  copyFileSync,
  lchownSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
} from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { LauncherTree, type Outcome } from "./fixtures/launcher-tree.js";

const EXIT_SETUP = 3;
const EXIT_CRASH = 70;
const PT_INTERP = 3;

const testAsRoot = process.geteuid?.() === 0 ? test.serial : test.skip;

function makeTree(t: ExecutionContext): LauncherTree {
  const tree = new LauncherTree();
  t.teardown(() => tree.remove());
  return tree;
}

/** The launcher's own last line, which is all that a failed set-up may say after its progress lines. */
function isOneSentence(t: ExecutionContext, outcome: Outcome, pattern: RegExp): void {
  t.is(outcome.exitCode, EXIT_SETUP, outcome.stderr);
  t.is(outcome.stdout, "");
  const lines = outcome.stderr.trimEnd().split("\n");
  const sentences = lines.filter(
    (line) => !/^(weir: (building|compiling|installing)|npm error) /.test(line),
  );
  t.is(sentences.length, 1, outcome.stderr);
  t.regex(sentences[0] as string, pattern);
  t.notRegex(outcome.stderr, /gyp ERR|^\s+at .*:\d+:\d+/m);
}

async function runPretending(t: ExecutionContext, change: string): Promise<Outcome> {
  const tree = makeTree(t);
  return tree.run(["build"], { preload: tree.write("pretend.cjs", change) });
}

function pretend(property: string, value: string): string {
  return `Object.defineProperty(process, "${property}", { value: "${value}" });`;
}

for (const version of ["v18.20.8", "v20.18.3", "v21.7.3", "v22.11.0"]) {
  test.serial(
    `Node ${version} gets one sentence that names what fits, and exit code 3`,
    async (t) => {
      const outcome = await runPretending(t, pretend("version", version));
      isOneSentence(t, outcome, /^weir: Node v[\d.]+ is not supported, use \^20\.19 or >=22\.12$/);
    },
  );
}

for (const version of ["v20.19.0", "v22.12.0", "v23.0.0", "v30.1.2"]) {
  test.serial(`Node ${version} is accepted`, async (t) => {
    const outcome = await runPretending(t, pretend("version", version));
    t.is(outcome.exitCode, 0, outcome.stderr);
  });
}

test.serial("another operating system gets one sentence and exit code 3", async (t) => {
  const outcome = await runPretending(t, pretend("platform", "darwin"));
  isOneSentence(t, outcome, /Linux on x86-64 only, this is darwin on x64$/);
});

test.serial("another processor gets one sentence and exit code 3", async (t) => {
  const outcome = await runPretending(t, pretend("arch", "arm64"));
  isOneSentence(t, outcome, /Linux on x86-64 only, this is linux on arm64$/);
});

test.serial("a Node that is linked with musl gets one sentence and exit code 3", async (t) => {
  const tree = makeTree(t);
  const loader = "/lib/ld-musl-x86_64.so.1\0";
  const elf = Buffer.alloc(256); // the header, one program header at 64, the loader's name at 128
  elf.write("\x7fELF", "latin1");
  elf.writeBigUInt64LE(64n, 32);
  elf.writeUInt16LE(56, 54);
  elf.writeUInt16LE(1, 56);
  elf.writeUInt32LE(PT_INTERP, 64);
  elf.writeBigUInt64LE(128n, 64 + 8);
  elf.writeBigUInt64LE(BigInt(loader.length), 64 + 32);
  elf.write(loader, 128, "latin1");
  const binary = tree.write("musl-node", elf);
  const preload = tree.write("pretend.cjs", pretend("execPath", binary));
  const outcome = await tree.run(["build"], { preload });
  isOneSentence(t, outcome, /^weir: weir needs glibc.*\(\/lib\/ld-musl-x86_64\.so\.1\)$/);
});

test.serial("a missing compiler is named together with the command that installs it", async (t) => {
  const tree = makeTree(t);
  tree.addAddon("");
  const path = tree.folderOf(["make", "python3"]);
  isOneSentence(
    t,
    await tree.run(["build"], { path }),
    /because g\+\+ cannot be found: type `(sudo )?apt-get install g\+\+ make python3`$/,
  );
});

test.serial("a missing compiler, make and Python are all named in the one sentence", async (t) => {
  const tree = makeTree(t);
  tree.addAddon("");
  const path = tree.folderOf([]);
  const outcome = await tree.run(["build"], { path });
  isOneSentence(t, outcome, /because g\+\+, make and python3 cannot be found: type `/);
});

test.serial(
  "an addon that does not compile shows the compiler's first error and names the log",
  async (t) => {
    const tree = makeTree(t);
    tree.addAddon("int f() { return no_such_name; }\n");
    const outcome = await tree.run(["build"]);
    isOneSentence(
      t,
      outcome,
      /does not compile: .*no_such_name.*\.cache\/weir\/addon-core\.log\)$/,
    );
    t.regex(tree.read(".cache/weir/addon-core.log"), /gyp ERR/);
  },
);

test.serial("a missing kernel header is named together with the package that has it", async (t) => {
  const tree = makeTree(t);
  tree.addAddon("#include <linux/no-such-header.h>\n");
  const outcome = await tree.run(["build"]);
  isOneSentence(
    t,
    outcome,
    /header linux\/no-such-header\.h is missing: type `.*linux-libc-dev` \(/,
  );
});

test.serial("an addon is built again when its source changes, and only then", async (t) => {
  const tree = makeTree(t);
  tree.addAddon("int f() { return 1; }\n");
  const builds = (outcome: Outcome): boolean => /building the native addon/.test(outcome.stderr);
  t.true(builds(await tree.run(["build"])));
  t.false(builds(await tree.run(["build"])));
  tree.write("packages/core/native/addon.cc", "int f() { return 23; }\n");
  t.true(builds(await tree.run(["build"])));
});

test.serial("an install without a network says what failed and what to type", async (t) => {
  const tree = makeTree(t);
  tree.write("pnpm-lock.yaml", "lockfileVersion: 'changed'\n");
  tree.writeProgram(
    "bin/npx",
    '#!/bin/sh\necho "$@" >asked\necho npm error code ENOTFOUND >&2\nexit 1\n',
  );
  const outcome = await tree.run(["build"], { path: `${tree.path("bin")}:/usr/bin:/bin` });
  isOneSentence(
    t,
    outcome,
    /registry cannot be reached: type `npx -y pnpm@12 install --frozen-lockfile`/,
  );
  t.is(tree.read("asked"), "-y pnpm@12 install --frozen-lockfile\n");
});

test.serial("a lockfile that is not the installed one is installed, and only once", async (t) => {
  const tree = makeTree(t);
  tree.write("pnpm-lock.yaml", "lockfileVersion: 'changed'\n");
  tree.writeProgram(
    "bin/npx",
    "#!/bin/sh\necho asked >>asked\ncp pnpm-lock.yaml node_modules/.pnpm/lock.yaml\n",
  );
  const path = `${tree.path("bin")}:/usr/bin:/bin`;
  t.is((await tree.run(["build"], { path })).exitCode, 0);
  t.is((await tree.run(["build"], { path })).exitCode, 0);
  t.is(tree.read("asked"), "asked\n");
});

test.serial("a missing npx is named together with the command that installs it", async (t) => {
  const tree = makeTree(t);
  rmSync(tree.path("node_modules/.modules.yaml"));
  symlinkSync(process.execPath, tree.path("node"));
  const preload = tree.write("pretend.cjs", pretend("execPath", tree.path("node")));
  const outcome = await tree.run(["build"], { preload, path: tree.folderOf([]) });
  isOneSentence(t, outcome, /npx is missing: type `(sudo )?apt-get install npm`/);
});

test.serial("a warm start changes no file and says nothing of its own", async (t) => {
  const tree = makeTree(t);
  await tree.run(["build"]);
  const before = tree.listing();
  const outcome = await tree.run(["l2fwd", "-p", "3"]);
  t.deepEqual(outcome, { exitCode: 5, stdout: "l2fwd,-p,3\n", stderr: "" });
  t.deepEqual(tree.listing(), before);
});

test.serial("a build prints nothing on stdout", async (t) => {
  const tree = makeTree(t);
  const outcome = await tree.run(["l2fwd"]);
  t.is(outcome.stdout, "l2fwd\n");
  t.regex(outcome.stderr, /^weir: compiling TypeScript$/m);
});

test.serial("a changed source is compiled before it runs", async (t) => {
  const tree = makeTree(t);
  await tree.run(["build"]);
  tree.write(
    "packages/apps/src/cli/main.ts",
    "export const main = async (): Promise<number> => 6;\n",
  );
  t.is((await tree.run(["l2fwd"])).exitCode, 6);
});

test.serial(
  "a compiled file goes when its source goes, and its folder when it is empty",
  async (t) => {
    const tree = makeTree(t);
    tree.write("packages/apps/src/gone/gone.ts", "export const gone = 1;\n");
    await tree.run(["build"]);
    t.true(tree.has("packages/apps/dist/src/gone/gone.js"));
    unlinkSync(tree.path("packages/apps/src/gone/gone.ts"));
    t.is((await tree.run(["build"])).exitCode, 0);
    t.false(tree.has("packages/apps/dist/src/gone"));
    t.true(tree.has("packages/apps/dist/src/cli/main.js"));
  },
);

test.serial("a removed dist is built again", async (t) => {
  const tree = makeTree(t);
  await tree.run(["build"]);
  rmSync(tree.path("packages/apps/dist"), { recursive: true });
  t.is((await tree.run(["l2fwd"])).exitCode, 5);
});

test.serial("a type error stops the command each time until it is mended", async (t) => {
  const tree = makeTree(t);
  tree.write("packages/apps/src/wrong.ts", 'export const wrong: number = "text";\n');
  for (let i = 0; i < 2; i++) {
    const outcome = await tree.run(["l2fwd"]);
    t.is(outcome.exitCode, EXIT_SETUP);
    t.regex(outcome.stderr, /wrong\.ts\(1,14\): error TS2322/);
    t.is(outcome.stdout, "");
  }
  tree.write("packages/apps/src/wrong.ts", "export const wrong: number = 1;\n");
  t.is((await tree.run(["l2fwd"])).exitCode, 5);
});

test.serial("four launchers at once compile once and all run", async (t) => {
  const tree = makeTree(t);
  const outcomes = await Promise.all(["a", "b", "c", "d"].map((name) => tree.run([name])));
  t.deepEqual(
    outcomes.map((outcome) => [outcome.exitCode, outcome.stdout]),
    [
      [5, "a\n"],
      [5, "b\n"],
      [5, "c\n"],
      [5, "d\n"],
    ],
  );
  const said = outcomes.map((outcome) => outcome.stderr).join("");
  t.is(said.match(/compiling TypeScript/g)?.length, 1, said);
  t.deepEqual(
    readdirSync(tree.path(".cache/weir")).filter((name) => name.startsWith("lock")),
    [],
  );
});

test.serial("the lock of a launcher that died is broken", async (t) => {
  const tree = makeTree(t);
  tree.write(".cache/weir/lock/holder", "4194305 1"); // above the largest pid of Linux
  t.is((await tree.run(["l2fwd"])).exitCode, 5);
  t.false(tree.has(".cache/weir/lock"));
});

test.serial("the lock of a launcher whose pid another process has now is broken", async (t) => {
  const tree = makeTree(t);
  tree.write(".cache/weir/lock/holder", `${process.pid} 1`); // started at another time than we
  t.is((await tree.run(["l2fwd"])).exitCode, 5);
});

test.serial("the lock of a live launcher is waited for", async (t) => {
  const tree = makeTree(t);
  const stat = readFileSync("/proc/self/stat", "utf8");
  const startTicks = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  const holder = `${process.pid} ${startTicks}`;
  tree.write(".cache/weir/lock/holder", holder);
  let stillOurs = false;
  const outcome = await tree.run(["l2fwd"], {
    onStderr(text) {
      if (!text.includes("waiting for another weir") || stillOurs) return;
      stillOurs = tree.read(".cache/weir/lock/holder") === holder;
      rmSync(tree.path(".cache/weir/lock"), { recursive: true });
    },
  });
  t.true(stillOurs);
  t.is(outcome.exitCode, 5);
});

test.serial("an error with an exit code of its own shows its message only", async (t) => {
  const tree = makeTree(t);
  await tree.run(["build"]);
  t.deepEqual(await tree.run(["refuse"]), {
    exitCode: 2,
    stdout: "",
    stderr: "weir: port 9 does not exist: type -p 1\n",
  });
});

test.serial("an error that nobody foresaw shows its stack and exits with 70", async (t) => {
  const tree = makeTree(t);
  await tree.run(["build"]);
  const outcome = await tree.run(["crash"]);
  t.is(outcome.exitCode, EXIT_CRASH);
  t.regex(outcome.stderr, /^TypeError: a bug\n\s+at .*main\.js/);
});

test.serial("--version neither installs nor builds", async (t) => {
  const tree = makeTree(t);
  rmSync(tree.path("node_modules"), { recursive: true });
  const before = tree.listing();
  t.deepEqual(await tree.run(["--version"]), { exitCode: 0, stdout: "weir 7.8.9\n", stderr: "" });
  t.deepEqual(tree.listing(), before);
});

test.serial(
  "the test command hands its arguments to ava and returns ava's exit code",
  async (t) => {
    const tree = makeTree(t);
    const ava = "console.log(process.argv.slice(2).join(' ')); process.exit(4);\n";
    tree.write("node_modules/ava/entrypoints/cli.mjs", ava);
    await tree.run(["build"]);
    const plain = await tree.run(["test", "--", "--match", "x"]);
    t.deepEqual(plain, { exitCode: 4, stdout: "--match x\n", stderr: "" });
    const tap = await tree.run(["test", "--match", "x"], { env: { WEIR_TAP: "1" } });
    t.deepEqual(tap, { exitCode: 4, stdout: "--tap --match x\n", stderr: "" });
  },
);

testAsRoot("root leaves no file of its own in somebody else's tree", async (t) => {
  const SOMEBODY = 23456;
  const tree = makeTree(t);
  // Tools that this somebody can reach, wherever the repository and Node lie.
  unlinkSync(tree.path("node_modules/typescript"));
  tree.write(
    "node_modules/typescript/bin/tsc",
    `const fs = require("fs");
    fs.mkdirSync("packages/apps/dist/src/cli", { recursive: true });
    fs.writeFileSync("packages/apps/dist/.tsbuildinfo", "");
    fs.writeFileSync("packages/apps/dist/src/cli/main.js", "export const main = () => 5;");
    fs.writeFileSync("home", process.env.HOME + " " + process.env.XDG_CACHE_HOME);\n`,
  );
  const node = tree.path("node");
  copyFileSync(process.execPath, node, constants.COPYFILE_FICLONE);
  chmodSync(node, 0o755);
  for (const file of readdirSync(tree.root, { recursive: true, encoding: "utf8" })) {
    lchownSync(tree.path(file), SOMEBODY, SOMEBODY);
  }
  chownSync(tree.root, SOMEBODY, SOMEBODY);

  const outcome = await tree.run(["l2fwd"], { node, env: { XDG_CACHE_HOME: "/root/.cache" } });

  t.is(outcome.exitCode, 5, outcome.stderr);
  t.deepEqual(
    tree.listing().filter((line) => !line.includes(` uid ${SOMEBODY} `)),
    [],
  );
  t.is(tree.read("home"), `${join(tree.root, ".cache", "weir")} undefined`);
});
