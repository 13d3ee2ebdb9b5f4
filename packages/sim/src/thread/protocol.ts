/**
 * Between ctl and the thread that simulated devices live in. A request is posted, then counted in `REQUESTS`; the answer
 * is posted, then counted in `ANSWERS`. Both sides take messages out synchronously, so that a register read on ctl
 * returns the register's value.
 */
import type { MessagePort } from "node:worker_threads";
import type { DeviceSpec } from "../device-link.js";

// Words of shared memory
export const REQUESTS = 0;
export const ANSWERS = 1;
export const STATE = 2;
/** The system's id of the thread: when it is gone from /proc, so is everything that the thread could touch. */
export const THREAD_ID = 3;
export const WORDS = 16; // a cache line

export const STATE_STARTING = 0;
export const STATE_RUNNING = 1;
/** It touches nothing any more. */
export const STATE_ENDED = 2;

export interface ThreadData {
  readonly words: SharedArrayBuffer;
  readonly requests: MessagePort;
  readonly interrupts: MessagePort;
}

export type Request =
  | {
      readonly type: "create";
      readonly id: number;
      readonly spec: DeviceSpec;
      readonly raised: SharedArrayBuffer;
    }
  | { readonly type: "remove"; readonly id: number }
  | {
      readonly type: "call";
      readonly id: number;
      readonly method: DeviceMethod;
      readonly args: readonly unknown[];
    }
  /** For tests: the thread breaks. */
  | { readonly type: "break"; readonly how: "throw" | "exit" | "hang" };

/** Methods of SimDevice. */
export type DeviceMethod =
  | "configRead"
  | "configWrite"
  | "barRead"
  | "barWrite"
  | "map"
  | "unmap"
  | "report"
  | "command";

export interface Answer {
  readonly value?: unknown;
  readonly error?: { readonly code: string; readonly message: string; readonly exitCode: number };
}

/** `raised[vector]` says that ctl has not taken this one yet: it is posted once. */
export interface Interrupt {
  readonly id: number;
  readonly vector: number;
}
