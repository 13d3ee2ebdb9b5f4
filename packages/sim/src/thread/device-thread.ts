/** Lifetime path, ctl side: the thread that simulated devices live in. There is one, and it ends with its last device. */
import { existsSync } from "node:fs";
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  Worker,
} from "node:worker_threads";
import { allOnes, native, WeirError } from "@weir/core";
import type { DeviceLink, DeviceReport, DeviceSpec } from "../device-link.js";
import { vectorsFor } from "../machine.js";
import { REGION_BYTES } from "../sim-device.js";
import {
  ANSWERS,
  type Answer,
  type Interrupt,
  REQUESTS,
  type Request,
  STATE,
  STATE_ENDED,
  STATE_STARTING,
  THREAD_ID,
  type ThreadData,
  WORDS,
} from "./protocol.js";

/** A thread that has not answered for this long is ended. */
const ANSWER_TIMEOUT_MS = 5000;
/** After that it has this long to be gone. */
const END_TIMEOUT_MS = 2000;
/** How often a waiting ctl looks whether the thread still lives. */
const LOOK_MS = 20;

interface Lodger {
  readonly region: number;
  readonly raised: Int32Array;
  readonly onInterrupt: (vector: number) => void;
}

export class DeviceThread {
  static #current: DeviceThread | undefined;
  readonly #words = new Int32Array(new SharedArrayBuffer(WORDS * 4));
  readonly #worker: Worker;
  readonly #requests: MessagePort;
  readonly #lodgers = new Map<number, Lodger>();
  #posted = 0;
  #nextId = 1;
  #gone = false;
  #reason = "it ended";

  /** The process's thread, started when there is none. */
  static current(): DeviceThread {
    if (DeviceThread.#current === undefined || DeviceThread.#current.#gone)
      DeviceThread.#current = new DeviceThread();
    return DeviceThread.#current;
  }

  private constructor() {
    const requests = new MessageChannel();
    const interrupts = new MessageChannel();
    this.#requests = requests.port1;
    const data: ThreadData = {
      words: this.#words.buffer as SharedArrayBuffer,
      requests: requests.port2,
      interrupts: interrupts.port2,
    };
    this.#worker = new Worker(new URL("./main.js", import.meta.url), {
      workerData: data,
      transferList: [requests.port2, interrupts.port2],
      name: "simulated devices",
    });
    this.#worker.on("error", (error: Error) => {
      this.#reason = error.message;
    });
    this.#worker.once("exit", () => this.#lost());
    interrupts.port1.on("message", (message: Interrupt) => this.#interrupt(message));
    // The devices do not keep the process alive.
    interrupts.port1.unref();
    this.#worker.unref();
  }

  get gone(): boolean {
    if (!this.#gone && !this.#lives()) this.#lost();
    return this.#gone;
  }

  /** Why it is gone. */
  get reason(): string {
    return this.#reason;
  }

  /** @throws WeirError when the device cannot be made, or ENODEV when the thread broke */
  create(spec: DeviceSpec, onInterrupt: (vector: number) => void): DeviceLink {
    const id = this.#nextId++;
    const raised = new Int32Array(new SharedArrayBuffer(vectorsFor(spec) * 4));
    this.#lodgers.set(id, { region: spec.region, raised, onInterrupt });
    try {
      this.#call({ type: "create", id, spec, raised: raised.buffer as SharedArrayBuffer });
      if (this.#gone) throw new WeirError("ENODEV", `the device thread is gone: ${this.#reason}`);
    } catch (error) {
      this.#lodgers.delete(id);
      throw error;
    }
    return new ThreadLink(this, id, (request) => this.#call(request));
  }

  /** Opposite of `create`. The thread touches nothing of the device when it returns. */
  remove(id: number): void {
    const last = this.#lodgers.delete(id) && this.#lodgers.size === 0;
    // The thread ends by itself with the last one; the next device gets a new one.
    if (last && DeviceThread.#current === this) DeviceThread.#current = undefined;
    this.#call({ type: "remove", id });
    if (last) this.#close();
  }

  /** For tests: what happens when the thread breaks. */
  break(how: "throw" | "exit" | "hang"): void {
    this.#post({ type: "break", how });
  }

  /** What the thread answers; undefined when it is gone. @throws WeirError what it threw */
  #call(request: Request): unknown {
    if (this.gone) return undefined;
    this.#post(request);
    if (!this.#waitForAnswer()) return undefined;
    const answer = receiveMessageOnPort(this.#requests)?.message as Answer;
    if (answer.error !== undefined)
      throw new WeirError(answer.error.code, answer.error.message, answer.error.exitCode);
    return answer.value;
  }

  #post(request: Request): void {
    this.#requests.postMessage(request);
    this.#posted = (this.#posted + 1) | 0;
    // The request is posted before this store, which the thread looks at and sleeps on.
    Atomics.store(this.#words, REQUESTS, this.#posted);
    Atomics.notify(this.#words, REQUESTS);
  }

  /** False when the thread is gone. One that hangs is ended: ctl must go on, and nothing may touch memory behind its back. */
  #waitForAnswer(): boolean {
    let deadline = performance.now() + ANSWER_TIMEOUT_MS;
    let ending = false;
    for (;;) {
      const answered = Atomics.load(this.#words, ANSWERS);
      if (answered === this.#posted) return true;
      if (!this.#lives()) {
        this.#lost();
        return false;
      }
      if (performance.now() > deadline) {
        if (ending && Atomics.load(this.#words, STATE) === STATE_STARTING) {
          this.#lost(); // it never ran
          return false;
        }
        if (ending)
          throw new WeirError(
            "EBUSY",
            "the device thread hangs and cannot be ended: its memory stays",
          );
        ending = true;
        this.#reason = `it did not answer for ${ANSWER_TIMEOUT_MS} ms`;
        deadline = performance.now() + END_TIMEOUT_MS;
        void this.#worker.terminate();
      }
      Atomics.wait(this.#words, ANSWERS, answered, LOOK_MS);
    }
  }

  /** Whether it can still touch anything. The exit event says so too, but not while ctl waits. */
  #lives(): boolean {
    const state = Atomics.load(this.#words, STATE);
    if (state === STATE_STARTING) return true;
    return state !== STATE_ENDED && existsSync(`/proc/self/task/${this.#words[THREAD_ID]}`);
  }

  /** Every device dies with the thread: its BARs read all ones. */
  #lost(): void {
    if (this.#gone) return;
    this.#gone = true;
    for (const { region } of this.#lodgers.values()) native.regionRevoke(region, 0, REGION_BYTES);
    this.#close();
  }

  #close(): void {
    this.#gone = true;
    this.#requests.close();
  }

  #interrupt({ id, vector }: Interrupt): void {
    const lodger = this.#lodgers.get(id);
    if (lodger === undefined) return;
    // Before the handler runs: what is raised while it does is posted again.
    Atomics.store(lodger.raised, vector, 0);
    lodger.onInterrupt(vector);
  }
}

class ThreadLink implements DeviceLink {
  readonly #thread: DeviceThread;
  readonly #id: number;
  readonly #request: (request: Request) => unknown;

  constructor(thread: DeviceThread, id: number, request: (request: Request) => unknown) {
    this.#thread = thread;
    this.#id = id;
    this.#request = request;
  }

  get alive(): boolean {
    return !this.#thread.gone;
  }

  configRead: DeviceLink["configRead"] = (offset, width) =>
    (this.#call("configRead", offset, width) as number | undefined) ?? allOnes(width);

  configWrite: DeviceLink["configWrite"] = (...args) => void this.#call("configWrite", ...args);

  barRead: DeviceLink["barRead"] = (bar, offset, width) =>
    (this.#call("barRead", bar, offset, width) as number | undefined) ?? allOnes(width);

  barWrite: DeviceLink["barWrite"] = (...args) => void this.#call("barWrite", ...args);

  map: DeviceLink["map"] = (...args) => void this.#call("map", ...args);

  /** Returns when the thread has acknowledged it, or can touch nothing any more. */
  unmap: DeviceLink["unmap"] = (...args) => void this.#call("unmap", ...args);

  report: DeviceLink["report"] = () => {
    const report = this.#call("report") as DeviceReport | undefined;
    if (report === undefined) throw new WeirError("ENODEV", `gone: ${this.#thread.reason}`);
    return report;
  };

  command: DeviceLink["command"] = (command) => void this.#call("command", command);

  remove(): void {
    this.#thread.remove(this.#id);
  }

  #call(method: (Request & { type: "call" })["method"], ...args: readonly unknown[]): unknown {
    return this.#request({ type: "call", id: this.#id, method, args });
  }
}
