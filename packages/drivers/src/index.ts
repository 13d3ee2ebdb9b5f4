/** @weir/drivers: what gives weir its ports. */
import type { PciDriver, VdevDriver } from "@weir/core";
import { netNull } from "./vdev/null/device.js";
import { netPcap } from "./vdev/pcap/device.js";
import { netRing } from "./vdev/ring/device.js";
import { netTap } from "./vdev/tap/device.js";
import { virtioNet } from "./virtio-net/driver.js";

export { createCapture, openCapture } from "./vdev/pcap/device.js";
export { type Capture, loadCapture } from "./vdev/pcap-file.js";
export { PCAP_RECORD_HEADER_BYTES, writePcapRecordHeader } from "./vdev/pcap-write.js";
export { openTap, type Tap } from "./vdev/tap/device.js";

export type { VirtioNetDevice } from "./virtio-net/device.js";

/** Every driver of virtual devices. */
export const vdevs: readonly VdevDriver[] = [netNull, netPcap, netRing, netTap];

/** Every driver of PCI functions. */
export const pciDrivers: readonly PciDriver[] = [virtioNet];
