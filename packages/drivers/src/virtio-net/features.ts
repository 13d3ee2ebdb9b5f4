/** Which features are negotiated, and why not the others (VIRTIO 1.2, 5.1.3 and 6). */
import { FRAME_BYTES_MAX, WeirError } from "@weir/core";
import * as V from "./layout.js";

/** Ethernet header and two VLAN tags. */
export const LINK_HEADER_BYTES_MAX: number = 14 + 2 * 4;
/** The longest frame that the ports of weir take, less that. */
export const MTU_MAX: number = FRAME_BYTES_MAX - LINK_HEADER_BYTES_MAX;

/**
 * Accepted wherever they are offered. Left out:
 * - EVENT_IDX: its use is to ask for one notification in many. A driver that polls wants none at all, which
 *   VIRTQ_AVAIL_F_NO_INTERRUPT says once and for all (2.7.7), where `used_event` would be one more store per burst.
 * - INDIRECT_DESC: frames are short chains, and a table of their own is one more cache line for the device to fetch.
 * - RING_PACKED, NOTIFICATION_DATA, RING_RESET, segmentation offloads, RSS and hash reports: nothing here uses them yet.
 */
const WANTED: bigint =
  V.VIRTIO_F_VERSION_1 |
  V.VIRTIO_F_ACCESS_PLATFORM |
  V.VIRTIO_F_IN_ORDER |
  // 6: the fences of a hardware device. On x86 a locked instruction before each doorbell is one already (split-rx.ts).
  V.VIRTIO_F_ORDER_PLATFORM |
  V.VIRTIO_F_NOTIF_CONFIG_DATA |
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
  V.VIRTIO_NET_F_CTRL_MAC_ADDR;

/** 5.1.3.1: what may not be accepted without the control queue. */
const NEEDS_CTRL_VQ: bigint =
  V.VIRTIO_NET_F_CTRL_RX |
  V.VIRTIO_NET_F_CTRL_VLAN |
  V.VIRTIO_NET_F_GUEST_ANNOUNCE |
  V.VIRTIO_NET_F_MQ |
  V.VIRTIO_NET_F_CTRL_MAC_ADDR;

export interface FeatureLimits {
  /** As messages name the device. */
  readonly name: string;
  /** False: there is no IOMMU that a device without ACCESS_PLATFORM could bypass. */
  readonly translated: boolean;
  /** The device's `mtu` field; only looked at when VIRTIO_NET_F_MTU is offered. */
  readonly mtu: number;
  /** Features that are not to be accepted, whatever is offered. */
  readonly without?: bigint;
}

/** The subset of the offer that is accepted. @throws WeirError ENOTSUP when the device cannot be driven */
export function chooseFeatures(offered: bigint, limits: FeatureLimits): bigint {
  const { name, translated, mtu, without = 0n } = limits;
  if ((offered & V.VIRTIO_F_VERSION_1) === 0n) {
    throw new WeirError(
      "ENOTSUP",
      `${name} is a legacy virtio device (it does not offer VIRTIO_F_VERSION_1), which weir does not drive: give it a modern interface (QEMU: disable-legacy=on)`,
    );
  }
  if (translated && (offered & V.VIRTIO_F_ACCESS_PLATFORM) === 0n) {
    throw new WeirError(
      "ENOTSUP",
      `${name} does not offer VIRTIO_F_ACCESS_PLATFORM, so its DMA would bypass the IOMMU and use addresses as physical ones: give it the feature (QEMU: iommu_platform=on)`,
    );
  }
  let accepted = offered & WANTED & ~without;
  if ((accepted & V.VIRTIO_NET_F_CTRL_VQ) === 0n) accepted &= ~NEEDS_CTRL_VQ;
  // 5.1.4.2: with MTU the driver promises to take frames of that size. Beyond what ports forward it makes no promise.
  if (mtu < V.NET_MTU_MIN || mtu > MTU_MAX) accepted &= ~V.VIRTIO_NET_F_MTU;
  return accepted;
}

/** Whether all of the wanted bits are there. */
export function has(features: bigint, wanted: bigint): boolean {
  return (features & wanted) === wanted;
}
