/** Which features the virtio-net driver accepts, and which devices it refuses. */
import test from "ava";
import { chooseFeatures, has } from "../src/virtio-net/features.js";
import {
  VIRTIO_F_ACCESS_PLATFORM,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_VERSION_1,
  VIRTIO_NET_F_CTRL_RX,
  VIRTIO_NET_F_CTRL_VQ,
  VIRTIO_NET_F_MQ,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_NET_F_MTU,
} from "../src/virtio-net/layout.js";

const BASE = VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM;
const limits = { name: "card", translated: true, mtu: 1500 };

test("nothing is accepted that was not offered", (t) => {
  for (let bit = 0n; bit < 64n; bit++) {
    const offered = BASE | (1n << bit);
    t.is(chooseFeatures(offered, limits) & ~offered, 0n, `bit ${bit}`);
  }
});

test("everything offered at once is accepted without what the driver does not use", (t) => {
  const accepted = chooseFeatures(2n ** 64n - 1n, limits);
  // CSUM, GUEST_CSUM, MTU, MAC, MRG_RXBUF, STATUS, CTRL_VQ, CTRL_RX, CTRL_VLAN, GUEST_ANNOUNCE, MQ, CTRL_MAC_ADDR,
  // VERSION_1, ACCESS_PLATFORM, IN_ORDER, ORDER_PLATFORM, NOTIF_CONFIG_DATA
  const expected = [0, 1, 3, 5, 15, 16, 17, 18, 19, 21, 22, 23, 32, 33, 35, 36, 39];
  t.is(
    accepted,
    expected.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n),
  );
  t.false(has(accepted, VIRTIO_F_EVENT_IDX));
});

test("what needs the control queue is not accepted without it", (t) => {
  const offered = BASE | VIRTIO_NET_F_MQ | VIRTIO_NET_F_CTRL_RX;
  t.is(chooseFeatures(offered, limits), BASE);
  t.is(chooseFeatures(offered | VIRTIO_NET_F_CTRL_VQ, limits), offered | VIRTIO_NET_F_CTRL_VQ);
});

test("a legacy device is refused with a sentence", (t) => {
  t.throws(() => chooseFeatures(VIRTIO_F_ACCESS_PLATFORM, limits), {
    code: "ENOTSUP",
    message: /legacy virtio device.*disable-legacy=on/,
  });
});

test("a device that would bypass the IOMMU is refused, unless there is none", (t) => {
  t.throws(() => chooseFeatures(VIRTIO_F_VERSION_1, limits), {
    code: "ENOTSUP",
    message: /ACCESS_PLATFORM.*bypass the IOMMU/,
  });
  t.is(chooseFeatures(VIRTIO_F_VERSION_1, { ...limits, translated: false }), VIRTIO_F_VERSION_1);
});

test("an MTU that no port could forward, or that the specification forbids, is not promised", (t) => {
  const offered = BASE | VIRTIO_NET_F_MTU;
  for (const [mtu, accepted] of [
    [67, false],
    [68, true],
    [9706, true],
    [9707, false],
    [65535, false],
  ] as const) {
    t.is(has(chooseFeatures(offered, { ...limits, mtu }), VIRTIO_NET_F_MTU), accepted, `${mtu}`);
  }
});

test("what the user does without is left out", (t) => {
  const offered = BASE | VIRTIO_F_IN_ORDER | VIRTIO_NET_F_MRG_RXBUF;
  t.is(
    chooseFeatures(offered, { ...limits, without: VIRTIO_F_IN_ORDER }),
    BASE | VIRTIO_NET_F_MRG_RXBUF,
  );
});
