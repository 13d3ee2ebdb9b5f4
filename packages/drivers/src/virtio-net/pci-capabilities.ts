/** Where a PCI function keeps its virtio structures: the walk of its capability list (VIRTIO 1.2, 4.1.4). */
import { type Bar, type PciFunction, WeirError } from "@weir/core";
import {
  CAP_BAR,
  CAP_BAR_MAX,
  CAP_BYTES,
  CAP_CFG_TYPE,
  CAP_LEN,
  CAP_LENGTH,
  CAP_NOTIFY_BYTES,
  CAP_NOTIFY_OFF_MULTIPLIER,
  CAP_OFFSET,
  COMMON_CFG_BYTES,
  PCI_CAP_ID_VNDR,
  VIRTIO_PCI_CAP_COMMON_CFG,
  VIRTIO_PCI_CAP_DEVICE_CFG,
  VIRTIO_PCI_CAP_NOTIFY_CFG,
} from "./layout.js";

// PCI Local Bus 3.0, 6.2 and 6.7
const STATUS = 0x06;
const STATUS_CAPABILITIES_LIST = 0x10;
const CAPABILITIES_POINTER = 0x34;
const BAR0 = 0x10;
const BAR_IO_SPACE = 1;
/** Capabilities that fit into the 192 bytes behind the header: a longer list is a circle. */
const CAPABILITIES_MAX = 48;
const CONFIG_HEADER_BYTES = 0x40;

/** A structure: where it is, and how much of it is inside its BAR. */
export interface Structure {
  readonly bar: Bar;
  readonly offset: number;
  readonly bytes: number;
}

export interface VirtioStructures {
  readonly common: Structure;
  readonly notify: Structure;
  readonly notifyOffMultiplier: number;
  readonly device: Structure;
}

/** @throws WeirError ENOTSUP for a device without a modern interface, ENODEV when it is gone */
export function findStructures(pci: PciFunction): VirtioStructures {
  let common: Structure | undefined;
  let notify: Structure | undefined;
  let device: Structure | undefined;
  let notifyOffMultiplier = 0;
  for (const at of capabilities(pci)) {
    if (pci.configRead(at, 1) !== PCI_CAP_ID_VNDR || pci.configRead(at + CAP_LEN, 1) < CAP_BYTES)
      continue;
    // 4.1.4.1: the first instance of each type that can be used; reserved types and BARs are ignored.
    switch (pci.configRead(at + CAP_CFG_TYPE, 1)) {
      case VIRTIO_PCI_CAP_COMMON_CFG:
        common ??= structure(pci, at, COMMON_CFG_BYTES, 4);
        break;
      case VIRTIO_PCI_CAP_NOTIFY_CFG:
        if (notify !== undefined || pci.configRead(at + CAP_LEN, 1) < CAP_NOTIFY_BYTES) break;
        notify = structure(pci, at, 2, 2);
        notifyOffMultiplier = pci.configRead(at + CAP_NOTIFY_OFF_MULTIPLIER, 4);
        break;
      case VIRTIO_PCI_CAP_DEVICE_CFG:
        device ??= structure(pci, at, 1, 4);
        break;
      default:
    }
  }
  if (common === undefined || notify === undefined || device === undefined) {
    throw new WeirError(
      "ENOTSUP",
      `${pci.name} has no modern virtio interface in memory BARs, only the legacy one, which weir does not drive: make it modern (QEMU: disable-legacy=on)`,
    );
  }
  return { common, notify, notifyOffMultiplier, device };
}

/** Offsets of the capabilities in configuration space. */
function* capabilities(pci: PciFunction): Generator<number> {
  const status = pci.configRead(STATUS, 2);
  if (status === 0xffff) throw new WeirError("ENODEV", `${pci.name} is gone`);
  if ((status & STATUS_CAPABILITIES_LIST) === 0) return;
  let at = pci.configRead(CAPABILITIES_POINTER, 1) & ~3; // the low two bits are reserved
  for (let i = 0; at >= CONFIG_HEADER_BYTES && i < CAPABILITIES_MAX; i++) {
    yield at;
    at = pci.configRead(at + 1, 1) & ~3;
  }
}

/** The structure of a capability; undefined when its BAR is of no use. */
function structure(
  pci: PciFunction,
  at: number,
  bytesMin: number,
  align: number,
): Structure | undefined {
  const number = pci.configRead(at + CAP_BAR, 1);
  if (number > CAP_BAR_MAX) return undefined;
  if ((pci.configRead(BAR0 + 4 * number, 4) & BAR_IO_SPACE) !== 0) return undefined;
  const offset = pci.configRead(at + CAP_OFFSET, 4);
  const length = pci.configRead(at + CAP_LENGTH, 4);
  const bar = pci.bar(number);
  const bytes = Math.min(length, bar.bytes - offset);
  if (bytes < bytesMin || offset % align !== 0) {
    throw new WeirError(
      "EPROTO",
      `${pci.name} places a virtio structure at ${offset} of BAR ${number}, where it does not fit (${length} of ${bar.bytes} bytes)`,
    );
  }
  return { bar, offset, bytes };
}
