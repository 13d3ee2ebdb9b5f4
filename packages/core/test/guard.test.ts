// The SIGBUS guard: what it saves, what it must not save, and what happens while it changes.

import { closeSync } from "node:fs";
import test from "ava";
import { native } from "../src/native/addon.js";
import { nodes, runFixture } from "./fixtures/run.js";
import { PAGE_BYTES, scratchFile, truncate } from "./fixtures/scratch-file.js";

const HUGE_PAGE_BYTES = 2 * 1024 * 1024;
const MAPPING = { shared: true, write: true, populate: true };

for (const node of nodes()) {
  test.serial(
    `every access on every thread survives the loss of guarded pages and reads all ones (${node})`,
    async (t) => {
      t.timeout(120_000);
      const ended = await runFixture(node, "guard-matrix");
      t.log(ended.output);
      t.is(ended.code, 0);
      t.is(ended.output.match(/^ok/gm)?.length, 24);
    },
  );

  test.serial(
    `threads that read while guards come and go see the file or all ones, nothing else (${node})`,
    async (t) => {
      t.timeout(120_000);
      const ended = await runFixture(node, "guard-race");
      t.log(ended.output);
      t.is(ended.signal, null);
      t.is(ended.code, 0);
    },
  );

  const deadly = {
    unguarded: "a fault in a process without guards",
    neighbour: "a fault on the page after a guarded one",
    removed: "a fault after guardRemove",
    sent: "a SIGBUS sent by kill",
    "fault while ignored": "a fault outside the guards while SIGBUS is ignored",
  };
  for (const [name, what] of Object.entries(deadly)) {
    test.serial(`${what} kills the process with SIGBUS (${node})`, async (t) => {
      const ended = await runFixture(node, "guard-foreign", [name]);
      t.is(ended.signal, "SIGBUS", ended.output);
      t.notRegex(ended.output, /alive/);
      if (name === "neighbour") t.regex(ended.output, /saved/);
    });
  }

  const harmless = {
    "sent with a listener":
      "a SIGBUS sent by kill reaches the handler that was there before, a guarded fault does not",
    "sent and ignored": "a SIGBUS sent by kill stays ignored when it was ignored before",
  };
  for (const [name, what] of Object.entries(harmless)) {
    test.serial(`${what} (${node})`, async (t) => {
      const ended = await runFixture(node, "guard-foreign", [name]);
      t.is(ended.code, 0, ended.output);
      t.regex(ended.output, /alive/);
    });
  }
}

function guarded(
  pages: number,
  pageBytes: number,
): { fd: number; region: number; slot: number; words: Int32Array } {
  const bytes = pages * PAGE_BYTES;
  const fd = scratchFile(pages, 5);
  const region = native.regionReserve(bytes);
  native.regionMapFd(region, 0, bytes, fd, 0, MAPPING);
  const slot = native.guardAdd(region, 0, bytes, pageBytes);
  return { fd, region, slot, words: new Int32Array(native.regionView(region, 0, bytes)) };
}

const flagOf = (slot: number): number => new Int32Array(native.guardFlags())[slot];

test("a fault on the last byte of a guard revokes the last page and no other", (t) => {
  const { fd, region, slot, words } = guarded(3, PAGE_BYTES);
  truncate(fd);
  t.is(new Uint8Array(words.buffer)[3 * PAGE_BYTES - 1], 0xff);
  t.is(flagOf(slot), 1);
  t.is(words[0], -1);
  t.is(flagOf(slot), 2);
  native.regionRelease(region);
  closeSync(fd);
});

test("a load that straddles two lost pages reads all ones and counts both", (t) => {
  const { fd, region, slot, words } = guarded(2, PAGE_BYTES);
  truncate(fd);
  t.is(new DataView(words.buffer).getUint32(PAGE_BYTES - 2, true), 0xffffffff);
  t.is(flagOf(slot), 2);
  native.regionRelease(region);
  closeSync(fd);
});

test("a guard with pages of 2 MiB loses 2 MiB by one fault", (t) => {
  const { fd, region, slot, words } = guarded((2 * HUGE_PAGE_BYTES) / PAGE_BYTES, HUGE_PAGE_BYTES);
  truncate(fd);
  t.is(words[7], -1);
  t.true(words.subarray(0, HUGE_PAGE_BYTES / 4).every((word) => word === -1));
  t.is(flagOf(slot), 1);
  t.is(words[HUGE_PAGE_BYTES / 4], -1);
  t.is(flagOf(slot), 2);
  native.regionRelease(region);
  closeSync(fd);
});

test("a guarded page that is mapped anew is itself again, and the lost page beside it stays lost", (t) => {
  const { fd, region, slot, words } = guarded(2, PAGE_BYTES);
  truncate(fd);
  const other = scratchFile(1, 9);
  native.regionMapFd(region, 0, PAGE_BYTES, other, 0, MAPPING);
  t.is(words[0], 9);
  t.is(words[PAGE_BYTES / 4], -1);
  t.is(words[0], 9);
  t.is(flagOf(slot), 1);
  native.regionRelease(region);
  closeSync(fd);
  closeSync(other);
});

test("a guard is live again on a page that was revoked and then mapped anew", (t) => {
  const { fd, region, slot, words } = guarded(1, PAGE_BYTES);
  truncate(fd);
  t.is(words[0], -1);
  const other = scratchFile(1, 9);
  native.regionMapFd(region, 0, PAGE_BYTES, other, 0, MAPPING);
  t.is(words[0], 9);
  truncate(other);
  t.is(words[0], -1);
  t.is(flagOf(slot), 2);
  native.regionRelease(region);
  closeSync(fd);
  closeSync(other);
});

test("regionRevoke shows all ones at once, takes stores, and raises no flag", (t) => {
  const { fd, region, slot, words } = guarded(2, PAGE_BYTES);
  native.regionRevoke(region, PAGE_BYTES, PAGE_BYTES);
  t.is(words[0], 5);
  t.true(words.subarray(PAGE_BYTES / 4).every((word) => word === -1));
  words[PAGE_BYTES / 4] = 3;
  t.is(words[PAGE_BYTES / 4], 3);
  t.is(words[PAGE_BYTES / 4 + 1], -1);
  t.is(flagOf(slot), 0);
  native.regionRelease(region);
  closeSync(fd);
});

test("a store to a revoked page stays out of every other revoked page", (t) => {
  const region = native.regionReserve(4 * PAGE_BYTES);
  const words = new Int32Array(native.regionView(region, 0, 4 * PAGE_BYTES));
  native.regionRevoke(region, 0, 2 * PAGE_BYTES);
  words.fill(1, 0, (2 * PAGE_BYTES) / 4);
  native.regionRevoke(region, 2 * PAGE_BYTES, 2 * PAGE_BYTES);
  t.true(words.subarray((2 * PAGE_BYTES) / 4).every((word) => word === -1));
  native.regionRevoke(region, 0, PAGE_BYTES);
  t.is(words[0], -1);
  t.is(words[PAGE_BYTES / 4], 1);
  native.regionRelease(region);
});

test("guards may not overlap, lie outside their region, or cut a page", (t) => {
  const region = native.regionReserve(4 * PAGE_BYTES);
  const slot = native.guardAdd(region, PAGE_BYTES, 2 * PAGE_BYTES, PAGE_BYTES);
  t.throws(() => native.guardAdd(region, 2 * PAGE_BYTES, PAGE_BYTES, PAGE_BYTES), {
    code: "EEXIST",
  });
  t.throws(() => native.guardAdd(region, 0, 5 * PAGE_BYTES, PAGE_BYTES), { code: "EINVAL" });
  t.throws(() => native.guardAdd(region, 0, PAGE_BYTES, HUGE_PAGE_BYTES), { code: "EINVAL" });
  t.throws(() => native.guardAdd(region, 0, PAGE_BYTES, 8192), { code: "EINVAL" });
  native.guardRemove(slot);
  t.throws(() => native.guardRemove(slot), { code: "EINVAL" });
  t.throws(() => native.guardRemove(1024), { code: "EINVAL" });
  native.regionRelease(region);
});

test("1024 guards fit, the next is refused, and releasing the region frees all", (t) => {
  const pages = 1100;
  const region = native.regionReserve(pages * PAGE_BYTES);
  const slots = new Set<number>();
  for (let i = 0; i < 1024; i++)
    slots.add(native.guardAdd(region, i * PAGE_BYTES, PAGE_BYTES, PAGE_BYTES));
  t.is(slots.size, 1024);
  t.throws(() => native.guardAdd(region, 1050 * PAGE_BYTES, PAGE_BYTES, PAGE_BYTES), {
    code: "ENOSPC",
  });
  native.regionRelease(region);
  const next = native.regionReserve(pages * PAGE_BYTES);
  native.guardRemove(native.guardAdd(next, 0, PAGE_BYTES, PAGE_BYTES));
  native.regionRelease(next);
  t.pass();
});
