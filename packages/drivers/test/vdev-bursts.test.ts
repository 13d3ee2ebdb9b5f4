// The burst contract on every virtual device: what is sent, what is refused and counted, and that all comes back.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  attachFrames,
  attachRxQueue,
  attachTxQueue,
  audit,
  type Frames,
  PacketMemory,
  Port,
  type RxQueue,
  type TxQueue,
} from "@weir/core";
import test, { type ExecutionContext } from "ava";
import { loadCapture, vdevs } from "../src/index.js";
import { PcapFileWriter } from "./fixtures/capture-bytes.js";
