/**
 * The application API. An application says what its lcores do with frames; everything around it (arguments, ports,
 * threads, signals, statistics, the account at the end) is the framework's.
 */

import type { PortState } from "../ethdev/port.js";
import type { RxQueue, TxQueue } from "../ethdev/queue.js";
import type { Frames } from "../mempool/frames.js";
import type { Faults } from "../mempool/packet-memory.js";
import type { OptionTable, OptionValues } from "./options.js";

/** One pass over an lcore's work for one receive queue. Data path: no allocation, no promise. */
export type Turn = () => void;

/** A port as an application sees it. */
export interface PortInfo {
  readonly id: number;
  readonly name: string;
  readonly driver: string;
  readonly mac: Uint8Array;
  /** Its receive side ends by itself. */
  readonly finite: boolean;
}

/** A receive queue, the lcore that polls it, and the ports that its frames may go to. */
export interface Route {
  readonly port: number;
  readonly queue: number;
  readonly lcore: number;
  readonly sendsTo: readonly number[];
}

/** What `setup` decides. */
export interface Plan<Shared> {
  readonly routes: readonly Route[];
  /** Handed to each lcore as `shared`; it must survive `postMessage`. */
  readonly shared: Shared;
  /** Ends by itself after this many seconds. */
  readonly seconds?: number;
  /** Ends by itself when this holds; asked with every status. */
  readonly done?: (status: Status) => boolean;
  /** False: it goes on when every port's receive side is at its end, because it makes frames of its own. Default: it ends then. */
  readonly endsWithSources?: boolean;
  /** Seconds between two calls of `onPeriod`; 0: never. */
  readonly periodSeconds?: number;
  /** Buffers in the pool; the default suits the ports. */
  readonly buffers?: number;
}

export interface SetupEnv {
  readonly ports: readonly PortInfo[];
  /** Ids of the lcores, ascending. */
  readonly lcores: readonly number[];
  readonly options: OptionValues;
}

/** What an lcore gets for each receive queue that it polls. */
export interface LcoreEnv<Shared = unknown> {
  readonly lcore: number;
  /** The port of `rx`. */
  readonly port: PortInfo;
  readonly ports: readonly PortInfo[];
  readonly rx: RxQueue;
  /** This lcore's send queue of the same port; throws when the route does not send there. */
  readonly tx: TxQueue;
  /** This lcore's send queue of another port of the route. */
  readonly txTo: (port: number) => TxQueue;
  readonly frames: Frames;
  /** Milliseconds since some moment; virtual under the stepped scheduler. Costs some 30 ns: once per turn, not per frame. */
  readonly now: () => number;
  readonly shared: Shared;
}

export interface PortStatus {
  readonly port: number;
  readonly name: string;
  readonly driver: string;
  /** Its figures say nothing of any card. */
  readonly simulated: boolean;
  readonly state: PortState;
  readonly rx: number;
  readonly tx: number;
  readonly dropped: number;
  readonly rxBytes: number;
  readonly txBytes: number;
  /** Frames lost on receive for want of a buffer. */
  readonly rxNoBuffer: number;
  readonly errors: number;
}

export interface Status {
  readonly ports: readonly PortStatus[];
  /** `free + held == total` at the end; while it runs, the counters as they are seen from outside. */
  readonly buffers: {
    readonly total: number;
    readonly free: number;
    readonly held: Readonly<Record<string, number>>;
  };
  readonly removals: readonly unknown[];
  /** What lcores gave back, named or sent without holding it: refused, and counted. */
  readonly faults: Faults;
  /** Chunks mapped for devices. */
  readonly mappings: number;
  readonly elapsedSeconds: number;
  readonly lcores: readonly {
    readonly lcore: number;
    readonly state: LcoreState;
    readonly turns: number;
  }[];
}

export type LcoreState = "starting" | "running" | "stopped" | "crashed" | "stuck";

export interface AppSpec<Shared = unknown> {
  readonly name: string;
  /** One line for `--help`. */
  readonly summary?: string;
  readonly options?: OptionTable;
  /** On ctl, once: reads the options and decides who polls what. Default: each port's frames go back out of it. */
  setup?(env: SetupEnv): Plan<Shared>;
  /** On the lcore, once per receive queue: returns what runs for ever. */
  lcore(env: LcoreEnv<Shared>): Turn;
  /** On ctl, now and then. */
  onPeriod?(status: Status): void;
  /** On ctl, once, when everything is closed and accounted for. */
  onEnd?(status: Status): void;
}

/** Declares an application; a module exports it as its default. */
export function app<Shared = undefined>(spec: AppSpec<Shared>): AppSpec<Shared> {
  return spec;
}

/** The plan of an application without `setup`: one queue per port, spread over the lcores, sent back where it came from. */
export function defaultPlan(env: SetupEnv): Plan<undefined> {
  const { ports, lcores } = env;
  const routes = ports.map(({ id }, i) => ({
    port: id,
    queue: 0,
    lcore: lcores[i % lcores.length],
    sendsTo: [id],
  }));
  return { routes, shared: undefined };
}
