/**
 * Virtual I/O Device (VIRTIO) Version 1.2, Committee Specification 01, 01 July 2022 ("1.2"), as the device side reads it.
 * Nothing here is shared with a driver: a wrong offset must fail a test, not agree with itself.
 */

// Device status, 1.2 2.1
export const STATUS_ACKNOWLEDGE = 1;
export const STATUS_DRIVER = 2;
export const STATUS_DRIVER_OK = 4;
export const STATUS_FEATURES_OK = 8;
export const STATUS_NEEDS_RESET = 64;

// Reserved feature bits, 1.2 6
export const F_INDIRECT_DESC = 28;
export const F_EVENT_IDX = 29;
export const F_VERSION_1 = 32;
export const F_ACCESS_PLATFORM = 33;
export const F_IN_ORDER = 35;
export const F_RING_RESET = 40;

// PCI identity, 1.2 4.1.2
export const PCI_VENDOR = 0x1af4;
export const pciDeviceId = (deviceType: number): number => 0x1040 + deviceType;
/** 1.2 4.1.2.1: a revision of 1 or more and a subsystem of 0x40 or more keep legacy drivers away. */
export const PCI_REVISION = 1;
export const PCI_SUBSYSTEM_MIN = 0x40;

// struct virtio_pci_cap, 1.2 4.1.4; offsets in bytes
export const CAP_LENGTH = 2; // RO 8
export const CAP_CFG_TYPE = 3; // RO 8
export const CAP_BAR = 4; // RO 8
export const CAP_OFFSET = 8; // RO 32
export const CAP_STRUCTURE_LENGTH = 12; // RO 32
export const CAP_BYTES = 16;
/** 1.2 4.1.4.4: notify_off_multiplier. 1.2 4.1.4.9: pci_cfg_data. */
export const CAP_EXTRA = 16;
export const CAP_WITH_EXTRA_BYTES = 20;

// cfg_type, 1.2 4.1.4
export const CFG_COMMON = 1;
export const CFG_NOTIFY = 2;
export const CFG_ISR = 3;
export const CFG_DEVICE = 4;
export const CFG_PCI = 5;

// ISR status, 1.2 4.1.4.5
export const ISR_QUEUE = 1;
export const ISR_CONFIG = 2;

/** 1.2 4.1.5.1.2 */
export const NO_VECTOR = 0xffff;

// struct virtq_desc, 1.2 2.7.5
export const DESC_BYTES = 16;
export const DESC_F_NEXT = 1;
export const DESC_F_WRITE = 2;
export const DESC_F_INDIRECT = 4;

// struct virtq_avail, 1.2 2.7.6; offsets in bytes
export const AVAIL_FLAGS = 0;
export const AVAIL_IDX = 2;
export const AVAIL_RING = 4;
export const AVAIL_F_NO_INTERRUPT = 1;
export const usedEventOffset = (size: number): number => AVAIL_RING + 2 * size;

// struct virtq_used, 1.2 2.7.8; offsets in bytes
export const USED_IDX = 2;
export const USED_RING = 4;
export const USED_ELEM_BYTES = 8;
export const USED_ELEM_LEN = 4;
export const availEventOffset = (size: number): number => USED_RING + USED_ELEM_BYTES * size;

// Alignment of the parts, 1.2 2.7
export const DESC_ALIGN = 16;
export const AVAIL_ALIGN = 2;
export const USED_ALIGN = 4;
