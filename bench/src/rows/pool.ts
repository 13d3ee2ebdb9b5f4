/** Buffers: the pool's cache, and the ledger. */
import { specialise } from "@weir/core";
import type { Prepared, Row, RowEnv } from "../row.js";
import { openStage } from "../stage.js";

const BURST = 32;
const BURSTS = 2000;
const UNITS = BURST * BURSTS;

export const poolRows: readonly Row[] = [
  {
    name: "pool.get-put.32",
    unit: "buffer",
    reference: "C, same cache, checks and ledger",
    async prepare({ addon, time }) {
      const { cache, lcore, close } = await openStage();
      const handles = new Uint32Array(BURST);
      const { holder } = lcore;
      return {
        weir: time(() => {
          for (let i = 0; i < BURSTS; i++) {
            const got = cache.get(handles, 0, BURST, holder);
            cache.put(handles, 0, got, holder);
          }
        }),
        reference: time(() => addon.pool(BURSTS)),
        units: UNITS,
        close,
      };
    },
  },
  {
    name: "ledger.move.32",
    unit: "buffer",
    reference: "C, same check and store",
    prepare: (env) => prepareMove(env, "inline"),
  },
  {
    name: "ledger.move-frame",
    unit: "buffer",
    reference: "C, the plain frame's move",
    prepare: (env) => prepareMove(env, "moveFrame"),
  },
];

async function prepareMove(
  { addon, time }: RowEnv,
  how: "inline" | "moveFrame",
): Promise<Prepared> {
  const { cache, lcore, somebody, close } = await openStage();
  const { clock, row, table, holder: me } = lcore;
  const handles = new Uint32Array(BURST);
  cache.get(handles, 0, BURST, me);
  const { ledger, kind } = table;
  const move = specialise(moveTemplate, { ledger, kind, clock, row }, "bench.move");
  const moveFrames = (from: number, to: number): void => {
    for (let i = 0; i < BURST; i++) lcore.moveFrame(handles[i], from, to);
  };
  const work =
    how === "inline"
      ? () => {
          for (let i = 0; i < BURSTS; i += 2) {
            move(handles, BURST, me, somebody);
            move(handles, BURST, somebody, me);
          }
        }
      : () => {
          for (let i = 0; i < BURSTS; i += 2) {
            moveFrames(me, somebody);
            moveFrames(somebody, me);
          }
        };
  return {
    weir: time(work),
    reference: time(() => addon.ledger(BURSTS)),
    units: UNITS,
    close,
  };
}

/** Template: the move that drivers write into their bursts (net_ring's send side). */
function moveTemplate(k: {
  ledger: Int32Array;
  kind: Uint16Array;
  clock: Int32Array;
  row: Int32Array;
}): (handles: Uint32Array, n: number, from: number, to: number) => void {
  const { ledger, kind, clock, row } = k;
  const SHIFT = 20;
  const MASK = -1 << SHIFT;
  const CHAINED = 1;
  return (handles, n, from, to) => {
    const word = (to << SHIFT) | clock[0];
    const mine = from << SHIFT;
    let moved = 0;
    for (let i = 0; i < n; i++) {
      const handle = handles[i];
      if ((kind[handle] & CHAINED) === 0 && (ledger[handle] & MASK) === mine) {
        ledger[handle] = word;
        moved++;
      }
    }
    row[from] = row[from] - moved;
    row[to] = row[to] + moved;
  };
}
