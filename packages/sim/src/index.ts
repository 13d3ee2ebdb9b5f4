/** @weir/sim: what stands in for hardware. */
export type { BackendSpec } from "./backend.js";
export type { DeviceCommand, DeviceReport } from "./device-link.js";
export type { Counters, DmaFault, Violation } from "./device-log.js";
export { FAULT_NAMES, type FaultName, type FaultOptions, parseFaults } from "./faults.js";
export { usableRanges } from "./iommu.js";
export { netSim } from "./net-sim.js";
export type { SimFunction } from "./sim-function.js";
export {
  type SimFunctionOptions,
  SimMachine,
  simulatedDevice,
  threadedFunction,
} from "./sim-machine.js";
export type { NetOptions } from "./virtio-net/options.js";
