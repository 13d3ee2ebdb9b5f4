/** virtio-net beside the frames: negotiation, refusals, the control queue, the link, several queues, removal. */
import test from "ava";
import { SEED, SimRig } from "./fixtures/sim-rig.js";

const ANOTHER = Uint8Array.of(0x02, 0, 0, 0, 0, 9);
const MULTICAST = Uint8Array.of(0x01, 0, 0x5e, 0, 0, 5);

/** A frame to an address, in a VLAN or none. */
function to(rig: SimRig, address: Uint8Array, vlan?: number): Uint8Array {
  const bytes = rig.bytes(100);
  bytes.set(address, 0);
  if (vlan !== undefined) bytes.set([0x81, 0, vlan >>> 8, vlan & 0xff], 12);
  return bytes;
}

test("a device that would bypass the IOMMU is refused, and is the caller's to close", (t) => {
  const rig = new SimRig(SEED);
  const fn = rig.machine.create({ name: "net_sim0", net: { accessPlatform: false } });
  t.throws(() => rig.drive(fn), { code: "ENOTSUP", message: /ACCESS_PLATFORM.*bypass the IOMMU/ });
  t.true(fn.alive);
  fn.close();
  rig.finish(t, "bypass");
});

test("a device without the control queue or a status has one queue pair and an active link", async (t) => {
  const rig = new SimRig(SEED);
  const card = await rig.open({
    name: "net_sim0",
    net: { ctrl: false, status: false, pairs: 1 },
    backend: { kind: "loop" },
  });
  t.true(card.device.linkUp());
  t.is(card.device.rxQueuesMax, 1);
  await t.throwsAsync(card.device.setPromiscuous(true), { code: "ENOTSUP" });
  rig.finish(t, "no control queue");
});

test("a slow reset is waited for", async (t) => {
  const rig = new SimRig(SEED);
  const card = await rig.open({ name: "net_sim0", net: { resetReads: 300 } });
  t.true(card.device.linkUp());
  rig.finish(t, "slow reset");
});

test("the filters let through what they are told to", async (t) => {
  const rig = new SimRig(SEED);
  const mac = Uint8Array.of(0x02, 0, 0, 0, 0, 1);
  const card = await rig.open({
    name: "net_sim0",
    backend: { kind: "loop" },
    args: { vlan_filter: "1" },
    net: { mac },
  });
  const { device } = card;
  const passes = (bytes: Uint8Array): boolean => {
    rig.send(card.tx[0], rig.frame(bytes));
    return rig.settle(card.rx[0], 50).length === 1;
  };
  t.deepEqual(device.mac, mac);
  t.true(passes(to(rig, ANOTHER)), "promiscuous from the start");
  await device.setPromiscuous(false);
  t.true(passes(to(rig, mac)));
  t.false(passes(to(rig, ANOTHER)));
  t.false(passes(to(rig, MULTICAST)));
  await device.setMacTable([ANOTHER, MULTICAST]);
  t.true(passes(to(rig, ANOTHER)));
  t.true(passes(to(rig, MULTICAST)));
  await device.setMacTable([]);
  await device.setAllMulticast(true);
  t.true(passes(to(rig, MULTICAST)));
  t.false(passes(to(rig, ANOTHER)));
  await device.setMac(ANOTHER);
  t.deepEqual(device.mac, ANOTHER);
  t.true(passes(to(rig, ANOTHER)));
  t.false(passes(to(rig, ANOTHER, 7)));
  await device.setVlan(7, true);
  t.true(passes(to(rig, ANOTHER, 7)));
  await device.setVlan(7, false);
  t.false(passes(to(rig, ANOTHER, 7)));
  // Asked for at once, they run one after the other.
  await Promise.all([
    device.setVlan(8, true),
    device.setPromiscuous(true),
    device.setVlan(9, true),
  ]);
  t.true(passes(to(rig, MULTICAST, 9)));
  await t.throwsAsync(device.setMacTable(Array.from({ length: 200 }, () => ANOTHER)), {
    code: "ENOSPC",
  });
  rig.finish(t, "filters");
});

test("the link is seen to go down and up, and an announcement is acknowledged", async (t) => {
  const rig = new SimRig(SEED);
  const card = await rig.open({ name: "net_sim0" });
  t.true(card.device.linkUp());
  card.fn.command({ type: "link", up: false });
  rig.machine.step(5);
  t.false(card.device.linkUp());
  card.fn.command({ type: "link", up: true });
  rig.machine.step(5);
  t.true(card.device.linkUp());
  const { controlCommands } = card.fn.report.counters;
  card.fn.command({ type: "announce" });
  for (let i = 0; i < 20; i++) {
    rig.machine.step();
    await new Promise(setImmediate);
  }
  t.is(card.fn.report.counters.controlCommands, controlCommands + 1);
  t.true(card.fn.report.counters.interrupts > 0);
  rig.finish(t, "link");
});

test("four queue pairs are used, and a fifth is refused with its reason", async (t) => {
  const rig = new SimRig(SEED);
  const card = await rig.open({
    name: "net_sim0",
    backend: { kind: "loop" },
    net: { pairs: 4 },
    queues: 4,
  });
  t.is(card.device.rxQueuesMax, 4);
  const got = [0, 0, 0, 0];
  for (let round = 0; round < 100; round++) {
    t.true(rig.send(card.tx[round % 4], rig.frame(rig.bytes(200))));
    rig.machine.step(2);
    for (let q = 0; q < 4; q++) got[q] += rig.receive(card.rx[q]).length;
  }
  for (let q = 0; q < 4; q++) got[q] += rig.settle(card.rx[q]).length;
  t.is(
    got.reduce((sum, each) => sum + each),
    100,
  );
  t.true(got.filter((count) => count > 0).length > 1, `received by queue: ${got.join(" ")}`);
  await t.throwsAsync(rig.open({ name: "net_sim1", net: { pairs: 4 }, queues: 5 }), {
    code: "ERR_WEIR_USAGE",
    message: /at most 4 rx queues and 5 are needed: that is what the device has/,
  });
  rig.finish(t, "queues");
});

test("a frame longer than the ring can take is refused before the device starts", async (t) => {
  const rig = new SimRig(SEED);
  await t.throwsAsync(
    rig.open({ name: "net_sim0", net: { mtu: 9000, queueSize: 4, mrgRxbuf: false } }),
    { code: "ENOTSUP", message: /queues of 4 entries, and a frame of MTU 9000 takes 5/ },
  );
  rig.finish(t, "short ring");
});

test("a dead device moves nothing, answers every command with ENODEV, and is closed cleanly", async (t) => {
  const rig = new SimRig(SEED);
  const card = await rig.open({ name: "net_sim0", backend: { kind: "loop" } });
  for (let i = 0; i < 20; i++) rig.send(card.tx[0], rig.frame(rig.bytes(500)));
  rig.machine.step(3);
  card.fn.command({ type: "die" });
  rig.machine.step(3);
  t.false(card.device.linkUp());
  await t.throwsAsync(card.device.setPromiscuous(false), { code: "ENODEV" });
  rig.settle(card.rx[0], 20);
  card.port.stop();
  await t.throwsAsync(card.device.setPromiscuous(false), { code: "EAGAIN" });
  card.port.close();
  await t.throwsAsync(card.device.setPromiscuous(false), { code: "ENODEV" });
  rig.finish(t, "dead");
});
