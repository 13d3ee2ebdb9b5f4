/**
 * Numbers of the Virtual I/O Device (VIRTIO) Version 1.2, Committee Specification 01, 1 July 2022. Sections are cited by
 * their numbers there. Everything is little-endian, as the machine is.
 */

// ---- Feature bits -------------------------------------------------------------------------------------------------

const bit = (n: number): bigint => 1n << BigInt(n);

// 5.1.3 Feature bits of the network device
export const VIRTIO_NET_F_CSUM: bigint = bit(0); // the device completes checksums
export const VIRTIO_NET_F_GUEST_CSUM: bigint = bit(1); // the driver takes frames with partial checksums
export const VIRTIO_NET_F_MTU: bigint = bit(3);
export const VIRTIO_NET_F_MAC: bigint = bit(5);
export const VIRTIO_NET_F_MRG_RXBUF: bigint = bit(15); // a frame may span receive buffers
export const VIRTIO_NET_F_STATUS: bigint = bit(16);
export const VIRTIO_NET_F_CTRL_VQ: bigint = bit(17);
export const VIRTIO_NET_F_CTRL_RX: bigint = bit(18);
export const VIRTIO_NET_F_CTRL_VLAN: bigint = bit(19);
export const VIRTIO_NET_F_GUEST_ANNOUNCE: bigint = bit(21);
export const VIRTIO_NET_F_MQ: bigint = bit(22);
export const VIRTIO_NET_F_CTRL_MAC_ADDR: bigint = bit(23);

// 6 Reserved feature bits
export const VIRTIO_F_EVENT_IDX: bigint = bit(29);
export const VIRTIO_F_VERSION_1: bigint = bit(32);
export const VIRTIO_F_ACCESS_PLATFORM: bigint = bit(33);
export const VIRTIO_F_IN_ORDER: bigint = bit(35);
export const VIRTIO_F_ORDER_PLATFORM: bigint = bit(36);
export const VIRTIO_F_NOTIF_CONFIG_DATA: bigint = bit(39);

// ---- Device status, 2.1 -------------------------------------------------------------------------------------------

export const STATUS_ACKNOWLEDGE = 1;
export const STATUS_DRIVER = 2;
export const STATUS_DRIVER_OK = 4;
export const STATUS_FEATURES_OK = 8;
export const STATUS_DEVICE_NEEDS_RESET = 64;
export const STATUS_FAILED = 128;

// ---- PCI, 4.1 -----------------------------------------------------------------------------------------------------

export const PCI_VENDOR = 0x1af4; // 4.1.2
export const PCI_DEVICE_NET = 0x1041; // 4.1.2: 0x1040 + device id 1 (5.1.1)
export const PCI_DEVICE_NET_TRANSITIONAL = 0x1000; // 4.1.2.1

// 4.1.4 struct virtio_pci_cap, byte offsets within the capability
export const PCI_CAP_ID_VNDR = 0x09;
export const CAP_LEN = 2;
export const CAP_CFG_TYPE = 3;
export const CAP_BAR = 4;
export const CAP_OFFSET = 8;
export const CAP_LENGTH = 12;
export const CAP_BYTES = 16;
export const CAP_NOTIFY_OFF_MULTIPLIER = 16; // 4.1.4.4, of the notification capability alone
export const CAP_NOTIFY_BYTES = 20;
/** The highest BAR number that is not reserved. */
export const CAP_BAR_MAX = 5;

export const VIRTIO_PCI_CAP_COMMON_CFG = 1;
export const VIRTIO_PCI_CAP_NOTIFY_CFG = 2;
export const VIRTIO_PCI_CAP_DEVICE_CFG = 4;

// 4.1.4.3 struct virtio_pci_common_cfg, byte offsets
export const DEVICE_FEATURE_SELECT = 0x00; // 32 RW
export const DEVICE_FEATURE = 0x04; // 32 RO
export const DRIVER_FEATURE_SELECT = 0x08; // 32 RW
export const DRIVER_FEATURE = 0x0c; // 32 RW
export const CONFIG_MSIX_VECTOR = 0x10; // 16 RW
export const NUM_QUEUES = 0x12; // 16 RO
export const DEVICE_STATUS = 0x14; // 8 RW
export const CONFIG_GENERATION = 0x15; // 8 RO
export const QUEUE_SELECT = 0x16; // 16 RW
export const QUEUE_SIZE = 0x18; // 16 RW
export const QUEUE_MSIX_VECTOR = 0x1a; // 16 RW
export const QUEUE_ENABLE = 0x1c; // 16 RW
export const QUEUE_NOTIFY_OFF = 0x1e; // 16 RO
export const QUEUE_DESC = 0x20; // 64 RW, low half first
export const QUEUE_DRIVER = 0x28; // 64 RW
export const QUEUE_DEVICE = 0x30; // 64 RW
export const QUEUE_NOTIFY_DATA = 0x38; // 16 RO, only with NOTIF_CONFIG_DATA
/** Up to `queue_device`: what every device has. */
export const COMMON_CFG_BYTES = 0x38;
/** Up to `queue_notify_data`. */
export const COMMON_CFG_NOTIFY_DATA_BYTES = 0x3a;

export const VIRTIO_MSI_NO_VECTOR = 0xffff; // 4.1.5.1.2

// ---- Network device configuration, 5.1.4 struct virtio_net_config, byte offsets -----------------------------------

export const NET_CONFIG_MAC = 0; // 6 bytes
export const NET_CONFIG_STATUS = 6; // 16
export const NET_CONFIG_MAX_VIRTQUEUE_PAIRS = 8; // 16
export const NET_CONFIG_MTU = 10; // 16
export const VIRTIO_NET_S_LINK_UP = 1;
export const VIRTIO_NET_S_ANNOUNCE = 2;
/** 5.1.4.1: what a device may say. */
export const NET_MTU_MIN = 68;
export const NET_PAIRS_MAX = 0x8000;

// ---- Virtqueues: 5.1.2 --------------------------------------------------------------------------------------------

export const receiveQueue = (pair: number): number => 2 * pair;
export const transmitQueue = (pair: number): number => 2 * pair + 1;
/** @param pairs that the device has with MQ, else 1 */
export const controlQueue = (pairs: number): number => 2 * pairs;

// ---- Split virtqueue, 2.7 -----------------------------------------------------------------------------------------

export const QUEUE_SIZE_MAX = 32768;
// Parts, 2.7: bytes for a queue of `size`. They are aligned to 16, 2 and 4 bytes at least.
export const descTableBytes = (size: number): number => 16 * size;
export const availBytes = (size: number): number => 6 + 2 * size;
export const usedBytes = (size: number): number => 6 + 8 * size;

// 2.7.5 struct virtq_desc, 32-bit words
export const DESC_WORDS = 4;
export const DESC_ADDR_LOW = 0;
export const DESC_ADDR_HIGH = 1;
export const DESC_LEN = 2;
export const DESC_FLAGS_NEXT = 3; // flags in the low half, next in the high half
export const VIRTQ_DESC_F_NEXT = 1;
export const VIRTQ_DESC_F_WRITE = 2;

// 2.7.6 struct virtq_avail
export const AVAIL_FLAGS_IDX = 0; // 32-bit word 0: flags in the low half, idx in the high half
export const AVAIL_RING = 2; // 16-bit word of entry 0
export const VIRTQ_AVAIL_F_NO_INTERRUPT = 1;

// 2.7.8 struct virtq_used, 32-bit words
export const USED_FLAGS_IDX = 0; // flags in the low half, idx in the high half
export const USED_RING = 1; // word of entry 0: its id
export const USED_ELEM_WORDS = 2; // id, then len
export const VIRTQ_USED_F_NO_NOTIFY = 1;

// ---- struct virtio_net_hdr, 5.1.6, 32-bit words -------------------------------------------------------------------

/** With VERSION_1 `num_buffers` is always there (5.1.6.1). */
export const NET_HDR_BYTES = 12;
export const NET_HDR_FLAGS = 0; // flags 0-7, gso_type 8-15, hdr_len 16-31
export const NET_HDR_CSUM_START = 1; // gso_size 0-15, csum_start 16-31
export const NET_HDR_NUM_BUFFERS = 2; // csum_offset 0-15, num_buffers 16-31
export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
export const VIRTIO_NET_HDR_F_DATA_VALID = 2;

// ---- Control virtqueue, 5.1.6.5 -----------------------------------------------------------------------------------

export const VIRTIO_NET_OK = 0;
export const VIRTIO_NET_CTRL_RX = 0; // 5.1.6.5.1
export const VIRTIO_NET_CTRL_RX_PROMISC = 0;
export const VIRTIO_NET_CTRL_RX_ALLMULTI = 1;
export const VIRTIO_NET_CTRL_MAC = 1; // 5.1.6.5.2
export const VIRTIO_NET_CTRL_MAC_TABLE_SET = 0;
export const VIRTIO_NET_CTRL_MAC_ADDR_SET = 1;
export const VIRTIO_NET_CTRL_VLAN = 2; // 5.1.6.5.3
export const VIRTIO_NET_CTRL_VLAN_ADD = 0;
export const VIRTIO_NET_CTRL_VLAN_DEL = 1;
export const VIRTIO_NET_CTRL_ANNOUNCE = 3; // 5.1.6.5.4
export const VIRTIO_NET_CTRL_ANNOUNCE_ACK = 0;
export const VIRTIO_NET_CTRL_MQ = 4; // 5.1.6.5.5
export const VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET = 0;
