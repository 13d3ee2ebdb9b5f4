/** Numbers of the virtio-net driver against VIRTIO 1.2, written out here once more. */
import test from "ava";
import * as V from "../src/virtio-net/layout.js";
import { placeQueues } from "../src/virtio-net/queue-memory.js";
import { slotsFor } from "../src/virtio-net/split-queue.js";

test("the common configuration lies as 4.1.4.3 draws it", (t) => {
  // name, bits: in the order of the struct
  const fields: readonly (readonly [number, number])[] = [
    [V.DEVICE_FEATURE_SELECT, 32],
    [V.DEVICE_FEATURE, 32],
    [V.DRIVER_FEATURE_SELECT, 32],
    [V.DRIVER_FEATURE, 32],
    [V.CONFIG_MSIX_VECTOR, 16],
    [V.NUM_QUEUES, 16],
    [V.DEVICE_STATUS, 8],
    [V.CONFIG_GENERATION, 8],
    [V.QUEUE_SELECT, 16],
    [V.QUEUE_SIZE, 16],
    [V.QUEUE_MSIX_VECTOR, 16],
    [V.QUEUE_ENABLE, 16],
    [V.QUEUE_NOTIFY_OFF, 16],
    [V.QUEUE_DESC, 64],
    [V.QUEUE_DRIVER, 64],
    [V.QUEUE_DEVICE, 64],
    [V.QUEUE_NOTIFY_DATA, 16],
  ];
  let at = 0;
  for (const [offset, bits] of fields) {
    t.is(offset, at);
    at += bits / 8;
  }
  t.is(V.COMMON_CFG_BYTES, 56);
  t.is(V.COMMON_CFG_NOTIFY_DATA_BYTES, 58);
});

test("the features have the bits of 5.1.3 and 6", (t) => {
  const bits = (features: bigint): number[] =>
    Array.from({ length: 64 }, (_, i) => i).filter((i) => ((features >> BigInt(i)) & 1n) === 1n);
  t.deepEqual(
    bits(
      V.VIRTIO_NET_F_CSUM |
        V.VIRTIO_NET_F_GUEST_CSUM |
        V.VIRTIO_NET_F_MTU |
        V.VIRTIO_NET_F_MAC |
        V.VIRTIO_NET_F_MRG_RXBUF |
        V.VIRTIO_NET_F_STATUS |
        V.VIRTIO_NET_F_CTRL_VQ |
        V.VIRTIO_NET_F_CTRL_RX |
        V.VIRTIO_NET_F_CTRL_VLAN |
        V.VIRTIO_NET_F_GUEST_ANNOUNCE |
        V.VIRTIO_NET_F_MQ |
        V.VIRTIO_NET_F_CTRL_MAC_ADDR,
    ),
    [0, 1, 3, 5, 15, 16, 17, 18, 19, 21, 22, 23],
  );
  t.deepEqual(
    bits(
      V.VIRTIO_F_VERSION_1 |
        V.VIRTIO_F_ACCESS_PLATFORM |
        V.VIRTIO_F_IN_ORDER |
        V.VIRTIO_F_ORDER_PLATFORM |
        V.VIRTIO_F_NOTIF_CONFIG_DATA,
    ),
    [32, 33, 35, 36, 39],
  );
});

test("the parts of a split virtqueue have the sizes of 2.7", (t) => {
  t.deepEqual([V.descTableBytes(256), V.availBytes(256), V.usedBytes(256)], [4096, 518, 2054]);
  t.deepEqual([V.descTableBytes(4), V.availBytes(4), V.usedBytes(4)], [64, 14, 38]);
});

test("the queues of a device are numbered as in 5.1.2", (t) => {
  t.deepEqual(
    [V.receiveQueue(0), V.transmitQueue(0), V.receiveQueue(3), V.transmitQueue(3)],
    [0, 1, 6, 7],
  );
  t.is(V.controlQueue(1), 2);
  t.is(V.controlQueue(4), 8);
});

test("no two parts of any queue share a pair of lines, and each is aligned as 2.7 wants it", (t) => {
  for (const size of [2, 8, 256, 32768]) {
    const { rings, bytes } = placeQueues(
      2 ** 21,
      Array.from({ length: 3 }, () => ({ size, extraBytes: 100 })),
    );
    const parts = rings.flatMap(({ descriptors, available, used, extra }) => [
      [descriptors, V.descTableBytes(size)],
      [available, V.availBytes(size)],
      [used, V.usedBytes(size)],
      [extra, 100],
    ]);
    for (const [i, [offset, length]] of parts.entries()) {
      t.is(offset % 128, 0);
      t.true(offset + length <= (parts[i + 1]?.[0] ?? 2 ** 21 + bytes));
    }
  }
});

test("a posted buffer has slots for the longest frame and its header", (t) => {
  // A slot: 128 bytes of headroom, 2,048 of data. The header's 12 bytes lie in the first one's headroom.
  t.is(slotsFor(1514, 128, 2048), 1);
  t.is(slotsFor(2048, 128, 2048), 1);
  t.is(slotsFor(2049, 128, 2048), 2);
  t.is(slotsFor(9014, 128, 2048), 5);
  t.is(slotsFor(5 * 2048, 128, 2048), 5);
  t.is(slotsFor(5 * 2048 + 1, 128, 2048), 6);
});
