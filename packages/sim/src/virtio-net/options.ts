/** What a simulated virtio-net card offers. */
import * as v from "../virtio/constants.js";
import * as n from "./constants.js";

export interface NetOptions {
  readonly mac: Uint8Array;
  /** Queue pairs; above 1 the card offers MQ. */
  readonly pairs: number;
  readonly queueSize: number;
  /** None: no MTU is offered. */
  readonly mtu: number | undefined;
  readonly mrgRxbuf: boolean;
  readonly inOrder: boolean;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  readonly csum: boolean;
  readonly status: boolean;
  readonly ctrl: boolean;
  readonly accessPlatform: boolean;
  readonly ringReset: boolean;
  /** Reads of device_status that still give the old one after a reset. */
  readonly resetReads: number;
}

export const NET_DEFAULTS: Omit<NetOptions, "mac"> = {
  pairs: 1,
  queueSize: 256,
  mtu: undefined,
  mrgRxbuf: true,
  inOrder: false,
  eventIdx: true,
  indirect: true,
  csum: true,
  status: true,
  ctrl: true,
  accessPlatform: true,
  ringReset: true,
  resetReads: 1,
};

/** MQ and the filters need the control queue (1.2 5.1.3.1, 2.2.2). */
export function offeredFeatures(options: NetOptions): bigint {
  const features: number[] = [v.F_VERSION_1, n.F_MAC];
  const add = (wanted: boolean, ...bits: number[]): void => {
    if (wanted) features.push(...bits);
  };
  add(options.accessPlatform, v.F_ACCESS_PLATFORM);
  add(options.ringReset, v.F_RING_RESET);
  add(options.inOrder, v.F_IN_ORDER);
  add(options.eventIdx, v.F_EVENT_IDX);
  add(options.indirect, v.F_INDIRECT_DESC);
  add(options.csum, n.F_CSUM, n.F_GUEST_CSUM);
  add(options.status, n.F_STATUS);
  add(options.mtu !== undefined, n.F_MTU);
  add(options.mrgRxbuf, n.F_MRG_RXBUF);
  add(options.ctrl, n.F_CTRL_VQ, n.F_CTRL_RX, n.F_CTRL_VLAN, n.F_CTRL_MAC_ADDR);
  add(options.ctrl && options.status, n.F_GUEST_ANNOUNCE);
  add(options.ctrl && options.pairs > 1, n.F_MQ);
  return features.reduce((all, bit) => all | (1n << BigInt(bit)), 0n);
}

/** 1.2 5.1.3.1 */
export const REQUIRES: readonly (readonly [number, readonly number[]])[] = [
  [n.F_CTRL_RX, [n.F_CTRL_VQ]],
  [n.F_CTRL_VLAN, [n.F_CTRL_VQ]],
  [n.F_GUEST_ANNOUNCE, [n.F_CTRL_VQ]],
  [n.F_MQ, [n.F_CTRL_VQ]],
  [n.F_CTRL_MAC_ADDR, [n.F_CTRL_VQ]],
];
