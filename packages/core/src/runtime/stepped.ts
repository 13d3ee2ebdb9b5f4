/**
 * The stepped way to run: lcores, devices and ctl's timers are actors of one scheduler in one thread, under a virtual
 * clock. Which actor goes next is drawn from a seed, so that a run replays step by step.
 */
import { WeirError } from "../errors.js";
import type { ProbeEnv, SteppedHost } from "../ethdev/device.js";
import { Random } from "../random.js";
import type { LcoreState } from "./app.js";
import type { Executor, RunningLcore } from "./executor.js";
import {
  attachLcore,
  COMMAND_RUN,
  COMMAND_STOP,
  LCORE_COMMAND,
  LCORE_PASSED,
  LCORE_STATE,
  type LcoreImage,
  STATE_CRASHED,
  STATE_RUNNING,
  STATE_STOPPED,
} from "./lcore.js";

/** Something that can go one step further. */
export interface Actor {
  readonly name: string;
  step(): void;
}

/** How much virtual time a step takes. */
const STEP_MS = 0.001;

export class SteppedExecutor implements Executor, SteppedHost {
  readonly random: Random;
  readonly probeEnv: ProbeEnv = { stepped: this };
  #now = 0;
  #steps = 0;
  readonly #actors: Actor[] = [];
  readonly #timers: { at: number; order: number; fire: () => void }[] = [];
  #timerOrder = 0;
  /** Pieces of work under way that no step can advance; steps wait for them. */
  #real = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  now(): number {
    return this.#now;
  }

  /** Steps taken so far. */
  get steps(): number {
    return this.#steps;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#timers.push({ at: this.#now + ms, order: this.#timerOrder++, fire: resolve });
      this.#timers.sort((a, b) => a.at - b.at || a.order - b.order);
    });
  }

  async real<T>(work: Promise<T>): Promise<T> {
    this.#real++;
    try {
      return await work;
    } finally {
      this.#real--;
    }
  }

  /** Adds an actor, e.g. a device. Returns its removal. */
  add(actor: Actor): () => void {
    this.#actors.push(actor);
    return () => {
      const at = this.#actors.indexOf(actor);
      if (at >= 0) this.#actors.splice(at, 1);
    };
  }

  launch(image: LcoreImage, onCrash: (error: string) => void): RunningLcore {
    const lcore = new SteppedLcore(image, onCrash);
    const attached = this.real(lcore.attach(() => this.#now));
    void attached.then((ready) => {
      if (ready) lcore.onEnd = this.add(lcore);
    });
    return lcore;
  }

  clearTheWay(): void {
    // one thread: nobody is in anybody's way
  }

  /**
   * Drives everything until `work` settles, and returns what it gives. @throws WeirError ETIMEDOUT after `stepsMax` steps
   */
  async run<T>(work: Promise<T>, stepsMax = 10_000_000): Promise<T> {
    let settled = false;
    const watched = work.finally(() => {
      settled = true;
    });
    watched.catch(() => undefined); // reported by the await below
    await promiseJobs();
    for (let steps = 0; !settled; steps++) {
      if (steps >= stepsMax)
        throw new WeirError("ETIMEDOUT", `the stepped run did not end within ${stepsMax} steps`);
      if (this.#real > 0 || this.#step()) await promiseJobs();
    }
    return watched;
  }

  /** One step; true when ctl may have something to do after it. */
  #step(): boolean {
    this.#steps++;
    this.#now += STEP_MS;
    // Nothing but time can move on: go to where it does.
    if (this.#actors.length === 0 && this.#timers[0] !== undefined)
      this.#now = Math.max(this.#now, this.#timers[0].at);
    const due = this.#timers[0];
    if (due !== undefined && due.at <= this.#now) {
      this.#timers.shift();
      due.fire();
      return true;
    }
    const before = this.#actors.length;
    this.#actors[this.random.below(before)]?.step();
    return before === 0 || this.#actors.length !== before;
  }
}

/** Lets every promise job run that can: ctl's code between two of its awaits. */
function promiseJobs(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

class SteppedLcore implements RunningLcore, Actor {
  readonly image: LcoreImage;
  readonly tid = 0;
  readonly name: string;
  onEnd: () => void = () => undefined;
  readonly #onCrash: (error: string) => void;
  #state: LcoreState = "starting";
  #turns: (() => void)[] = [];
  #next = 0;
  #flush: () => void = () => undefined;
  readonly #words: Int32Array;
  #ended: () => void = () => undefined;
  readonly #whenEnded: Promise<void>;

  constructor(image: LcoreImage, onCrash: (error: string) => void) {
    this.image = image;
    this.#onCrash = onCrash;
    this.name = `lcore ${image.lcore}`;
    this.#words = new Int32Array(image.words);
    this.#whenEnded = new Promise((resolve) => {
      this.#ended = resolve;
    });
  }

  get state(): LcoreState {
    return this.#state;
  }

  /** False when the application could not be attached: the lcore has crashed then. */
  async attach(now: () => number): Promise<boolean> {
    try {
      const { memory, turns } = await attachLcore(this.image, now);
      this.#turns = [...turns];
      this.#flush = () => memory.flush();
    } catch (error) {
      this.#crash(error);
      return false;
    }
    this.#state = "running";
    this.#words[LCORE_STATE] = STATE_RUNNING;
    return true;
  }

  step(): void {
    if (this.#next === 0 && this.#words[LCORE_COMMAND] !== COMMAND_RUN) {
      this.#flush();
      this.#end("stopped", STATE_STOPPED);
      return;
    }
    try {
      this.#turns[this.#next]?.();
    } catch (error) {
      this.#crash(error);
      return;
    }
    this.#next = (this.#next + 1) % Math.max(1, this.#turns.length);
    if (this.#next === 0) this.#words[LCORE_PASSED] = (this.#words[LCORE_PASSED] + 1) | 0;
  }

  stop(): Promise<void> {
    this.#words[LCORE_COMMAND] = COMMAND_STOP;
    return this.#whenEnded;
  }

  #crash(error: unknown): void {
    this.#end("crashed", STATE_CRASHED);
    this.#onCrash(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }

  #end(state: LcoreState, word: number): void {
    this.#state = state;
    this.#words[LCORE_STATE] = word;
    this.onEnd();
    this.#ended();
  }
}
