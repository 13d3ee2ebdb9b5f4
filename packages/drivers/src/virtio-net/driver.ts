/** net_virtio on PCI: which functions it drives. */
import type { EthDevice, PciDriver } from "@weir/core";
import { VirtioNetDevice } from "./device.js";
import { PCI_DEVICE_NET, PCI_DEVICE_NET_TRANSITIONAL, PCI_VENDOR } from "./layout.js";
import { PciTransport } from "./pci-transport.js";

export const virtioNet: PciDriver = {
  name: "net_virtio",
  /** 4.1.2.2. A transitional device is driven through its modern interface, and refused when it has none. */
  matches: ({ vendor, device }) =>
    vendor === PCI_VENDOR && (device === PCI_DEVICE_NET || device === PCI_DEVICE_NET_TRANSITIONAL),
  probe: (pci, spec): EthDevice => new VirtioNetDevice(new PciTransport(pci), pci.dma, spec),
};
