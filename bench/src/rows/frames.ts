/** What an application does with a frame, and where frames lie. */
import { type Frames, macWords, SLOT_STRIDE, specialise } from "@weir/core";
import type { Row } from "../row.js";
import { openStage } from "../stage.js";

const BURST = 32;
const BURSTS = 2000;
const UNITS = BURST * BURSTS;
/** Buffers in turn for the stride rows: two rings of 256. */
const BUFFERS = 512;
const ROUNDS = 100;

export const frameRows: readonly Row[] = [
  macRow("frames.swapMacs", (frames, handles) => {
    for (let i = 0; i < BURST; i++) frames.swapMacs(handles[i]);
  }),
  macRow("frames.writeMacs", (frames, handles) => {
    for (let i = 0; i < BURST; i++) frames.writeMacs(handles[i], w0, w1, w2);
  }),
  strideRow(2048),
  strideRow(4096),
];

const { w0, w1, w2 } = macWords(Uint8Array.of(2, 0, 0, 0, 0, 0), Uint8Array.of(2, 0, 0, 0, 0, 1));

function macRow(
  name: "frames.swapMacs" | "frames.writeMacs",
  rewrite: (frames: Frames, handles: Uint32Array) => void,
): Row {
  return {
    name,
    unit: "packet",
    reference: "C, same stride",
    async prepare({ addon, time }) {
      const { frames, close } = await openStage();
      const handles = new Uint32Array(BURST);
      frames.allocBurst(handles, BURST);
      const inC = name === "frames.swapMacs" ? addon.swapMacs : addon.writeMacs;
      return {
        weir: time(() => {
          for (let t = 0; t < BURSTS; t++) rewrite(frames, handles);
        }),
        reference: time(() => inC(BURSTS)),
        units: UNITS,
        close,
      };
    },
  };
}

/** Rule 11 of the hot path: the header line of each of 512 buffers is swapped in turn. */
function strideRow(stride: number): Row {
  return {
    name: `stride.${SLOT_STRIDE}-${stride}`,
    unit: "packet",
    reference: `weir with a stride of ${stride}`,
    async prepare({ time }) {
      const u32 = new Uint32Array(BUFFERS * 4096);
      const touch = (bytes: number): (() => void) => {
        const run = specialise(touchAll, { u32, STRIDE: bytes / 4, BUFFERS }, `stride.${bytes}`);
        return () => {
          for (let t = 0; t < ROUNDS; t++) run();
        };
      };
      return {
        weir: time(touch(SLOT_STRIDE)),
        reference: time(touch(stride)),
        units: BUFFERS * ROUNDS,
        close: () => [],
      };
    },
  };
}

/** Template. */
function touchAll(k: { u32: Uint32Array; STRIDE: number; BUFFERS: number }): () => void {
  const { u32, STRIDE, BUFFERS } = k;
  return () => {
    for (let i = 0; i < BUFFERS; i++) {
      const at = i * STRIDE + 32;
      const w0 = u32[at];
      u32[at] = u32[at + 2];
      u32[at + 2] = w0;
    }
  };
}
