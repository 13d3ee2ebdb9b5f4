/** @weir/core: packet memory, DMA lifetimes, ports and the runtime. */

export {
  allOnes,
  attachBar,
  type Bar,
  type BarImage,
  type BarView,
  type PciFunction,
  type PciIds,
  type Width,
} from "./bus/pci-function.js";
export {
  type DmaTarget,
  type IovaRange,
  type Mapping,
  Space,
  type Translation,
} from "./dma/space.js";
export { EXIT_CRASH, EXIT_OK, EXIT_SETUP, EXIT_USAGE, usageError, WeirError } from "./errors.js";
export {
  type Clock,
  type DeviceHost,
  type DeviceQueue,
  type EthDevice,
  numberArgument,
  type PciDriver,
  type ProbeEnv,
  type SteppedHost,
  type VdevDriver,
  type VdevSpec,
} from "./ethdev/device.js";
export { formatMac, parseMac, randomMac } from "./ethdev/mac.js";
export { Port } from "./ethdev/port.js";
export {
  attachRxQueue,
  attachTxQueue,
  type Burst,
  type BurstConstants,
  burstConstants,
  type QueueImage,
  type RxQueue,
  type TxQueue,
} from "./ethdev/queue.js";
export {
  Arena,
  type ArenaImage,
  type ArenaView,
  attachArena,
  type Chunk,
  GRANULE_BYTES,
  hugepages,
} from "./memory/arena.js";
export { DATA_ROOM, FRAME_BYTES_MAX, HEADROOM, SEGMENTS_MAX, SLOT_STRIDE } from "./memory/slot.js";
export { type Account, audit } from "./mempool/audit.js";
export { attachFrames, type Frames, type MacWords, macWords } from "./mempool/frames.js";
export type { LcoreMemory } from "./mempool/lcore-memory.js";
export { PacketMemory } from "./mempool/packet-memory.js";
export type { PoolCache } from "./mempool/pool-cache.js";
export { FLAG_CSUM_VALID, FLAG_NEEDS_CSUM, SEGMENTS_LIMIT, type Table } from "./mempool/table.js";
export { native } from "./native/addon.js";
export {
  closeFd,
  controlSocket,
  errnoName,
  ioctlStruct,
  ioctlValue,
  SyscallError,
} from "./os/libc.js";
export { Random } from "./random.js";
export { attachMpmcRing, createMpmcRing, type MpmcRing } from "./ring/mpmc-ring.js";
export {
  attachSpscConsumer,
  attachSpscProducer,
  createSpscRing,
  type SpscConsumer,
  type SpscProducer,
  type SpscRingImage,
} from "./ring/spsc-ring.js";
export {
  type AppSpec,
  app,
  type LcoreEnv,
  type Plan,
  type PortInfo,
  type PortStatus,
  type Route,
  type SetupEnv,
  type Status,
  type Turn,
} from "./runtime/app.js";
export { maskBits, wholeNumber } from "./runtime/eal-args.js";
export type { OptionTable, OptionValues } from "./runtime/options.js";
export { runApp } from "./runtime/run-app.js";
export { Session } from "./runtime/session.js";
export { SteppedExecutor } from "./runtime/stepped.js";
export { ThreadedExecutor } from "./runtime/threaded.js";
export { specialise } from "./specialise.js";
