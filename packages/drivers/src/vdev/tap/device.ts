/** net_tap: a network interface of the kernel as a port, as DPDK's tap PMD. Lifetime path. */
import { closeSync, constants, existsSync, openSync } from "node:fs";
import {
  closeFd,
  controlSocket,
  type EthDevice,
  EXIT_SETUP,
  formatMac,
  ioctlStruct,
  ioctlValue,
  numberArgument,
  parseMac,
  usageError,
  type VdevDriver,
  type VdevSpec,
  WeirError,
} from "@weir/core";
import type { TapParams } from "./burst.js";

// include/uapi/linux/if_tun.h, sockios.h and if.h
const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCSIFMTU = 0x8922;
const SIOCSIFHWADDR = 0x8924;
const SIOCGIFHWADDR = 0x8927;
const IFF_UP = 1;
const ARPHRD_ETHER = 1;

const IFNAMSIZ = 16;
const IFREQ_BYTES = 40;
const TX_QUEUES_MAX = 128;
const MTU_MIN = 68;
/** The longest frame less its header and two VLAN tags. */
const MTU_MAX: number = 9728 - 14 - 8;

export const netTap: VdevDriver = {
  prefix: "net_tap",
  parameters: ["iface", "mac", "mtu", "persist"],
  probe(spec): EthDevice {
    const macText = spec.args.get("mac");
    const mac =
      macText === undefined ? undefined : macText === "fixed" ? fixedMac() : parseMac(macText);
    if (macText !== undefined && (mac === undefined || (mac[0] & 1) === 1)) {
      throw usageError(
        `--vdev ${spec.name}: mac=${macText} is not the address of one interface, such as 02:00:00:00:00:01`,
      );
    }
    const persist = numberArgument(spec, "persist", { min: 0, max: 1, fallback: 0 }) === 1;
    const mtu = numberArgument(spec, "mtu", { min: MTU_MIN, max: MTU_MAX, fallback: 0 });
    const tap = openTap(spec, "iface", spec.args.get("iface") ?? "dtap%d", { mac, mtu });
    let open = true;
    const params: TapParams = { fd: tap.fd };
    const queue = { module: new URL("./burst.js", import.meta.url).href, params };
    return {
      name: spec.name,
      driver: "net_tap",
      mac: tap.mac,
      rxQueuesMax: 1,
      txQueuesMax: TX_QUEUES_MAX,
      queueLimitReason: "a tap is read in its order, through one queue",
      finite: false,
      configure: () => undefined,
      rxQueue: () => queue,
      txQueue: () => queue,
      start() {
        if (persist) ioctlValue(tap.fd, "TUNSETPERSIST", TUNSETPERSIST, 1);
      },
      stop: () => undefined,
      close() {
        if (open) closeSync(tap.fd);
        open = false;
      },
    };
  },
};

/** An interface of the kernel whose frames are read from and written to `fd`, without blocking. The fd is the caller's. */
export interface Tap {
  readonly fd: number;
  /** The interface's own address. */
  readonly mac: Uint8Array;
}

export interface TapOptions {
  /** None: the kernel chooses. */
  readonly mac?: Uint8Array | undefined;
  /** 0: as it is. */
  readonly mtu?: number;
}

/**
 * Opens a tap and brings it up.
 *
 * @param argument of the device that names it, for messages
 * @throws WeirError usage, or an errno with what to do; nothing is left behind
 */
export function openTap(
  spec: VdevSpec,
  argument: string,
  wanted: string,
  { mac, mtu = 0 }: TapOptions,
): Tap {
  if (
    wanted.length === 0 ||
    Buffer.byteLength(wanted) >= IFNAMSIZ ||
    /[\s/:]|[^\x20-\x7e]/.test(wanted)
  ) {
    throw usageError(
      `--vdev ${spec.name}: ${argument}=${wanted} is not a name for an interface (1 to 15 ASCII characters, no space, "/" or ":")`,
    );
  }
  const { fd, iface } = attach(spec, wanted);
  try {
    return { fd, mac: setUp(iface, mac, mtu) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function attach(spec: VdevSpec, wanted: string): { fd: number; iface: string } {
  let fd: number;
  try {
    fd = openSync("/dev/net/tun", constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    const { code = "EIO" } = error as NodeJS.ErrnoException;
    const help =
      code === "ENOENT"
        ? "load the module (modprobe tun)"
        : "run as root, or give CAP_NET_ADMIN and access to /dev/net/tun";
    throw new WeirError(
      code,
      `${spec.name}: /dev/net/tun cannot be opened (${code}): ${help}`,
      EXIT_SETUP,
    );
  }
  try {
    const existed = existsSync(`/sys/class/net/${wanted}`);
    const request = ifreq(wanted);
    new DataView(request.buffer).setInt16(IFNAMSIZ, IFF_TAP | IFF_NO_PI, true);
    try {
      ioctlStruct(fd, "TUNSETIFF", TUNSETIFF, request);
    } catch (error) {
      throw explainAttach(error, spec.name, wanted, existed);
    }
    const end = request.indexOf(0);
    return { fd, iface: Buffer.from(request.subarray(0, end)).toString() };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function explainAttach(error: unknown, device: string, iface: string, existed: boolean): unknown {
  const { code } = error as { code?: string };
  if (code === "EPERM") {
    return new WeirError(
      code,
      `${device}: making the tap ${iface} is not permitted: run as root, or let an administrator make it for you with "ip tuntap add dev ${iface} mode tap user $USER; ip link set ${iface} up"`,
    );
  }
  if (code === "EBUSY")
    return new WeirError(
      code,
      `${device}: the tap ${iface} is in use by another program: choose another name, or end that program`,
    );
  if (code === "EINVAL" && existed) {
    return new WeirError(
      code,
      `${device}: the interface ${iface} exists and is not a tap of one queue: choose another name, or remove it with "ip link del ${iface}"`,
    );
  }
  return error;
}

/** Brings the interface up; gives the port the interface's MAC address, as DPDK does. */
function setUp(iface: string, mac: Uint8Array | undefined, mtu: number): Uint8Array {
  const socket = controlSocket();
  try {
    const request = ifreq(iface);
    const view = new DataView(request.buffer);
    if (mac !== undefined) {
      view.setUint16(IFNAMSIZ, ARPHRD_ETHER, true);
      request.set(mac, IFNAMSIZ + 2);
      ioctlStruct(socket, `SIOCSIFHWADDR ${formatMac(mac)}`, SIOCSIFHWADDR, request);
    }
    ioctlStruct(socket, "SIOCGIFHWADDR", SIOCGIFHWADDR, request);
    const actual = request.slice(IFNAMSIZ + 2, IFNAMSIZ + 8);
    if (mtu > 0) {
      view.setInt32(IFNAMSIZ, mtu, true);
      ioctlStruct(socket, `SIOCSIFMTU ${mtu}`, SIOCSIFMTU, request);
    }
    ioctlStruct(socket, "SIOCGIFFLAGS", SIOCGIFFLAGS, request);
    const flags = view.getInt16(IFNAMSIZ, true);
    if ((flags & IFF_UP) === 0) {
      // Not when it is up already: a user who was given the tap may not change its flags.
      view.setInt16(IFNAMSIZ, flags | IFF_UP, true);
      ioctlStruct(socket, "SIOCSIFFLAGS", SIOCSIFFLAGS, request);
    }
    return actual;
  } finally {
    closeFd(socket);
  }
}

/** `mac=fixed`, as DPDK: 00:64:74:61:70 ("dtap") and a number that goes up from one tap to the next. */
function fixedMac(): Uint8Array {
  return Uint8Array.of(0, 0x64, 0x74, 0x61, 0x70, fixedMacs++ & 0xff);
}

let fixedMacs = 0;

/** struct ifreq with the interface's name. */
function ifreq(iface: string): Uint8Array {
  const request = new Uint8Array(IFREQ_BYTES);
  request.set(Buffer.from(iface), 0);
  return request;
}
