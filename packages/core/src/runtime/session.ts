/**
 * Lifetime path: one run of an application, from its devices to the last account. Everything that is taken here is
 * given back in the opposite order, whatever fails on the way.
 */
import { EXIT_CRASH, EXIT_OK, usageError, WeirError } from "../errors.js";
import { type EthDevice, findVdev, type VdevDriver } from "../ethdev/device.js";
import { Port } from "../ethdev/port.js";
import type { QueueImage } from "../ethdev/queue.js";
import { HUGE_PAGE_BYTES } from "../memory/arena.js";
import { audit } from "../mempool/audit.js";
import { type Holder, TICK_MS } from "../mempool/ledger.js";
import { type Faults, PacketMemory } from "../mempool/packet-memory.js";
import type { Pool } from "../mempool/pool.js";
import { errnoName } from "../os/libc.js";
import { type AppSpec, defaultPlan, type Plan, type PortStatus, type Status } from "./app.js";
import type { Lcore } from "./eal-args.js";
import type { Executor, RunningLcore } from "./executor.js";
import { importApp, LCORE_PASSED, LCORE_WORDS_BYTES, type LcoreImage } from "./lcore.js";
import type { OptionValues } from "./options.js";
import { checkRoutes, portInfo, queueCounts, senders } from "./plan.js";
import { heldFromAccount, portStatus } from "./status.js";

/** Time that an lcore has to pass a quiescent point before it is declared stuck. */
const STUCK_MS = 1000;
/** Time for an application to make its turns. */
const LAUNCH_MS = 10_000;
/** The same bound when the user has asked for the end twice. */
const FORCED_STUCK_MS = 50;
/** How often ctl looks whether the end has come. */
const WATCH_MS = 20;
const FAULT_TEXT: Readonly<Record<keyof Faults, string>> = {
  doubleReturns: "they gave back a buffer that was free already",
  foreignReturns: "they gave back a buffer that somebody else holds",
  badHandles: "they named a buffer that is none",
  foreignSends: "they sent a frame that they did not hold",
  foreignClones: "they cloned a frame that they did not hold",
};
const POOL_NAME = "mbuf_pool";
const CACHE_SIZE = 256;
/** As DPDK's l2fwd: never fewer than this. */
const BUFFERS_MIN = 8192;
const BUFFERS_PER_QUEUE = 2048;

export interface SessionOptions {
  /** URL of the application's module. */
  readonly module: string;
  readonly vdevs: readonly string[];
  readonly drivers: readonly VdevDriver[];
  readonly lcores: readonly Lcore[];
  readonly executor: Executor;
  readonly hugepages: boolean;
  /** Packet memory at most, MiB; 0: no limit of its own. */
  readonly memoryMib: number;
  readonly appOptions: OptionValues;
  /** Gets one line for each thing that the user should know. */
  readonly log: (line: string) => void;
}

export interface SessionResult {
  readonly code: number;
  /** The last account, taken when everything had stopped. */
  readonly status: Status;
}

export class Session {
  readonly memory: PacketMemory;
  readonly ports: readonly Port[];
  readonly #options: SessionOptions;
  readonly #spec: AppSpec<unknown>;
  readonly #plan: Plan<unknown>;
  readonly #pool: Pool;
  readonly #lcores: RunningLcore[] = [];
  readonly #crashed = new Set<number>();
  readonly #stuck = new Set<number>();
  #stopRequested = false;
  #force = false;
  #startMs = 0;

  /** Opens devices and memory. @throws WeirError with everything closed again */
  static async open(options: SessionOptions): Promise<Session> {
    const spec = await options.executor.real(importApp(options.module));
    if (options.vdevs.length === 0) {
      const known = options.drivers.map(({ prefix }) => `--vdev ${prefix}0`).join(", ");
      throw usageError(
        `${spec.name} has no port to work on: add at least one device, for example ${known}`,
      );
    }
    // All are named before one is opened: a mistyped second device must not cost anything of the first.
    const found = options.vdevs.map((text) => findVdev(text, options.drivers));
    const names = found.map(({ spec: { name } }) => name);
    const twice = names.find((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined) throw usageError(`--vdev ${twice} is given twice; number them`);
    const devices: EthDevice[] = [];
    try {
      for (const { driver, spec: vdev } of found)
        devices.push(driver.probe(vdev, options.executor.probeEnv));
      return new Session(options, spec, devices);
    } catch (error) {
      const ignored: unknown[] = []; // what fails here is less than what failed already
      for (const device of devices) attempt(ignored, () => device.close());
      throw error;
    }
  }

  private constructor(
    options: SessionOptions,
    spec: AppSpec<unknown>,
    devices: readonly EthDevice[],
  ) {
    this.#options = options;
    this.#spec = spec;
    const infos = devices.map((device, id) => portInfo(id, device));
    const lcoreIds = options.lcores.map(({ id }) => id);
    const env = { ports: infos, lcores: lcoreIds, options: options.appOptions };
    this.#plan = spec.setup?.(env) ?? defaultPlan(env);
    checkRoutes(this.#plan.routes, infos, lcoreIds);

    const used = new Set(this.#plan.routes.map(({ lcore }) => lcore));
    const threads = ["ctl", ...[...used].sort((a, b) => a - b).map((id) => `lcore ${id}`)];
    const bytes = options.memoryMib * 2 ** 20;
    this.memory = new PacketMemory({
      threads,
      hugepages: options.hugepages,
      ...(bytes > 0 ? { bytes: Math.ceil(bytes / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES } : {}),
    });
    const ports: Port[] = [];
    try {
      const buffers =
        this.#plan.buffers ?? Math.max(BUFFERS_MIN, this.#plan.routes.length * BUFFERS_PER_QUEUE);
      this.#pool = this.memory.createPool({ name: POOL_NAME, buffers, cacheSize: CACHE_SIZE });
      for (const [id, device] of devices.entries()) {
        const port = new Port(id, device, this.memory, options.executor);
        ports.push(port);
        port.configure(queueCounts(id, this.#plan.routes), this.#pool);
      }
    } catch (error) {
      // Devices first: their rings lie in this memory. What fails here is less than what failed already.
      const ignored: unknown[] = [];
      for (const port of ports) attempt(ignored, () => port.close());
      attempt(ignored, () => this.memory.close());
      throw error;
    }
    this.ports = ports;
  }

  /** Asks the run to end in good order; asked again, it ends without waiting for anyone. */
  requestStop(): void {
    if (this.#stopRequested) this.#force = true;
    this.#stopRequested = true;
  }

  /** True when an lcore's thread is still in its turn: only the end of the process ends it. */
  get stuck(): boolean {
    return this.#stuck.size > 0;
  }

  /** Runs to the end and closes everything. Never throws: what failed is logged, and decides the exit code. */
  async run(): Promise<SessionResult> {
    const { executor } = this.#options;
    const failures: unknown[] = [];
    this.#startMs = executor.now();
    try {
      for (const port of this.ports) await port.start();
      await this.#launch();
      await this.#watch();
    } catch (error) {
      failures.push(error);
    }
    const status = await this.#shutdown(failures);
    for (const failure of failures) this.#options.log(describe(failure));
    return { code: this.#exitCode(failures), status };
  }

  #exitCode(failures: readonly unknown[]): number {
    if (this.#crashed.size > 0 || this.#stuck.size > 0) return EXIT_CRASH;
    if (failures.length === 0) return EXIT_OK;
    return failures[0] instanceof WeirError ? failures[0].exitCode : EXIT_CRASH;
  }

  /** The figures as they are seen from outside while the lcores run. */
  status(): Status {
    const held: Record<string, number> = {};
    const total = this.memory.buffers;
    let free = total;
    for (const [holder, count] of this.memory.heldByCounters()) {
      if (holder.kind === "free" || holder.kind === "cache" || count === 0) continue;
      held[holder.name] = count;
      free -= count; // not the counters of the free: read a moment apart, they would not add up
    }
    return this.#statusOf({ total, free, held });
  }

  /** Starts the lcores, one after the other; returns early when the run is to stop. */
  async #launch(): Promise<void> {
    const { lcores, executor } = this.#options;
    const used = lcores
      .filter(({ id }) => this.#plan.routes.some((route) => route.lcore === id))
      .sort((a, b) => a.id - b.id);
    for (const [i, { id, cpus }] of used.entries()) {
      const image = this.#lcoreImage({ id, cpus }, i + 1);
      const lcore = executor.launch(image, (error) => this.#onCrash(id, i + 1, error));
      this.#lcores.push(lcore);
      const deadline = executor.now() + LAUNCH_MS;
      while (lcore.state === "starting" && !this.#stopRequested) {
        if (executor.now() >= deadline) {
          throw new WeirError(
            "ETIMEDOUT",
            `lcore ${id} was not ready within ${LAUNCH_MS} ms: the application's lcore() does not return`,
            EXIT_CRASH,
          );
        }
        await executor.sleep(1);
      }
    }
    executor.clearTheWay(this.#lcores);
  }

  #lcoreImage(lcore: Lcore, thread: number): LcoreImage {
    return {
      lcore: lcore.id,
      cpus: lcore.cpus,
      thread,
      holder: this.memory.threadHolders[thread].id,
      memory: this.memory.image,
      pool: this.#pool.id,
      ports: this.ports.map(({ id, device }) => portInfo(id, device)),
      module: this.#options.module,
      shared: this.#plan.shared,
      routes: this.#routesOf(lcore.id),
      words: new SharedArrayBuffer(LCORE_WORDS_BYTES),
    };
  }

  /** The queues that an lcore polls, each with its own send queues of the ports that its frames may go to. */
  #routesOf(lcore: number): { rx: QueueImage; tx: QueueImage[] }[] {
    const { routes } = this.#plan;
    return routes
      .filter((route) => route.lcore === lcore)
      .map(({ port, queue, sendsTo }) => ({
        rx: this.ports[port].rxQueues[queue],
        tx: sendsTo.map((to) => this.ports[to].txQueues[senders(to, routes).indexOf(lcore)]),
      }));
  }

  /** Returns when the run should end. Keeps the ledger's clock and the application's period meanwhile. */
  async #watch(): Promise<void> {
    const { executor } = this.#options;
    const { seconds, done, periodSeconds = 0 } = this.#plan;
    let nextPeriod = this.#startMs + periodSeconds * 1000;
    while (!this.#stopRequested) {
      await executor.sleep(WATCH_MS);
      const now = executor.now();
      this.memory.setTick(Math.floor(now / TICK_MS));
      if (this.#lcores.every(({ state }) => state === "crashed")) return;
      if (this.ports.some((port) => port.brokenQueues().length > 0)) return;
      if (await this.#finished()) return;
      if (seconds !== undefined && seconds > 0 && now - this.#startMs >= seconds * 1000) return;
      if (done?.(this.status())) return;
      if (periodSeconds > 0 && now >= nextPeriod) {
        nextPeriod += periodSeconds * 1000;
        this.#spec.onPeriod?.(this.status());
      }
    }
  }

  /** True when every source is finite and at its end, and each lcore has made a whole turn since. */
  async #finished(): Promise<boolean> {
    if (this.#plan.endsWithSources === false) return false;
    const polled = this.ports.filter(({ rxQueues }) => rxQueues.length > 0);
    const ended = polled.every(
      (port) => port.device.finite && (port.finished || this.#polledByCrashed(port.id)),
    );
    if (!ended) return false;
    // What a device has handed over may still lie in its rings: until whole turns bring nothing more.
    const received = (): number => polled.reduce((sum, port) => sum + port.stats().rx, 0);
    for (let before = -1; before !== received() && !this.#stopRequested; ) {
      before = received();
      await this.#quiesce();
    }
    return true;
  }

  #polledByCrashed(port: number): boolean {
    return this.#plan.routes.some((route) => route.port === port && this.#crashed.has(route.lcore));
  }

  /** Waits until each running lcore has passed a quiescent point twice, or is declared stuck. */
  async #quiesce(): Promise<void> {
    const { executor } = this.#options;
    const deadline = executor.now() + STUCK_MS;
    const passed = (lcore: RunningLcore): number =>
      Atomics.load(new Int32Array(lcore.image.words), LCORE_PASSED);
    const before = this.#lcores.map(passed);
    const behind = (): RunningLcore[] =>
      this.#lcores.filter(
        (lcore, i) => lcore.state === "running" && ((passed(lcore) - before[i]) | 0) < 2,
      );
    while (behind().length > 0 && executor.now() < deadline) await executor.sleep(1);
  }

  async #shutdown(failures: unknown[]): Promise<Status> {
    // The lcores first: each ends with a whole turn, so that nothing is dropped on the way.
    await this.#stopLcores();
    for (const port of this.ports) port.block();
    const figures = this.ports.map(portStatus);
    this.#reportLosses(failures);
    if (this.#stuck.size > 0) {
      // Whatever a stuck lcore can still write stays as it is: queues, rings and buffers are not touched any more.
      return this.#statusOf(heldFromAccount(audit(this.memory)), figures);
    }
    for (const port of this.ports) attempt(failures, () => port.stop());
    for (const [i, holder] of this.memory.threadHolders.entries())
      if (i > 0) this.memory.takeBack(holder);
    const account = audit(this.memory);
    for (const problem of account.problems) this.#options.log(`audit: ${problem}`);
    if (account.problems.length > 0)
      failures.push(new WeirError("ERR_WEIR_BUG", "the audit of packet memory failed", EXIT_CRASH));
    for (const port of this.ports) attempt(failures, () => port.close());
    const ports = figures.map((port, i) => ({ ...port, state: this.ports[i].state }));
    const status = this.#statusOf(heldFromAccount(account), ports);
    attempt(failures, () => this.memory.close());
    return status;
  }

  /** Queues that gave up, and what lcores gave back or sent without holding it. */
  #reportLosses(failures: unknown[]): void {
    for (const { name, errno } of this.ports.flatMap((port) => port.brokenQueues())) {
      const code = errnoName(errno);
      failures.push(
        new WeirError(code, `${name} gave up after an error (${code}): what came later is missing`),
      );
    }
    for (const [fault, count] of Object.entries(this.memory.faults())) {
      if (count > 0)
        this.#options.log(
          `the application's lcores were refused ${count} times: ${FAULT_TEXT[fault as keyof Faults]}`,
        );
    }
  }

  async #stopLcores(): Promise<void> {
    const { executor } = this.#options;
    await Promise.all(
      this.#lcores.map(async (lcore) => {
        const stopped = lcore.stop();
        let waiting = true;
        void stopped.then(() => {
          waiting = false;
        });
        const start = executor.now();
        const patience = lcore.state === "starting" ? LAUNCH_MS : STUCK_MS;
        const bound = (): number => (this.#force ? FORCED_STUCK_MS : patience);
        while (waiting && executor.now() - start < bound()) await executor.sleep(1);
        if (!waiting) return;
        this.#stuck.add(lcore.image.lcore);
        this.#options.log(
          `lcore ${lcore.image.lcore} did not pass a quiescent point within ${bound()} ms: its turn does not return; ` +
            "its buffers and its queues stay quarantined",
        );
      }),
    );
  }

  /** An lcore died: the others go on, what it and its queues held is taken back. */
  #onCrash(lcore: number, thread: number, error: string): void {
    this.#crashed.add(lcore);
    this.#options.log(`lcore ${lcore} crashed: ${error}`);
    const own = this.#holdersOf(lcore, thread);
    let count = 0;
    for (const holder of own.idle) count += this.memory.takeBack(holder);
    this.memory.settleDeadThread(thread, [...own.idle, ...own.lent]);
    this.#options.log(`${count} buffers of lcore ${lcore} were taken back; the other lcores go on`);
  }

  /**
   * Holders that no other thread moves buffers for: the lcore, its caches, its queues. What a device may still reach by
   * DMA is lent: it is taken back when the device has stopped.
   */
  #holdersOf(lcore: number, thread: number): { idle: Holder[]; lent: Holder[] } {
    const idle = [this.memory.threadHolders[thread]];
    const lent: Holder[] = [];
    const { holders, pools } = this.memory;
    for (const { image } of pools) idle.push(holders.get(image.caches[thread].holder) as Holder);
    for (const { rx, tx } of this.#routesOf(lcore)) {
      for (const queue of [rx, ...tx]) {
        if (queue.drainedElsewhere) continue;
        const side = this.ports[queue.port].device.dma === undefined ? idle : lent;
        side.push(holders.get(queue.holder) as Holder);
      }
    }
    return { idle: [...new Set(idle)], lent: [...new Set(lent)] };
  }

  #statusOf(
    buffers: Status["buffers"],
    ports: readonly PortStatus[] = this.ports.map(portStatus),
  ): Status {
    return {
      ports,
      buffers,
      removals: [],
      mappings: this.ports.reduce((sum, { space }) => sum + space.mappings.size, 0),
      elapsedSeconds: Math.round(this.#options.executor.now() - this.#startMs) / 1000,
      faults: this.memory.faults(),
      lcores: this.#lcores.map(({ image, state }) => ({
        lcore: image.lcore,
        state: this.#stuck.has(image.lcore) ? ("stuck" as const) : state,
        turns: Atomics.load(new Int32Array(image.words), LCORE_PASSED) >>> 0,
      })),
    };
  }
}

function attempt(failures: unknown[], step: () => void): void {
  try {
    step();
  } catch (error) {
    failures.push(error);
  }
}

function describe(error: unknown): string {
  if (error instanceof AggregateError)
    return [error.message, ...error.errors.map(describe)].join("; ");
  if (error instanceof WeirError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
