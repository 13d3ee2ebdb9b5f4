/** Entry of the thread that all simulated devices of a threaded process live in. It ends with the last of them. */
import { receiveMessageOnPort, workerData } from "node:worker_threads";
import { native, WeirError } from "@weir/core";
import { Machine } from "../machine.js";
import type { SimDevice } from "../sim-device.js";
import {
  ANSWERS,
  type Answer,
  REQUESTS,
  type Request,
  STATE,
  STATE_ENDED,
  STATE_RUNNING,
  THREAD_ID,
  type ThreadData,
} from "./protocol.js";

/** Turns without work before the thread sleeps, and for how long: ctl and the lcores share the CPUs with it. */
const IDLE_TURNS_MAX = 64;
const SLEEP_MS = 0.1;

const { words: buffer, requests, interrupts } = workerData as ThreadData;
const words = new Int32Array(buffer);
const machine = new Machine();
const devices = new Map<number, SimDevice>();
let taken = 0;
let created = false;

function perform(request: Request): unknown {
  switch (request.type) {
    case "create": {
      const raised = new Int32Array(request.raised);
      const { id } = request;
      const device = machine.create(request.spec, (vector) => {
        if (Atomics.exchange(raised, vector, 1) === 0) interrupts.postMessage({ id, vector });
      });
      devices.set(id, device);
      created = true;
      return undefined;
    }
    case "remove": {
      const device = devices.get(request.id);
      devices.delete(request.id);
      if (device !== undefined) machine.remove(device);
      return undefined;
    }
    case "call": {
      const device = devices.get(request.id);
      if (device === undefined) throw new WeirError("ENODEV", `there is no device ${request.id}`);
      return (device[request.method] as (...args: readonly unknown[]) => unknown).apply(device, [
        ...request.args,
      ]);
    }
    case "break":
      if (request.how === "hang") for (;;);
      if (request.how === "exit") process.exit(9);
      throw new Error("the device thread was told to break");
  }
}

function answer(request: Request): Answer {
  try {
    return { value: perform(request) };
  } catch (error) {
    if (!(error instanceof WeirError)) throw error; // a bug of a model: all of its devices die
    return { error: { code: error.code, message: error.message, exitCode: error.exitCode } };
  }
}

function takeRequests(): void {
  for (let message = receiveMessageOnPort(requests); message !== undefined; ) {
    requests.postMessage(answer(message.message as Request));
    taken = (taken + 1) | 0;
    // The answer is posted before this store, which ctl waits for.
    Atomics.store(words, ANSWERS, taken);
    Atomics.notify(words, ANSWERS);
    message = receiveMessageOnPort(requests);
  }
}

Atomics.store(words, THREAD_ID, native.gettid());
Atomics.store(words, STATE, STATE_RUNNING);
try {
  for (let idle = 0; !created || devices.size > 0; ) {
    // Pairs with ctl's count: the request is posted before it.
    if (Atomics.load(words, REQUESTS) !== taken) takeRequests();
    idle = machine.step() ? 0 : idle + 1;
    if (idle > IDLE_TURNS_MAX) Atomics.wait(words, REQUESTS, taken, SLEEP_MS);
  }
} finally {
  Atomics.store(words, STATE, STATE_ENDED);
  Atomics.notify(words, ANSWERS);
  requests.close();
  interrupts.close();
}
