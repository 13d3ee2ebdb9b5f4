/** virtio-net against cards that break the rules: it costs frames, which are counted, and nothing else. */
import type { FaultName } from "@weir/sim";
import test, { type ExecutionContext } from "ava";
import { SEED, SimRig } from "./fixtures/sim-rig.js";

const ROUNDS = 400;
/** Per mille. */
const RATE = 60;

interface Case {
  readonly faults: readonly FaultName[];
  /** False: what arrives may be something else than what was sent. */
  readonly whole: boolean;
  /** False: completions may come in another order than they were offered. */
  readonly ordered: boolean;
}

const CASES: readonly Case[] = [
  { faults: ["late"], whole: true, ordered: false },
  { faults: ["lost"], whole: true, ordered: true },
  { faults: ["late", "reorder"], whole: true, ordered: false },
  { faults: ["hostile-id"], whole: false, ordered: false },
  { faults: ["hostile-len"], whole: false, ordered: true },
  { faults: ["num-buffers"], whole: false, ordered: true },
  { faults: ["idx-jump"], whole: false, ordered: false },
  { faults: ["flap"], whole: true, ordered: true },
  {
    faults: ["late", "lost", "reorder", "hostile-id", "hostile-len", "num-buffers", "idx-jump"],
    whole: false,
    ordered: false,
  },
];

for (const { faults, whole, ordered } of CASES) {
  for (const mrgRxbuf of [true, false]) {
    for (const inOrder of [true, false]) {
      const name = `${faults.join(" and ")}, ${mrgRxbuf ? "mergeable" : "whole buffers"}, ${inOrder ? "in order" : "any order"}`;
      test(`costs frames at most, and replays byte for byte: ${name}`, async (t) => {
        t.log(`seed ${SEED}`);
        for (let seed = SEED; seed < SEED + 4; seed++) {
          const first = await play(t, seed);
          t.is(await play(t, seed), first, `seed ${seed}`);
        }
      });

      const play = async (t: ExecutionContext, seed: number): Promise<string> => {
        const rig = new SimRig(seed, 1000);
        const opened = rig.open({
          name: "net_sim0",
          seed,
          backend: { kind: "loop" },
          net: { queueSize: 64, mrgRxbuf, inOrder, mtu: 9000 },
          faults: { rates: Object.fromEntries(faults.map((fault) => [fault, RATE])) },
        });
        const card = await opened.catch((error: unknown) => {
          // The answer to a command can be lost too.
          t.like(error, { code: "ETIMEDOUT" }, `seed ${seed}`);
          t.true(faults.includes("lost"), `seed ${seed}`);
        });
        if (card === undefined) {
          return rig.finish(t, `seed ${seed}`);
        }
        const sent = new Map<string, number>();
        const order: string[] = [];
        const received: string[] = [];
        const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
        for (let round = 0; round < ROUNDS; round++) {
          const bytes = rig.bytes(64 + rig.random.below(rig.random.chance(20) ? 8000 : 1000));
          if (rig.send(card.tx[0], rig.frame(bytes))) {
            sent.set(text(bytes), (sent.get(text(bytes)) ?? 0) + 1);
            order.push(text(bytes));
          }
          rig.machine.step(1 + rig.random.below(2));
          for (const each of rig.receive(card.rx[0])) received.push(text(each));
        }
        for (const each of rig.settle(card.rx[0])) received.push(text(each));
        const note = `seed ${seed}`;
        if (whole) {
          t.true(
            received.every((each) => sent.has(each)),
            note,
          );
          t.is(new Set(received).size, received.length, `${note}: a frame came twice`);
        }
        if (whole && (ordered || (inOrder && !faults.includes("reorder")))) {
          const places = received.map((each) => order.indexOf(each));
          t.true(
            places.every((place, i) => i === 0 || place > (places[i - 1] ?? -1)),
            note,
          );
        }
        if (faults.length < 3) t.true(received.length > 0, note);
        return rig.finish(t, note, faults.includes("hostile-id") || faults.includes("idx-jump"));
      };
    }
  }
}
