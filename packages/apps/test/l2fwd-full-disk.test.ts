/** A capture that cannot be written any further is said so at the end, and costs no buffer. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { ROOT, weir } from "./fixtures/weir.js";

const CAPTURE = join(ROOT, "packages/apps/captures/mixed-b.pcap");

const root = process.getuid?.() === 0;

(root ? test : test.skip)(
  "a full disk under tx_pcap ends with a sentence that names the queue, exit code 3 and a clean account",
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "weir-full-"));
    t.teardown(() => rmSync(folder, { recursive: true }));
    t.is(spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "weir-full", folder]).status, 0);
    t.teardown(() => spawnSync("umount", [folder]));
    const device = `net_pcap0,rx_pcap=${CAPTURE},tx_pcap=${join(folder, "out.pcap")}`;
    const { code, stdout, stderr } = await weir(
      "l2fwd",
      "--no-huge",
      "--in-memory",
      "--vdev",
      device,
      "--",
      "--json",
    );
    t.is(
      stderr,
      "weir: net_pcap0 tx 0 gave up after an error (ENOSPC): what came later is missing\n",
    );
    t.is(code, 3);
    const report = JSON.parse(stdout) as {
      ports: [{ rx: number; tx: number; dropped: number }];
      buffers: { free: number; total: number };
    };
    const [{ rx, tx, dropped }] = report.ports;
    t.true(tx > 0 && dropped > 0);
    t.is(tx + dropped, rx);
    t.is(report.buffers.free, report.buffers.total);
  },
);
