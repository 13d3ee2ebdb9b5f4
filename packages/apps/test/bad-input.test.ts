/** Bad input gets one clear sentence on stderr, the right exit code, and leaves nothing open. */
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { eventually, ownPrefix, ROOT, startWeir, weir } from "./fixtures/weir.js";

const CAPTURE = join(ROOT, "packages/apps/captures/mixed-a.pcap");
const folder = mkdtempSync(join(tmpdir(), "weir-bad-"));
test.after.always(() => rmSync(folder, { recursive: true }));

const TRUNCATED = join(folder, "truncated.pcap");
copyFileSync(CAPTURE, TRUNCATED);
truncateSync(TRUNCATED, 1000);
const TEXT = join(folder, "text.pcap");
writeFileSync(TEXT, "this is no capture at all\n");
const COOKED = join(folder, "cooked.pcap");
const cooked = Buffer.from(readFileSync(CAPTURE).subarray(0, 24));
cooked.writeUInt32LE(113, 20); // LINKTYPE_LINUX_SLL
writeFileSync(COOKED, cooked);

const L2FWD = ["l2fwd", "--no-huge", "--in-memory"];
const NULL = ["--vdev", "net_null0"];

const cases: readonly (readonly [
  name: string,
  args: readonly string[],
  code: number,
  sentence: RegExp,
])[] = [
  ["an unknown command", ["l3fwd"], 2, /"l3fwd".*l2fwd/],
  [
    "an unknown EAL option",
    [...L2FWD, "--hugepages", ...NULL, "--"],
    2,
    /--hugepages is not an EAL option; known are .*--no-huge/,
  ],
  [
    "an unknown application option",
    [...L2FWD, ...NULL, "--", "--fast"],
    2,
    /--fast is not an application option; known are -p/,
  ],
  ["an unknown option without --", [...L2FWD, ...NULL, "--fast"], 2, /--fast is not an option/],
  ["no device", L2FWD, 2, /no port.*--vdev net_null0/],
  [
    "an unknown device",
    [...L2FWD, "--vdev", "net_foo0"],
    2,
    /net_foo0: there is no such device; known are net_nullN/,
  ],
  [
    "an unknown device argument",
    [...L2FWD, "--vdev", "net_null0,speed=9"],
    2,
    /"speed=9" is not an argument of net_null; it takes size=/,
  ],
  ["a device given twice", [...L2FWD, ...NULL, ...NULL], 2, /net_null0 is given twice/],
  [
    "a value that is no number",
    [...L2FWD, "--vdev", "net_null0,size=big"],
    2,
    /size=big is not a whole number from 1 to 2048/,
  ],
  [
    "a mask that names no port",
    [...L2FWD, ...NULL, "--", "-p", "0x4"],
    2,
    /-p 0x4 names port 2, and there is only port 0/,
  ],
  ["an empty mask", [...L2FWD, ...NULL, "--", "-p", "0"], 2, /-p 0 has no bit set/],
  [
    "a mask that is none",
    [...L2FWD, ...NULL, "--", "-p", "xyz"],
    2,
    /-p xyz is not a hexadecimal mask/,
  ],
  [
    "a portmap with a missing port",
    [...L2FWD, ...NULL, "--", "--portmap", "(0,1)"],
    2,
    /names port 1, which is not enabled/,
  ],
  [
    "a portmap that is none",
    [...L2FWD, ...NULL, "--", "--portmap", "0-1"],
    2,
    /not a list of pairs/,
  ],
  [
    "a duration of nothing",
    [...L2FWD, ...NULL, "--", "--duration", "0"],
    2,
    /--duration 0 is not a number of seconds above 0/,
  ],
  [
    "more lcores needed than given",
    [...L2FWD, "--lcores", "1@0", ...NULL, "--vdev", "net_null1", "--", "-q", "1"],
    2,
    /2 ports need 2 lcores and there are 1/,
  ],
  [
    "a CPU that is not there",
    [...L2FWD, "-l", "127", ...NULL],
    2,
    /asks for CPU 127, which this process may not use/,
  ],
  [
    "two ways to say which lcores",
    [...L2FWD, "-l", "0", "-c", "1", ...NULL],
    2,
    /only one of -l, --lcores and -c/,
  ],
  [
    "a secondary process",
    [...L2FWD, "--proc-type=secondary", ...NULL],
    2,
    /every weir process is a primary/,
  ],
  [
    "-a together with -b",
    [...L2FWD, "-a", "0000:00:01.0", "-b", "0000:00:02.0", ...NULL],
    2,
    /-a and -b cannot be given together/,
  ],
  ["a positional argument", [...L2FWD, ...NULL, "port0"], 2, /"port0" is not an option/],
  [
    "a capture that does not exist",
    [...L2FWD, "--vdev", `net_pcap0,rx_pcap=${join(folder, "none.pcap")}`],
    3,
    /none\.pcap/,
  ],
  ["a truncated capture", [...L2FWD, "--vdev", `net_pcap0,rx_pcap=${TRUNCATED}`], 3, /truncated/],
  [
    "a file that is no capture",
    [...L2FWD, "--vdev", `net_pcap0,rx_pcap=${TEXT}`],
    3,
    /is not a pcap or pcapng file/,
  ],
  [
    "a capture of another link type",
    [...L2FWD, "--vdev", `net_pcap0,rx_pcap=${COOKED}`],
    3,
    /113.*Ethernet/,
  ],
  [
    "an output that cannot be written",
    [...L2FWD, "--vdev", `net_pcap0,tx_pcap=${join(folder, "no/such/folder.pcap")}`],
    3,
    /cannot be written \(ENOENT\)/,
  ],
  ["a capture device without a file", [...L2FWD, "--vdev", "net_pcap0"], 2, /give rx_pcap=FILE/],
  [
    "an interface name that is too long",
    [...L2FWD, "--vdev", "net_tap0,iface=averyverylongname0"],
    2,
    /is not a name for an interface/,
  ],
  [
    "a multicast MAC address",
    [...L2FWD, "--vdev", "net_tap0,mac=01:00:00:00:00:01"],
    2,
    /is not the address of one interface/,
  ],
  [
    "an application that is not there",
    ["run", join(folder, "none.js")],
    2,
    /none\.js does not exist/,
  ],
  ["packet memory that is too small", [...L2FWD, "-m", "4", ...NULL], 3, /packet memory is full/],
];

for (const [name, args, code, sentence] of cases) {
  test(`${name} gets one sentence and exit code ${code}`, async (t) => {
    const ended = await weir(...args);
    t.is(ended.stdout, "");
    t.is(ended.stderr.trimEnd().split("\n").length, 1, ended.stderr);
    t.regex(ended.stderr, sentence);
    t.is(ended.code, code);
  });
}

test("a command line that is refused costs nothing of a file that it names as output", async (t) => {
  const keep = join(folder, "keep.pcap");
  copyFileSync(CAPTURE, keep);
  const output = ["--vdev", `net_pcap0,tx_pcap=${keep}`];
  for (const rest of [
    ["--vdev", "net_tpa1"],
    ["--", "-p", "0x8"],
    ["--vdev", `net_pcap1,rx_pcap=${TRUNCATED}`],
  ]) {
    t.not((await weir(...L2FWD, ...output, ...rest)).code, 0);
  }
  const both = await weir(...L2FWD, "--vdev", `net_pcap0,rx_pcap=${keep},tx_pcap=${keep}`);
  t.is(both.code, 3);
  t.regex(both.stderr, /is the file that is read: writing would destroy it/);
  t.deepEqual(readFileSync(keep), readFileSync(CAPTURE));
});

test("a second instance with the same file prefix gets one sentence and exit code 3, and works when the first is gone", async (t) => {
  const prefix = ownPrefix();
  const args = ["l2fwd", "--no-huge", "--file-prefix", prefix, ...NULL, "--"];
  const first = startWeir([...args, "-T", "1"]);
  await eventually(() => first.output().includes("port 0"), "the first instance's first line");
  const second = await weir(...args, "--duration", "0.1");
  t.is(second.code, 3);
  t.regex(
    second.stderr,
    new RegExp(
      `^weir: another process runs with --file-prefix ${prefix} .*another --file-prefix\n$`,
    ),
  );
  first.child.kill("SIGTERM");
  t.is((await first.ended).code, 0);
  t.is((await weir(...args, "--duration", "0.1")).code, 0);
});

const root = process.getuid?.() === 0;
(root ? test : test.skip)(
  "a tap that another program uses gets one sentence that names it, and exit code 3",
  async (t) => {
    const iface = `wbad${process.pid}`;
    const first = startWeir([
      "l2fwd",
      "--no-huge",
      "--in-memory",
      "--vdev",
      `net_tap0,iface=${iface}`,
      "--",
      "-T",
      "1",
    ]);
    await eventually(() => first.output().includes("port 0"), "the first instance's first line");
    const second = await weir(
      "l2fwd",
      "--no-huge",
      "--in-memory",
      "--vdev",
      `net_tap0,iface=${iface}`,
    );
    t.is(second.code, 3);
    t.regex(second.stderr, new RegExp(`the tap ${iface} is in use by another program`));
    const other = await weir("l2fwd", "--no-huge", "--in-memory", "--vdev", "net_tap0,iface=lo");
    t.is(other.code, 3);
    t.regex(other.stderr, /the interface lo exists and is not a tap/);
    first.child.kill("SIGTERM");
    t.is((await first.ended).code, 0);
  },
);

(root ? test : test.skip)(
  "without the right to make one, a tap gets one sentence that says what to do, and exit code 3",
  async (t) => {
    const ended = await startWeir(
      ["l2fwd", "--no-huge", "--in-memory", "--vdev", "net_tap0,iface=wnobody0"],
      { uid: 65534 },
    ).ended;
    t.is(ended.code, 3);
    t.regex(ended.stderr, /run as root, or/);
    t.is(ended.stderr.trimEnd().split("\n").length, 1, ended.stderr);
  },
);
