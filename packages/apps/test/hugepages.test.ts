/** Packet memory on hugepages, and the sentence when there are too few. The machine's number of them is put back. */
import { readFileSync, writeFileSync } from "node:fs";
import { hugepages } from "@weir/core";
import test from "ava";
import { weir } from "./fixtures/weir.js";

const NR = "/proc/sys/vm/nr_hugepages";
const ENOUGH = 64;
const before = Number(readFileSync(NR, "utf8"));

function reserve(pages: number): number {
  writeFileSync(NR, `${pages}\n`);
  return hugepages().total;
}

/** Only where nobody else uses any, and where the kernel gives them. */
function why(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  if (before !== 0) return "this machine's hugepages are in use";
  const got = reserve(ENOUGH);
  reserve(before);
  return got < ENOUGH ? "the kernel has no hugepages to give" : undefined;
}

const reason = why();
const huge = reason === undefined ? test.serial : test.serial.skip;
test.after.always(() => {
  if (reason === undefined) reserve(before);
});

huge("l2fwd runs on hugepages when the machine has them, and gives them back", async (t) => {
  reserve(ENOUGH);
  const { code, stdout, stderr } = await weir(
    "l2fwd",
    "--in-memory",
    "--vdev",
    "net_null0",
    "--",
    "--duration",
    "0.2",
    "--json",
  );
  t.is(stderr, "");
  t.is(code, 0);
  const { buffers } = JSON.parse(stdout) as { buffers: { total: number; free: number } };
  t.is(buffers.free, buffers.total);
  t.is(hugepages().free, ENOUGH);
});

huge(
  "too few hugepages get one sentence with both numbers and what to type, and exit code 3",
  async (t) => {
    reserve(2);
    const { code, stdout, stderr } = await weir(
      "l2fwd",
      "--in-memory",
      "--vdev",
      "net_null0",
      "--",
      "--duration",
      "0.2",
      "--json",
    );
    t.is(stdout, "");
    t.is(code, 3);
    t.regex(
      stderr,
      /^weir: 9 hugepages of 2 MiB are needed and 2 of 2 are free: echo 9 > \/proc\/sys\/vm\/nr_hugepages as root, or run with --no-huge\n$/,
    );
    t.is(hugepages().free, 2);
  },
);
