/** Device status, feature negotiation and the registers (1.2 2.1, 2.2, 3.1, 4.1.4.3): what a driver may do when. */
import test from "ava";
import * as v from "../src/virtio/constants.js";
import * as n from "../src/virtio-net/constants.js";
import { card, machine } from "./fixtures/driver.js";

const ACK_DRIVER = v.STATUS_ACKNOWLEDGE | v.STATUS_DRIVER;

test("the whole sequence is granted, and nothing is held against the driver", (t) => {
  const driver = card(t, machine(t));
  t.true(driver.negotiate());
  driver.enable(0);
  driver.enable(1);
  driver.status = driver.status | v.STATUS_DRIVER_OK;
  t.is(driver.status, ACK_DRIVER | v.STATUS_FEATURES_OK | v.STATUS_DRIVER_OK);
  driver.notify(1);
  t.deepEqual(driver.violations, []);
});

for (const [what, lacks] of [
  ["VERSION_1", v.F_VERSION_1],
  ["ACCESS_PLATFORM where it is offered", v.F_ACCESS_PLATFORM],
  ["CTRL_VQ, with features that need it,", n.F_CTRL_VQ],
] as const) {
  test(`FEATURES_OK is refused without ${what}`, (t) => {
    const driver = card(t, machine(t));
    t.false(driver.negotiate(driver.offered & ~(1n << BigInt(lacks))));
    t.is(driver.status, ACK_DRIVER);
    t.is(driver.fn.report.counters.refusals, 1);
  });
}

test("FEATURES_OK is refused when a feature was accepted that is not offered", (t) => {
  const driver = card(t, machine(t), { net: { inOrder: false } });
  t.false(driver.negotiate(driver.offered | (1n << BigInt(v.F_IN_ORDER))));
  t.deepEqual(driver.violations, ["feature-not-offered"]);
  driver.reset();
  t.true(driver.negotiate());
});

test("each option takes its feature bits out of the offer", (t) => {
  const sim = machine(t);
  const offered = (net: object): bigint => card(t, sim, { net }).offered;
  const all = offered({ pairs: 4, mtu: 1500, inOrder: true });
  const bits = (...features: number[]): bigint =>
    features.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);
  const on = { pairs: 4, mtu: 1500, inOrder: true };
  t.is(all ^ offered({ ...on, mrgRxbuf: false }), bits(n.F_MRG_RXBUF));
  t.is(all ^ offered({ ...on, inOrder: false }), bits(v.F_IN_ORDER));
  t.is(all ^ offered({ ...on, eventIdx: false }), bits(v.F_EVENT_IDX));
  t.is(all ^ offered({ ...on, indirect: false }), bits(v.F_INDIRECT_DESC));
  t.is(all ^ offered({ ...on, csum: false }), bits(n.F_CSUM, n.F_GUEST_CSUM));
  t.is(all ^ offered({ ...on, mtu: undefined }), bits(n.F_MTU));
  t.is(all ^ offered({ ...on, pairs: 1 }), bits(n.F_MQ));
  t.is(all ^ offered({ ...on, ringReset: false }), bits(v.F_RING_RESET));
  t.is(all ^ offered({ ...on, accessPlatform: false }), bits(v.F_ACCESS_PLATFORM));
  t.is(all ^ offered({ ...on, status: false }), bits(n.F_STATUS, n.F_GUEST_ANNOUNCE));
  t.is(
    all ^ offered({ ...on, ctrl: false }),
    bits(n.F_CTRL_VQ, n.F_CTRL_RX, n.F_CTRL_VLAN, n.F_CTRL_MAC_ADDR, n.F_GUEST_ANNOUNCE, n.F_MQ),
  );
});

test("status bits are only added, in their order", (t) => {
  const driver = card(t, machine(t));
  driver.status = v.STATUS_DRIVER;
  t.is(driver.status, 0);
  driver.status = v.STATUS_ACKNOWLEDGE;
  driver.status = v.STATUS_ACKNOWLEDGE | v.STATUS_FEATURES_OK;
  driver.status = ACK_DRIVER | v.STATUS_DRIVER_OK;
  t.is(driver.status, v.STATUS_ACKNOWLEDGE);
  t.deepEqual(driver.violations, ["status-order", "status-order", "status-order"]);
  driver.status = ACK_DRIVER;
  driver.status = v.STATUS_DRIVER;
  t.is(driver.status, ACK_DRIVER);
  t.is(driver.violations.at(-1), "status-cleared");
});

test("a reset is over when device_status reads 0, and who writes before that is told", (t) => {
  const driver = card(t, machine(t), { net: { resetReads: 3 } });
  driver.negotiate();
  driver.status = 0;
  driver.status = v.STATUS_ACKNOWLEDGE;
  t.deepEqual(driver.violations, ["write-before-reset-done"]);
  let reads = 0;
  while (driver.status !== 0) reads++;
  t.is(reads, 3);
  driver.status = v.STATUS_ACKNOWLEDGE;
  t.is(driver.status, v.STATUS_ACKNOWLEDGE);
});

test("after a reset the queues are disabled, the vectors unmapped and the features forgotten", (t) => {
  const sim = machine(t);
  const driver = card(t, sim).start({ size: 64 });
  driver.write(v.CFG_COMMON, 16, 2, 1);
  t.is(driver.read(v.CFG_COMMON, 16, 2), 1);
  driver.reset();
  driver.write(v.CFG_COMMON, 22, 2, 1);
  t.is(driver.read(v.CFG_COMMON, 28, 2), 0);
  t.is(driver.read(v.CFG_COMMON, 24, 2), 256);
  t.is(driver.read(v.CFG_COMMON, 32, 4), 0);
  t.is(driver.read(v.CFG_COMMON, 16, 2), v.NO_VECTOR);
  t.is(driver.read(v.CFG_COMMON, 12, 4), 0);
  driver.send(new Uint8Array(60));
  sim.step();
  t.is(driver.fn.report.counters.txFrames, 0);
});

test("what a driver must not do with a queue has no effect and is on record", (t) => {
  const driver = card(t, machine(t));
  driver.write(v.CFG_COMMON, 22, 2, 0);
  driver.write(v.CFG_COMMON, 24, 2, 64); // before FEATURES_OK
  t.is(driver.read(v.CFG_COMMON, 24, 2), 256);
  driver.negotiate();
  driver.write(v.CFG_COMMON, 22, 2, 0);
  for (const size of [0, 3, 512]) driver.write(v.CFG_COMMON, 24, 2, size);
  t.is(driver.read(v.CFG_COMMON, 24, 2), 256);
  driver.write(v.CFG_COMMON, 32, 4, 8); // 1.2 2.7.1: a multiple of 16
  driver.write(v.CFG_COMMON, 28, 2, 1);
  t.is(driver.read(v.CFG_COMMON, 28, 2), 0);
  driver.enable(0);
  driver.write(v.CFG_COMMON, 28, 2, 0);
  driver.write(v.CFG_COMMON, 24, 2, 64);
  t.is(driver.read(v.CFG_COMMON, 28, 2), 1);
  driver.write(v.CFG_COMMON, 26, 2, 99);
  t.is(driver.read(v.CFG_COMMON, 26, 2), v.NO_VECTOR);
  driver.write(v.CFG_COMMON, 22, 2, 7);
  t.is(driver.read(v.CFG_COMMON, 24, 2), 0); // 1.2 4.1.4.3.1: not available
  driver.write(v.CFG_COMMON, 24, 2, 64);
  driver.notify(1);
  t.deepEqual(driver.violations, [
    "queue-before-features-ok",
    "queue-size",
    "queue-size",
    "queue-size",
    "queue-alignment",
    "queue-enable-value",
    "queue-changed-while-enabled",
    "vector-out-of-range",
    "no-such-queue",
    "doorbell-before-driver-ok",
  ]);
});

test("registers are reached in their own width only, and read-only ones stay", (t) => {
  const driver = card(t, machine(t));
  driver.write(v.CFG_COMMON, 20, 2, 1);
  driver.write(v.CFG_COMMON, 18, 2, 1);
  driver.read(v.CFG_COMMON, 0, 2);
  driver.write(v.CFG_DEVICE, 0, 1, 1);
  driver.read(v.CFG_DEVICE, 10, 2); // mtu, which is not offered
  t.is(driver.status, 0);
  t.deepEqual(driver.violations, [
    "register-access",
    "read-only-register",
    "register-access",
    "register-access",
    "register-access",
  ]);
});

test("a queue can be reset and set up anew by itself", (t) => {
  const sim = machine(t);
  const driver = card(t, sim).start();
  driver.send(new Uint8Array(60));
  sim.step();
  driver.write(v.CFG_COMMON, 22, 2, 1);
  driver.write(v.CFG_COMMON, 58, 2, 1);
  t.is(driver.read(v.CFG_COMMON, 58, 2), 0);
  t.is(driver.read(v.CFG_COMMON, 28, 2), 0);
  driver.send(new Uint8Array(60));
  sim.step();
  t.is(driver.fn.report.counters.txFrames, 1);
  driver.enable(1, 16);
  driver.send(new Uint8Array(60));
  sim.step();
  t.is(driver.fn.report.counters.txFrames, 2);
  t.deepEqual(driver.violations, []);
});

test("a changed configuration has another generation and raises the configuration interrupt", (t) => {
  const sim = machine(t);
  const driver = card(t, sim);
  const got: number[] = [];
  driver.fn.setBusMaster(true);
  driver.fn.enableVectors(2, (vector) => got.push(vector));
  driver.negotiate();
  driver.write(v.CFG_COMMON, 16, 2, 1);
  driver.status = driver.status | v.STATUS_DRIVER_OK;
  t.is(driver.read(v.CFG_DEVICE, n.CONFIG_STATUS, 2), n.S_LINK_UP);
  const before = driver.read(v.CFG_COMMON, 21, 1);
  driver.fn.command({ type: "link", up: false });
  sim.step();
  t.is(driver.read(v.CFG_DEVICE, n.CONFIG_STATUS, 2), 0);
  t.not(driver.read(v.CFG_COMMON, 21, 1), before);
  t.deepEqual(got, [1]);
  t.is(driver.read(v.CFG_ISR, 0, 1), v.ISR_CONFIG);
  t.is(driver.read(v.CFG_ISR, 0, 1), 0);
});
