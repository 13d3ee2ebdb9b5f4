/** net_sim as a command line names it: its arguments, its driver, what it leaves behind. */
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type EthDevice,
  type PciDriver,
  type PciFunction,
  SteppedExecutor,
  type VdevSpec,
} from "@weir/core";
import { loadCapture, PCAP_RECORD_HEADER_BYTES, writePcapRecordHeader } from "@weir/drivers";
import test, { type ExecutionContext } from "ava";
import { netSim } from "../src/net-sim.js";
import type { SimFunction } from "../src/sim-function.js";
import { simulatedDevice } from "../src/sim-machine.js";
import { ethernet, memory, SEED, TestDriver } from "./fixtures/driver.js";

let probed: PciFunction | undefined;

/** A driver that does nothing but hold the function. */
const holder: PciDriver = {
  name: "holder",
  matches: ({ vendor, device }) => vendor === 0x1af4 && device === 0x1041,
  probe(pci): EthDevice {
    probed = pci;
    return {
      name: pci.name,
      driver: "holder",
      mac: new Uint8Array(6),
      rxQueuesMax: 1,
      txQueuesMax: 1,
      finite: false,
      dma: pci.dma,
      configure: () => undefined,
      rxQueue: () => ({ module: "", params: undefined }),
      txQueue: () => ({ module: "", params: undefined }),
      start: () => undefined,
      stop: () => undefined,
      close: () => pci.close(),
    };
  },
};

function spec(args: string, name = "net_sim0"): VdevSpec {
  const pairs =
    args === "" ? [] : args.split(",").map((each) => each.split("=") as [string, string]);
  return { name, args: new Map(pairs) };
}

/** What is open of ours: files of the test's folder, and taps. */
const fds = (): string[] =>
  readdirSync("/proc/self/fd")
    .map((fd) => target(`/proc/self/fd/${fd}`))
    .filter((path) => /weir-net-sim|\/dev\/net\/tun/.test(path));

function target(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return ""; // the folder's own
  }
}

function probe(
  t: ExecutionContext,
  args: string,
): { device: EthDevice; executor: SteppedExecutor } {
  const executor = new SteppedExecutor(SEED);
  const device = netSim([holder]).probe(spec(args), executor.probeEnv);
  t.teardown(() => device.close());
  return { device, executor };
}

test.serial(
  "arguments that cannot be used are refused with what is allowed, and nothing is left behind",
  (t) => {
    for (const [args, message] of [
      ["model=e1000", /no model=e1000; known are virtio-net/],
      ["queue_size=100", /power of two/],
      ["queues=0", /from 1 to 64/],
      ["aperture=5", /LOW-HIGH in hexadecimal/],
      ["aperture=300000-200000", /LOW-HIGH in hexadecimal/],
      ["mac=01:00:00:00:00:00", /not the address of one interface/],
      ["mrg_rxbuf=2", /from 0 to 1/],
      ["wire=a,loop=1", /one thing is behind a card/],
      ["infinite_rx=1,tx_pcap=/dev/null", /needs an rx_pcap/],
      ["rx_pcap=/nonexistent", /nonexistent/],
      ["tap=a/b", /tap=a\/b is not a name/],
      ["faults=late", /NAME:N/],
    ] as const)
      t.throws(() => probe(t, args), { message }, args);
    t.throws(() => netSim([]).probe(spec(""), new SteppedExecutor(1).probeEnv), {
      message: /no driver for model=virtio-net/,
    });
    t.is(simulatedDevice("net_sim0"), undefined);
    t.deepEqual(fds(), []);
  },
);

test.serial("the arguments reach the card", (t) => {
  const { device } = probe(
    t,
    "model=virtio-net,queues=4,queue_size=64,mrg_rxbuf=0,in_order=1,event_idx=0,indirect=0,csum=0,mtu=9000,mac=02:00:00:00:00:09,aperture=0x200000-3fffffff,seed=5",
  );
  const fn = simulatedDevice("net_sim0") as SimFunction;
  t.true(Object.is(fn, probed));
  t.deepEqual(device.dma?.ranges, [{ first: 0x200000n, last: 0x3fffffffn }]);
  t.is(fn.vectors, 10);
  const driver = new TestDriver(fn, memory(t), () => undefined, 0x200000n);
  const bits = (...features: number[]): bigint =>
    features.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);
  // VERSION_1, ACCESS_PLATFORM, IN_ORDER, RING_RESET; MTU, MAC, STATUS, CTRL_VQ, _RX, _VLAN, ANNOUNCE, MQ, CTRL_MAC_ADDR
  t.is(driver.offered, bits(32, 33, 35, 40, 3, 5, 16, 17, 18, 19, 21, 22, 23));
  t.is(driver.read(4, 10, 2), 9000);
  t.is(driver.read(4, 5, 1), 9);
  driver.negotiate();
  driver.write(1, 22, 2, 8);
  t.is(driver.read(1, 24, 2), 64);
});

test.serial(
  "the frames of a capture arrive, what is sent is written, and the port ends after the last one",
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "weir-net-sim-"));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const frames = [60, 1514, 9000].map((length, i) => ethernet(length, i));
    const bytes = new Uint8Array(
      24 + frames.reduce((sum, { length }) => sum + length + PCAP_RECORD_HEADER_BYTES, 0),
    );
    new Uint32Array(bytes.buffer, 0, 6).set([0xa1b23c4d, 0x40002, 0, 0, 262144, 1]);
    let at = 24;
    for (const frame of frames) {
      at = writePcapRecordHeader(bytes, at, 1, 0, frame.length, frame.length);
      bytes.set(frame, at);
      at += frame.length;
    }
    writeFileSync(join(folder, "in.pcap"), bytes);
    const { device, executor } = probe(t, `rx_pcap=${folder}/in.pcap,tx_pcap=${folder}/out.pcap`);
    const fn = simulatedDevice("net_sim0") as SimFunction;
    const driver = new TestDriver(fn, memory(t), () => undefined).start();
    t.true(device.finite);
    t.false(device.exhausted?.());
    const buffers = driver.postReceive(16, 2048);
    driver.send(ethernet(777));
    await executor.run(executor.sleep(1));
    t.true(device.exhausted?.());
    const entries = driver.queue(0).takeUsed();
    t.deepEqual(
      entries.map(({ length }) => length),
      [72, 1526, 2048, 2048, 2048, 2048, 820],
    );
    const first = (buffers[0] as number) + 12;
    t.deepEqual(driver.memory.view.u8.slice(first, first + 60), frames[0]);
    device.close();
    device.close();
    t.deepEqual(fds(), []);
    t.true(device.exhausted?.());
    t.is(loadCapture(`${folder}/out.pcap`).lengths[0], 777);
  },
);
