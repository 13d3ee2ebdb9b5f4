/** The network device of VIRTIO 1.2 (5.1), as the device side reads it. */

/** 1.2 5.1.1 */
export const DEVICE_TYPE_NET = 1;
/** Ethernet controller (PCI Code and ID Assignment 1.11, 1.3). */
export const CLASS_ETHERNET = 0x020000;

// Feature bits, 1.2 5.1.3
export const F_CSUM = 0;
export const F_GUEST_CSUM = 1;
export const F_MTU = 3;
export const F_MAC = 5;
export const F_MRG_RXBUF = 15;
export const F_STATUS = 16;
export const F_CTRL_VQ = 17;
export const F_CTRL_RX = 18;
export const F_CTRL_VLAN = 19;
export const F_GUEST_ANNOUNCE = 21;
export const F_MQ = 22;
export const F_CTRL_MAC_ADDR = 23;

// struct virtio_net_config, 1.2 5.1.4; offsets in bytes
export const CONFIG_MAC = 0;
export const CONFIG_STATUS = 6;
export const CONFIG_MAX_VIRTQUEUE_PAIRS = 8;
export const CONFIG_MTU = 10;
export const CONFIG_BYTES = 12;
export const S_LINK_UP = 1;
export const S_ANNOUNCE = 2;

// struct virtio_net_hdr, 1.2 5.1.6; offsets in bytes
export const HDR_FLAGS = 0;
export const HDR_GSO_TYPE = 1;
export const HDR_CSUM_START = 6;
export const HDR_CSUM_OFFSET = 8;
export const HDR_NUM_BUFFERS = 10;
export const HDR_BYTES = 12;
export const HDR_F_NEEDS_CSUM = 1;
export const HDR_F_DATA_VALID = 2;
export const HDR_F_RSC_INFO = 4;
export const GSO_NONE = 0;

// Control queue, 1.2 5.1.6.5
export const CTRL_OK = 0;
export const CTRL_ERR = 1;
export const CTRL_RX = 0; // 5.1.6.5.1
export const CTRL_RX_PROMISC = 0;
export const CTRL_RX_ALLMULTI = 1;
export const CTRL_MAC = 1; // 5.1.6.5.2
export const CTRL_MAC_TABLE_SET = 0;
export const CTRL_MAC_ADDR_SET = 1;
export const CTRL_VLAN = 2; // 5.1.6.5.3
export const CTRL_VLAN_ADD = 0;
export const CTRL_VLAN_DEL = 1;
export const CTRL_ANNOUNCE = 3; // 5.1.6.5.4
export const CTRL_ANNOUNCE_ACK = 0;
export const CTRL_MQ = 4; // 5.1.6.5.5
export const CTRL_MQ_VQ_PAIRS_SET = 0;
