/** virtio-net on simulated cards, in the test's thread: frames of every shape through rings of every shape. */
import test, { type ExecutionContext } from "ava";
import { ALWAYS_NARROW, NARROW, SEED, SimRig, WIDE } from "./fixtures/sim-rig.js";

const ROUNDS = 150;
/** As l2fwd's: more in a burst than the shortest rings have entries. */
const BURST_MAX = 32;

interface Variant {
  readonly queueSize: number;
  readonly mrgRxbuf: boolean;
  readonly inOrder: boolean;
  readonly narrow: boolean;
  readonly mtu: number;
}

function variants(): Variant[] {
  const all: Variant[] = [];
  for (const queueSize of [4, 8, 64, 256])
    for (const mrgRxbuf of [true, false])
      for (const inOrder of [true, false])
        for (const narrow of ALWAYS_NARROW ? [true] : [true, false])
          for (const mtu of queueSize < 8 ? [1500] : [1500, 9000])
            all.push({ queueSize, mrgRxbuf, inOrder, narrow, mtu });
  return all;
}

for (const variant of variants()) {
  const { queueSize, mrgRxbuf, inOrder, narrow, mtu } = variant;
  const name = `${queueSize} entries, ${mrgRxbuf ? "mergeable" : "whole buffers"}, ${inOrder ? "in order" : "any order"}, ${narrow ? "table" : "window"}, MTU ${mtu}`;
  test(`every frame comes back whole and in order, and the run replays byte for byte: ${name}`, async (t) => {
    t.log(`seed ${SEED}`);
    const first = await play(t);
    t.is(await play(t), first);
  });

  const play = async (t: ExecutionContext): Promise<string> => {
    const rig = new SimRig(SEED);
    const { random, frames } = rig;
    const card = await rig.open({
      name: "net_sim0",
      backend: { kind: "loop" },
      net: { queueSize, mrgRxbuf, inOrder, mtu },
      ranges: narrow ? NARROW : WIDE,
    });
    t.is(card.port.space.translation.kind, narrow ? "table" : "window");
    t.is(card.device.mtu, mtu);
    const sent: Uint8Array[] = [];
    const received: Uint8Array[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      for (let i = random.below(4); i > 0; i--) {
        const bytes = rig.bytes(14 + random.below(mtu + 1));
        const frame = shaped(rig, bytes);
        if (frame !== 0 && rig.send(card.tx[0], frame)) sent.push(bytes);
      }
      for (let i = random.below(3); i > 0; i--) rig.machine.step();
      received.push(...rig.receive(card.rx[0], 1 + random.below(BURST_MAX)));
    }
    received.push(...rig.settle(card.rx[0]));
    t.true(sent.length > ROUNDS / 2, `${sent.length} frames were sent`);
    t.is(received.length, sent.length);
    t.true(received.every((bytes, i) => Buffer.compare(bytes, sent[i]) === 0));
    t.is(frames.next(0), 0);
    t.like(card.port.stats(), { rxErrors: 0, txErrors: 0, rxNoBuffer: 0 });
    return rig.finish(t, name);
  };
}

/** The bytes as a frame made in one of the ways that applications make them. */
function shaped(rig: SimRig, bytes: Uint8Array): number {
  const { frames, random } = rig;
  const whole = rig.frame(bytes);
  switch (random.below(5)) {
    case 0: {
      const clone = frames.clone(whole);
      frames.free(whole);
      return clone;
    }
    case 1: {
      // No room for a header in front, and not on a word either.
      const position = frames.prepend(whole, 121);
      frames.trimFront(whole, 121);
      if (position < 0) return whole;
      const head = rig.frame(bytes.subarray(0, 3));
      const rest = frames.fragment(whole, 3, bytes.length - 3);
      frames.free(whole);
      if (head === 0 || rest === 0 || !frames.chain(head, rest)) {
        if (head !== 0) frames.free(head);
        if (rest !== 0) frames.free(rest);
        return 0;
      }
      return head;
    }
    default:
      return whole;
  }
}

test("the queues of a small pool run dry and go on", async (t) => {
  const rig = new SimRig(SEED, 200);
  const card = await rig.open({
    name: "net_sim0",
    backend: { kind: "loop" },
    net: { queueSize: 256, mtu: 1500 },
  });
  const hoard: number[] = [];
  for (let frame = rig.frames.alloc(); frame !== 0; frame = rig.frames.alloc()) hoard.push(frame);
  t.deepEqual(rig.receive(card.rx[0]), []);
  t.true(card.port.stats().rxNoBuffer > 0);
  rig.frames.freeBurst(Uint32Array.from(hoard), hoard.length);
  const bytes = rig.bytes(100);
  t.true(rig.send(card.tx[0], rig.frame(bytes)));
  t.deepEqual(rig.settle(card.rx[0]), [bytes]);
  rig.finish(t, "small pool");
});

test("a frame that the sender does not hold, or the device cannot carry, is refused and counted", async (t) => {
  const rig = new SimRig(SEED);
  const card = await rig.open({
    name: "net_sim0",
    backend: { kind: "loop" },
    net: { mtu: 1500 },
  });
  const tagged = rig.bytes(1500 + 18);
  tagged.set([0x81, 0], 12);
  const good = [rig.bytes(1514), tagged];
  for (const bytes of good) t.true(rig.send(card.tx[0], rig.frame(bytes)));
  t.true(rig.send(card.tx[0], rig.frame(rig.bytes(1515))), "it is taken, and freed");
  t.true(rig.send(card.tx[0], rig.frame(rig.bytes(14).subarray(0, 13))));
  t.is(card.port.stats().txErrors, 2);
  t.deepEqual(rig.settle(card.rx[0]), good);
  t.is(card.port.stats().tx, 2);
  rig.finish(t, "refused");
});

test("a stopped port moves nothing, and forgets nothing when it is started again", async (t) => {
  const rig = new SimRig(SEED);
  const card = await rig.open({ name: "net_sim0", backend: { kind: "loop" } });
  for (let round = 0; round < 5; round++) {
    const frames = Array.from({ length: 20 }, () => rig.bytes(60 + rig.random.below(1000)));
    for (const bytes of frames) t.true(rig.send(card.tx[0], rig.frame(bytes)));
    t.deepEqual(rig.settle(card.rx[0]), frames);
    t.true(rig.send(card.tx[0], rig.frame(rig.bytes(64)))); // on its way when the port stops
    card.port.stop();
    t.deepEqual(rig.settle(card.rx[0], 20), []);
    t.false(rig.send(card.tx[0], rig.frame(rig.bytes(64))));
    await card.port.start();
    rig.settle(card.rx[0]); // a loop may have kept what was on its way
  }
  rig.finish(t, "restarted");
});
