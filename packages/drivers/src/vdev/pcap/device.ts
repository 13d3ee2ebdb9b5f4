/** net_pcap: receives from a capture file and sends into one, as DPDK's pcap PMD. Lifetime path. */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  statSync,
  writeSync,
} from "node:fs";
import {
  type EthDevice,
  EXIT_SETUP,
  numberArgument,
  randomMac,
  usageError,
  type VdevDriver,
  WeirError,
} from "@weir/core";
import { type Capture, loadCapture } from "../pcap-file.js";
import { PCAP_FILE_HEADER_BYTES, writePcapFileHeader } from "../pcap-write.js";
import type { PcapRxParams, PcapTxParams } from "./burst.js";

const { O_APPEND, O_CREAT, O_NONBLOCK, O_WRONLY, S_IFREG } = constants;
const TX_QUEUES_MAX = 128;

export const netPcap: VdevDriver = {
  prefix: "net_pcap",
  parameters: ["rx_pcap", "tx_pcap", "infinite_rx"],
  probe(spec): EthDevice {
    const rxPath = spec.args.get("rx_pcap");
    const txPath = spec.args.get("tx_pcap");
    const infinite = numberArgument(spec, "infinite_rx", { min: 0, max: 1, fallback: 0 }) === 1;
    if (rxPath === undefined && txPath === undefined) {
      throw usageError(
        `--vdev ${spec.name}: give rx_pcap=FILE to receive from, tx_pcap=FILE to send into, or both`,
      );
    }
    const capture = rxPath === undefined ? undefined : openCapture(rxPath);
    if (infinite && (capture === undefined || capture.frames === 0)) {
      throw usageError(
        `--vdev ${spec.name}: infinite_rx=1 needs an rx_pcap with at least one frame`,
      );
    }
    const fd = txPath === undefined ? -1 : openOutput(spec.name, txPath, rxPath);
    const module = new URL("./burst.js", import.meta.url).href;
    const rx: PcapRxParams = { capture, infinite };
    const tx: PcapTxParams = { fd };
    let open = fd >= 0;
    return {
      name: spec.name,
      driver: "net_pcap",
      mac: randomMac(),
      rxQueuesMax: 1,
      txQueuesMax: TX_QUEUES_MAX,
      queueLimitReason: "a capture is read in its order, through one queue",
      finite: !infinite,
      configure: () => undefined,
      rxQueue: () => ({ module, params: rx }),
      txQueue: () => ({ module, params: tx }),
      start() {
        if (fd >= 0) beginCapture(fd);
      },
      stop: () => undefined,
      close() {
        if (open) closeSync(fd);
        open = false;
      },
    };
  },
};

/** As `loadCapture`, for a command line. @throws WeirError */
export function openCapture(path: string): Capture {
  try {
    return loadCapture(path);
  } catch (error) {
    throw asWeirError(error);
  }
}

/**
 * Opens a file to write a capture into, without touching what is in it: see `beginCapture`. The fd is the caller's.
 *
 * @param from the file that the same device reads, which cannot be written as well
 * @throws WeirError
 */
export function openOutput(device: string, path: string, from?: string): number {
  let fd: number;
  try {
    // Appending: queues of several lcores write whole records, each with one write(2), and none overwrites another's.
    // Non-blocking for this call alone: a pipe that nobody reads would hold it up for ever.
    fd = openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, 0o644);
  } catch (error) {
    const { code = "EIO" } = error as NodeJS.ErrnoException;
    throw new WeirError(
      code,
      `${device}: tx_pcap=${path} cannot be written (${code}): name a file in a folder that you may write to`,
      EXIT_SETUP,
    );
  }
  const { dev, ino, ...kind } = fstatSync(fd);
  const source = from === undefined ? undefined : statSync(from);
  const why = !(kind.mode & S_IFREG)
    ? "is not a file, and a reader that pauses would stop the lcore: write a file, or use net_tap for a live view"
    : source?.dev === dev && source.ino === ino
      ? "is the file that is read: writing would destroy it; name another"
      : undefined;
  if (why === undefined) return fd;
  closeSync(fd);
  throw new WeirError("EINVAL", `${device}: tx_pcap=${path} ${why}`, EXIT_SETUP);
}

/** Empties the file and writes a capture's header, as DPDK replaces an old one. @throws WeirError */
export function beginCapture(fd: number): void {
  const header = new Uint8Array(PCAP_FILE_HEADER_BYTES);
  writePcapFileHeader(header);
  try {
    ftruncateSync(fd);
    writeSync(fd, header);
  } catch (error) {
    throw asWeirError(error);
  }
}

/** A new capture file, opened and begun. The fd is the caller's. @throws WeirError */
export function createCapture(device: string, path: string, from?: string): number {
  const fd = openOutput(device, path, from);
  try {
    beginCapture(fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return fd;
}

function asWeirError(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  return typeof code === "string"
    ? new WeirError(code, message, EXIT_SETUP, { cause: error })
    : error;
}
