/** Rings of handles, in one thread and between two. */
import { Worker } from "node:worker_threads";
import {
  attachMpmcRing,
  attachSpscConsumer,
  attachSpscProducer,
  createMpmcRing,
  createSpscRing,
  native,
  type SpscConsumer,
} from "@weir/core";
import { cyclesToNs, type Sample } from "../measure.js";
import type { Prepared, Row, RowEnv } from "../row.js";
import { PRODUCE, PRODUCE_PAUSE, PRODUCE_QUIT, type ProducerData } from "../spsc-producer.js";

const CAPACITY = 1024;
const BURST = 32;
const ENTRIES = 64_000;
/** Between two threads: entries of one sample, and those before it that are not measured. */
const ENTRIES_ACROSS = 200_000;
const ENTRIES_FIRST = 8192;

export const ringRows: readonly Row[] = [
  ...[1, 8, 32].map(mpmcRow),
  {
    name: "ring.spsc.32",
    unit: "entry",
    reference: "C, same ring",
    async prepare({ addon, time }) {
      const image = createSpscRing(CAPACITY);
      const producer = attachSpscProducer(image, "bench");
      const consumer = attachSpscConsumer(image, "bench");
      const handles = new Uint32Array(BURST);
      const bursts = ENTRIES / BURST;
      return {
        weir: time(() => {
          for (let t = 0; t < bursts; t++) {
            const room = producer.room(BURST);
            for (let i = 0; i < room; i++) producer.push(handles[i]);
            producer.publish();
            takeBurst(consumer, handles);
          }
        }),
        reference: time(() => addon.spsc(bursts)),
        units: ENTRIES,
        close: () => [],
      };
    },
  },
  {
    name: "ring.spsc.32.two-threads",
    unit: "entry",
    reference: "C, same ring, two threads",
    prepare: prepareAcross,
  },
];

function mpmcRow(bulk: number): Row {
  const times = bulk === 1 ? 10_000 : ENTRIES / bulk;
  return {
    name: `ring.mpmc.${bulk}`,
    unit: "entry",
    reference: "C, same ring",
    async prepare({ addon, time }) {
      const ring = attachMpmcRing(createMpmcRing(CAPACITY), "bench");
      const handles = new Uint32Array(BURST);
      return {
        weir: time(() => {
          for (let t = 0; t < times; t++) {
            ring.enqueue(handles, 0, bulk);
            ring.dequeue(handles, 0, bulk);
          }
        }),
        reference: time(() => addon.mpmc(times, bulk)),
        units: times * bulk,
        close: () => [],
      };
    },
  };
}

function takeBurst(consumer: SpscConsumer, handles: Uint32Array): number {
  const ready = consumer.ready(BURST);
  for (let i = 0; i < ready; i++) handles[i] = consumer.pop();
  if (ready > 0) consumer.release();
  return ready;
}

async function prepareAcross({ addon, otherCpu, tscHz }: RowEnv): Promise<Prepared> {
  if (otherCpu === undefined) throw new Error("it needs two CPUs");
  const image = createSpscRing(CAPACITY);
  const words = new Int32Array(new SharedArrayBuffer(4));
  const data: ProducerData = { image, words, cpu: otherCpu };
  const worker = new Worker(new URL("../spsc-producer.js", import.meta.url), { workerData: data });
  const tid = await new Promise<number>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  const consumer = attachSpscConsumer(image, "bench");
  const handles = new Uint32Array(BURST);
  const drain = (entries: number): void => {
    for (let got = 0; got < entries; ) got += takeBurst(consumer, handles);
  };
  const tell = (what: number): void => {
    Atomics.store(words, 0, what);
    Atomics.notify(words, 0);
  };
  return {
    weir(): Sample {
      tell(PRODUCE);
      drain(ENTRIES_FIRST);
      const own = addon.cpuNs(0);
      const peer = addon.cpuNs(tid);
      const start = native.tsc();
      drain(ENTRIES_ACROSS);
      const cycles = native.tsc() - start;
      const ns = Math.min(addon.cpuNs(tid) - peer, addon.cpuNs(0) - own);
      tell(PRODUCE_PAUSE);
      return { cycles, onCpu: ns / cyclesToNs(cycles, tscHz) };
    },
    reference(): Sample {
      const [cycles, ns] = addon.acrossThreads(ENTRIES_ACROSS, otherCpu);
      return { cycles, onCpu: ns / cyclesToNs(cycles, tscHz) };
    },
    units: ENTRIES_ACROSS,
    async close() {
      tell(PRODUCE_QUIT);
      await worker.terminate();
      return [];
    },
  };
}
