/** Configuration space of a type 0 function: PCI Local Bus 3.0 ("PCI") and PCI Express Base 4.0 ("PCIe"). */

// The header, PCI 6.1, figure 6-1; offsets in bytes
export const VENDOR_ID = 0x00; // RO 16
export const DEVICE_ID = 0x02; // RO 16
export const COMMAND = 0x04; // RW 16
export const STATUS = 0x06; // RO 16
export const REVISION_ID = 0x08; // RO 8
export const CLASS_CODE = 0x09; // RO 24
export const BAR = (index: number): number => 0x10 + 4 * index; // RW 32
export const SUBSYSTEM_VENDOR_ID = 0x2c; // RO 16
export const SUBSYSTEM_ID = 0x2e; // RO 16
export const CAPABILITIES_POINTER = 0x34; // RO 8

// Command register, PCI 6.2.2
export const COMMAND_MEMORY = 0x0002; // answers in memory space
export const COMMAND_BUS_MASTER = 0x0004; // may issue DMA and messages
export const COMMAND_INTX_DISABLE = 0x0400;

// Status register, PCI 6.2.3
export const STATUS_INTERRUPT = 0x0008;
export const STATUS_CAPABILITIES_LIST = 0x0010;

// Base address register, PCI 6.2.5.1
export const BAR_TYPE_64 = 0x4;
export const BARS = 6;

// Capabilities, PCI 6.7 and appendix H
export const CAP_ID_VENDOR = 0x09;
export const CAP_ID_EXPRESS = 0x10;
export const CAP_ID_MSIX = 0x11;
/** The first byte behind the header. */
export const CAPABILITIES_START = 0x40;

// PCI Express capability, PCIe 7.5.3; offsets within the capability
export const EXPRESS_BYTES = 0x3c;
export const EXPRESS_FLAGS = 0x02; // RO 16: version 2, an endpoint
export const EXPRESS_FLAGS_VALUE = 0x0002;
export const EXPRESS_DEVICE_CAPABILITIES = 0x04; // RO 32
export const EXPRESS_FLR = 0x10000000; // function level reset capability
export const EXPRESS_DEVICE_CONTROL = 0x08; // RW 16
export const EXPRESS_INITIATE_FLR = 0x8000; // reads as 0

// MSI-X capability, PCI 6.8.2; offsets within the capability
export const MSIX_BYTES = 0x0c;
export const MSIX_CONTROL = 0x02; // 16
export const MSIX_FUNCTION_MASK = 0x4000; // RW
export const MSIX_ENABLE = 0x8000; // RW
export const MSIX_TABLE = 0x04; // RO 32: offset and BAR
export const MSIX_PENDING = 0x08; // RO 32: offset and BAR

// MSI-X table entry, PCI 6.8.2.6; words of 32 bits
export const ENTRY_WORDS = 4;
export const ENTRY_ADDRESS_LOW = 0;
export const ENTRY_ADDRESS_HIGH = 1;
export const ENTRY_DATA = 2;
export const ENTRY_CONTROL = 3;
export const ENTRY_MASKED = 1; // set by a reset

/** Bytes of configuration space of a PCI Express function, PCIe 7.2. */
export const CONFIG_BYTES = 4096;
