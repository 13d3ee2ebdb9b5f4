/** Checksums that are left to the hardware: completed by whoever comes last, and never sent wrong. */
import { FLAG_CSUM_VALID, FLAG_NEEDS_CSUM } from "@weir/core";
import test, { type ExecutionContext } from "ava";
import { type Card, SEED, SimRig } from "./fixtures/sim-rig.js";

/** `kind` of a frame whose `flags` are not 0 (core's buffer table). */
const SHAPE_FLAGGED = 8;
const UDP_AT = 34;
const UDP_CHECKSUM = 6;

/** A UDP datagram whose checksum field holds the sum of its pseudo header alone. */
function partial(rig: SimRig, payload: number): Uint8Array {
  const bytes = rig.bytes(UDP_AT + 8 + payload);
  const view = new DataView(bytes.buffer);
  view.setUint16(12, 0x0800);
  view.setUint8(14, 0x45);
  view.setUint8(23, 17);
  view.setUint16(UDP_AT + 4, 8 + payload);
  view.setUint16(UDP_AT + UDP_CHECKSUM, fold(sum(bytes, 26, 34) + 17 + 8 + payload));
  return bytes;
}

/** The ones' complement sum of big-endian 16-bit words, as RFC 1071 writes it down. */
function sum(bytes: Uint8Array, from: number, to: number): number {
  let total = 0;
  for (let i = from; i < to; i += 2) total += (bytes[i] << 8) + (i + 1 < to ? bytes[i + 1] : 0);
  return total;
}

function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return folded;
}

/** What a receiver of the datagram computes: 0xffff when it is right. */
function received(bytes: Uint8Array): number {
  const length = bytes.length - UDP_AT;
  return fold(sum(bytes, 26, 34) + 17 + length + sum(bytes, UDP_AT, bytes.length));
}

function request(rig: SimRig, frame: number): number {
  const { kind, flags, csumStart, csumOffset } = rig.memory.table;
  kind[frame] |= SHAPE_FLAGGED;
  flags[frame] = FLAG_NEEDS_CSUM;
  csumStart[frame] = UDP_AT;
  csumOffset[frame] = UDP_CHECKSUM;
  return frame;
}

/** Two cards on a wire. */
async function wire(rig: SimRig, csum: boolean): Promise<[Card, Card]> {
  const card = (name: string): Promise<Card> =>
    rig.open({ name, backend: { kind: "wire", name: "w" }, net: { csum, mtu: 9000 } });
  return [await card("net_sim0"), await card("net_sim1")];
}

/** Receives one frame without giving it back. */
function take(t: ExecutionContext, rig: SimRig, card: Card): number {
  const burst = new Uint32Array(1);
  for (let i = 0; i < 100; i++) {
    rig.machine.step();
    if (card.rx[0].burst(burst, 1) === 1) return burst[0];
  }
  t.fail("nothing came");
  return 0;
}

function bytesOf(rig: SimRig, frame: number): Uint8Array {
  const bytes = new Uint8Array(rig.frames.length(frame));
  rig.frames.toBytes(frame, bytes, 0);
  return bytes;
}

test("a partial checksum crosses two cards that know about it, and is completed behind one that does not", async (t) => {
  const rig = new SimRig(SEED);
  const [a, b] = await wire(rig, true);
  const c = await rig.open({
    name: "net_sim2",
    backend: { kind: "loop" },
    net: { csum: false, mtu: 9000 },
  });
  for (const payload of [1, 18, 777, 3000, 8001]) {
    const bytes = partial(rig, payload);
    t.true(rig.send(a.tx[0], request(rig, rig.frame(bytes))));
    const frame = take(t, rig, b);
    const { flags, csumStart } = rig.memory.table;
    t.is(flags[frame], FLAG_NEEDS_CSUM);
    t.is(csumStart[frame], UDP_AT);
    t.deepEqual(bytesOf(rig, frame), bytes);
    t.true(rig.send(c.tx[0], frame));
    const [whole] = rig.settle(c.rx[0], 30);
    t.is(received(whole), 0xffff, `${payload} bytes`);
  }
  rig.finish(t, "partial");
});

test("a partial checksum is completed before the frame is cloned, cut or chained, and stays where it is when its front moves", async (t) => {
  const rig = new SimRig(SEED);
  const { frames } = rig;
  const [a, b] = await wire(rig, true);
  const { flags, csumStart } = rig.memory.table;

  const cloned = request(rig, rig.frame(partial(rig, 101)));
  const clone = frames.clone(cloned);
  t.is(received(bytesOf(rig, clone)), 0xffff);
  t.is(flags[cloned], 0);
  frames.free(cloned);
  frames.free(clone);

  const grown = request(rig, rig.frame(partial(rig, 50)));
  t.true(frames.prepend(grown, 8) >= 0);
  t.is(csumStart[grown], UDP_AT + 8);
  t.true(frames.trimFront(grown, 8));
  t.is(csumStart[grown], UDP_AT);
  t.true(rig.send(a.tx[0], grown));
  const got = take(t, rig, b);
  t.is(flags[got], FLAG_NEEDS_CSUM);
  frames.free(got);
  t.is(flags[got], 0, "a free buffer has none");

  const chained = request(rig, rig.frame(partial(rig, 60)));
  const tail = rig.frame(rig.bytes(20));
  t.true(frames.chain(chained, tail));
  t.is(flags[chained], 0);
  frames.free(chained);

  const cut = request(rig, rig.frame(partial(rig, 60)));
  t.true(frames.trimFront(cut, UDP_AT + 2));
  t.is(flags[cut], 0);
  frames.free(cut);
  rig.finish(t, "reshaped");
});

test("a frame that the card found right says so until it is given back", async (t) => {
  const rig = new SimRig(SEED);
  const [a, b] = await wire(rig, true);
  t.true(rig.send(a.tx[0], rig.frame(rig.bytes(100))));
  const frame = take(t, rig, b);
  t.true([0, FLAG_CSUM_VALID].includes(rig.memory.table.flags[frame]));
  t.true(rig.send(b.tx[0], frame));
  t.is(rig.settle(a.rx[0], 30).length, 1);
  rig.finish(t, "valid");
});
