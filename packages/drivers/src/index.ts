/** @weir/drivers: what gives weir its ports. */
import type { VdevDriver } from "@weir/core";
import { netNull } from "./vdev/null/device.js";
import { netPcap } from "./vdev/pcap/device.js";
import { netRing } from "./vdev/ring/device.js";
import { netTap } from "./vdev/tap/device.js";

export { type Capture, loadCapture } from "./vdev/pcap-file.js";

/** Every driver of virtual devices. */
export const vdevs: readonly VdevDriver[] = [netNull, netPcap, netRing, netTap];
