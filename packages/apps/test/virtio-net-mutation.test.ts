/** The model was written from the specification alone: a driver with two numbers exchanged does not get along with it. */
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PciDriver } from "@weir/core";
import test, { type ExecutionContext } from "ava";
import { SEED, SimRig } from "./fixtures/sim-rig.js";
import { ROOT } from "./fixtures/weir.js";

const COMPILED = join(ROOT, "packages/drivers/dist/src");
const ORIGINAL = join(COMPILED, "virtio-net");

/** Numbers of layout.ts that are exchanged, or given another value. */
const MUTATIONS: readonly (readonly [string, string])[] = [
  ["DEVICE_FEATURE", "DRIVER_FEATURE"],
  ["DEVICE_STATUS", "CONFIG_GENERATION"],
  ["QUEUE_SELECT", "QUEUE_SIZE"],
  ["QUEUE_ENABLE", "QUEUE_NOTIFY_OFF"],
  ["QUEUE_DESC", "QUEUE_DEVICE"],
  ["QUEUE_DRIVER", "QUEUE_DEVICE"],
  ["NET_CONFIG_STATUS", "NET_CONFIG_MTU"],
  ["VIRTQ_DESC_F_NEXT", "VIRTQ_DESC_F_WRITE"],
  ["VIRTIO_NET_CTRL_RX", "VIRTIO_NET_CTRL_MAC"],
  ["VIRTIO_PCI_CAP_COMMON_CFG", "VIRTIO_PCI_CAP_DEVICE_CFG"],
];

/** The driver, from a copy of its compiled text in which the values of two constants are exchanged. */
async function mutant(
  t: ExecutionContext,
  number: number,
  [first, second]: readonly [string, string],
): Promise<PciDriver> {
  const folder = join(COMPILED, `mutant-${process.pid}-${number}`);
  cpSync(ORIGINAL, folder, { recursive: true });
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "layout.js");
  const text = readFileSync(path, "utf8");
  const line = (name: string): RegExp => new RegExp(`export const ${name} = ([^;]+);`);
  const value = (name: string): string => line(name).exec(text)?.[1] ?? "";
  const changed = text
    .replace(line(first), `export const ${first} = ${value(second)};`)
    .replace(line(second), `export const ${second} = ${value(first)};`);
  t.not(changed, text);
  writeFileSync(path, changed);
  const { virtioNet } = (await import(join(folder, "driver.js"))) as { virtioNet: PciDriver };
  return virtioNet;
}

/** What is wrong with the driver; undefined when it forwards and ends cleanly. */
async function trouble(rig: SimRig, driver?: PciDriver): Promise<string | undefined> {
  try {
    const card = await rig.open({
      name: "net_sim0",
      backend: { kind: "loop" },
      net: { mtu: 2000, pairs: 1 },
      ...(driver === undefined ? {} : { driver }),
    });
    const sent = Array.from({ length: 40 }, (_, i) => rig.bytes(64 + 40 * i));
    for (const bytes of sent) rig.send(card.tx[0], rig.frame(bytes));
    const received = rig.settle(card.rx[0], 50);
    const linked = card.device.linkUp();
    const { mtu } = card.device;
    card.port.close();
    const { faults, violations } = card.fn.report;
    if (faults.length > 0) return "an access was refused";
    if (violations.length > 0) return `a rule was broken: ${violations[0].kind}`;
    if (!linked || mtu !== 2000) return "the configuration was misread";
    if (Buffer.compare(Buffer.concat(received), Buffer.concat(sent)) !== 0)
      return "frames are missing";
    return undefined;
  } catch (error) {
    return String(error);
  }
}

test("the driver as it is gets along with the model", async (t) => {
  t.is(await trouble(new SimRig(SEED)), undefined);
});

for (const [number, names] of MUTATIONS.entries()) {
  test(`a driver that exchanges ${names.join(" and ")} is found out`, async (t) => {
    const driver = await mutant(t, number, names);
    const found = await trouble(new SimRig(SEED), driver);
    t.log(found ?? "nothing");
    t.not(found, undefined);
  });
}
