/** The kernel's own stack through l2fwd: two namespaces whose only path is two net_tap ports. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import test from "ava";
import {
  adopt,
  inside,
  makeNamespaces,
  type Namespace,
  removeNamespaces,
  whyNoNamespaces,
} from "./fixtures/namespaces.js";
import { eventually, ownPrefix, type Running, startWeir } from "./fixtures/weir.js";

const PEER = fileURLToPath(new URL("./fixtures/tcp-peer.js", import.meta.url));
const TRANSFER_BYTES = 100 * 2 ** 20;
const SEED = process.env.WEIR_SEED ?? "20261121";

const why = existsSync("/dev/net/tun") ? whyNoNamespaces() : "needs /dev/net/tun";
const kernel = why === undefined ? test.serial : test.serial.skip;

let pair: [Namespace, Namespace];
let l2fwd: Running;

test.before(async () => {
  if (why !== undefined) return;
  const taps = ["a", "b"].map((side) => `wk${side}${process.pid}`);
  pair = makeNamespaces("weir-k", 1);
  const vdevs = taps.flatMap((tap, i) => ["--vdev", `net_tap${i},iface=${tap}`]);
  l2fwd = startWeir([
    "l2fwd",
    "--no-huge",
    "--file-prefix",
    ownPrefix(),
    ...vdevs,
    "--",
    "--no-mac-updating",
    "--json",
  ]);
  for (const [i, tap] of taps.entries()) {
    await eventually(() => existsSync(`/sys/class/net/${tap}`), `the interface ${tap}`);
    adopt(pair[i] as Namespace, tap, 9000);
  }
});

test.after.always(() => {
  l2fwd?.child.kill("SIGKILL");
  if (pair !== undefined) removeNamespaces(pair);
});

kernel("ping crosses l2fwd, small and jumbo, over IPv4 and IPv6", (t) => {
  const [a, b] = pair;
  for (const target of [b.v4, b.v6]) {
    for (const size of ["56", "1472", "8900"]) {
      const ping = inside(a, "ping", "-c", "5", "-i", "0.05", "-W", "5", "-s", size, target);
      t.regex(ping.stdout, / 0% packet loss/, `${target} ${size}: ${ping.stdout}${ping.stderr}`);
    }
  }
});

kernel("a TCP transfer of 100 MB arrives with the checksum it was sent with", async (t) => {
  const [a, b] = pair;
  const peer = (
    namespace: Namespace,
    ...args: string[]
  ): { line: (n: number) => Promise<string>; done: Promise<number | null> } => {
    const child = spawn("ip", ["netns", "exec", namespace.name, process.execPath, PEER, ...args], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    t.teardown(() => child.kill("SIGKILL"));
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (more: string) => {
      text += more;
    });
    return {
      line: (n) =>
        eventually(
          () => text.split("\n").length > n + 1 && text.split("\n")[n],
          `line ${n} of ${args[0]}`,
          100_000,
        ) as Promise<string>,
      done: new Promise((resolve) => child.once("exit", resolve)),
    };
  };
  t.log(`seed ${SEED}`);
  const server = peer(b, "serve", b.v4, "7000");
  t.is(await server.line(0), "listening");
  const client = peer(a, "send", b.v4, "7000", String(TRANSFER_BYTES), SEED);
  const sent = await client.line(0);
  t.is(await server.line(1), sent);
  t.regex(sent, /^[0-9a-f]{64}$/);
});

kernel(
  "SIGINT ends l2fwd in good order, with every buffer accounted for and the interfaces gone",
  async (t) => {
    l2fwd.child.kill("SIGINT");
    const { code, stdout, stderr } = await l2fwd.ended;
    t.is(stderr, "");
    t.is(code, 0);
    const report = JSON.parse(stdout) as {
      ports: { rxBytes: number; errors: number }[];
      buffers: { total: number; free: number; held: object };
    };
    t.true((report.ports[0] as { rxBytes: number }).rxBytes > TRANSFER_BYTES);
    t.deepEqual(
      report.ports.map(({ errors }) => errors),
      [0, 0],
    );
    t.is(report.buffers.free, report.buffers.total);
    t.deepEqual(report.buffers.held, {});
    for (const namespace of pair) t.false(inside(namespace, "ip", "link").stdout.includes("wk"));
  },
);
