/** A worker that keeps an SPSC ring full while it is told to. */
import { parentPort, workerData } from "node:worker_threads";
import { attachSpscProducer, native, type SpscRingImage } from "@weir/core";

export interface ProducerData {
  readonly image: SpscRingImage;
  /** Word 0: one of the three below. */
  readonly words: Int32Array;
  readonly cpu: number;
}

export const PRODUCE_PAUSE = 0;
export const PRODUCE = 1;
export const PRODUCE_QUIT = 2;

const BURST = 32;

if (parentPort !== null) {
  const { image, words, cpu } = workerData as ProducerData;
  native.pin([cpu]);
  const producer = attachSpscProducer(image, "bench");
  const handles = Uint32Array.from({ length: BURST }, (_, i) => i + 1);
  parentPort.postMessage(native.gettid());
  for (;;) {
    Atomics.wait(words, 0, PRODUCE_PAUSE);
    if (Atomics.load(words, 0) === PRODUCE_QUIT) break;
    while (Atomics.load(words, 0) === PRODUCE) {
      const room = producer.room(BURST);
      for (let i = 0; i < room; i++) producer.push(handles[i]);
      if (room > 0) producer.publish();
    }
  }
}
