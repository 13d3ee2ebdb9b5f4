/** The control virtqueue: one command at a time (1.2 5.1.6.5). */
import type { VirtioHost } from "../virtio/device-type.js";
import { type Chain, QueueError } from "../virtio/virtqueue.js";
import * as n from "./constants.js";
import { addressNumber, type Filter, type Steering } from "./filter.js";

/** Bytes of a command that are read; longer ones are refused. */
const COMMAND_BYTES_MAX = 65_536;
/** Addresses that each half of the table holds. */
const TABLE_ENTRIES_MAX = 64;
const MULTICAST_BIT: number = 2 ** 40;

export interface ControlTarget {
  readonly filter: Filter;
  readonly steering: Steering;
  readonly pairsMax: number;
  /** Whether the queues of a pair are set up. */
  pairEnabled(pair: number): boolean;
  setMac(mac: Uint8Array): void;
  announced(): void;
}

export class Control {
  readonly #host: VirtioHost;
  readonly #target: ControlTarget;
  readonly #bytes = new Uint8Array(COMMAND_BYTES_MAX);
  readonly #view = new DataView(this.#bytes.buffer);
  #length = 0;

  constructor(host: VirtioHost, target: ControlTarget) {
    this.#host = host;
    this.#target = target;
  }

  /** Does what a chain asks for, and writes its ack. Returns the bytes written. */
  execute(chain: Chain): number {
    if (chain.readBytes < 2 || chain.writeBytes < 1)
      throw new QueueError(
        "control-too-short",
        `a command of ${chain.readBytes} bytes with ${chain.writeBytes} for the ack`,
      );
    this.#host.log.counters.controlCommands++;
    const ack = this.#read(chain) && this.#command() ? n.CTRL_OK : n.CTRL_ERR;
    this.#bytes[0] = ack;
    // The ack is the first device-writable byte.
    let segment = chain.readable;
    while (chain.lengths[segment] === 0) segment++;
    this.#host.dma.write(chain.addresses[segment] as number, 1, this.#bytes, 0);
    return 1;
  }

  #read(chain: Chain): boolean {
    if (chain.readBytes > COMMAND_BYTES_MAX) return false;
    this.#length = 0;
    for (let i = 0; i < chain.readable; i++) {
      const length = chain.lengths[i] as number;
      this.#host.dma.read(chain.addresses[i] as number, length, this.#bytes, this.#length);
      this.#length += length;
    }
    return true;
  }

  #command(): boolean {
    const [kind = 0, command = 0] = this.#bytes;
    switch (kind * 256 + command) {
      case n.CTRL_RX * 256 + n.CTRL_RX_PROMISC:
      case n.CTRL_RX * 256 + n.CTRL_RX_ALLMULTI:
        return this.#allowed(n.F_CTRL_RX) && this.#sized(1) && this.#receiveMode(command);
      case n.CTRL_MAC * 256 + n.CTRL_MAC_TABLE_SET:
        return this.#allowed(n.F_CTRL_RX) && this.#addressTable();
      case n.CTRL_MAC * 256 + n.CTRL_MAC_ADDR_SET:
        return this.#allowed(n.F_CTRL_MAC_ADDR) && this.#sized(6) && this.#address();
      case n.CTRL_VLAN * 256 + n.CTRL_VLAN_ADD:
      case n.CTRL_VLAN * 256 + n.CTRL_VLAN_DEL:
        return this.#allowed(n.F_CTRL_VLAN) && this.#sized(2) && this.#vlan(command);
      case n.CTRL_ANNOUNCE * 256 + n.CTRL_ANNOUNCE_ACK:
        if (!this.#allowed(n.F_GUEST_ANNOUNCE) || !this.#sized(0)) return false;
        this.#target.announced();
        return true;
      case n.CTRL_MQ * 256 + n.CTRL_MQ_VQ_PAIRS_SET:
        return this.#allowed(n.F_MQ) && this.#sized(2) && this.#pairs();
      default:
        this.#broken("control-unknown", `class ${kind}, command ${command}`);
        return false;
    }
  }

  #receiveMode(command: number): boolean {
    const value = this.#bytes[2];
    if (value > 1) return this.#broken("control-value", `a receive mode is set to ${value}`);
    if (command === n.CTRL_RX_PROMISC) this.#target.filter.promiscuous = value === 1;
    else this.#target.filter.allMulticast = value === 1;
    return true;
  }

  /** Two tables, each a count and that many addresses (1.2 5.1.6.5.2). */
  #addressTable(): boolean {
    const wanted: number[] = [];
    let at = 2;
    for (const group of [false, true]) {
      const entries = at + 4 <= this.#length ? this.#view.getUint32(at, true) : Number.NaN;
      at += 4;
      if (!(at + 6 * entries <= this.#length))
        return this.#broken("control-length", `an address table of ${this.#length - 2} bytes`);
      if (entries > TABLE_ENTRIES_MAX) return false;
      for (let i = 0; i < entries; i++, at += 6) {
        const address = addressNumber(this.#bytes, at);
        if ((Math.floor(address / MULTICAST_BIT) % 2 === 1) !== group)
          return this.#broken("control-value", "an address is in the wrong one of the two tables");
        wanted.push(address);
      }
    }
    if (at !== this.#length)
      return this.#broken("control-length", `${this.#length - at} bytes behind the address table`);
    const { table } = this.#target.filter;
    table.clear();
    for (const address of wanted) table.add(address);
    return true;
  }

  #address(): boolean {
    const mac = this.#bytes.slice(2, 8);
    if ((mac[0] & 1) === 1) return this.#broken("control-value", "the card gets a group address");
    this.#target.setMac(mac);
    return true;
  }

  #vlan(command: number): boolean {
    const id = this.#view.getUint16(2, true);
    if (id > 0xfff) return this.#broken("control-value", `VLAN ${id}`);
    this.#target.filter.setVlan(id, command === n.CTRL_VLAN_ADD);
    return true;
  }

  /** 1.2 5.1.6.5.6.1: from 1 to the card's pairs, and their queues are set up before. */
  #pairs(): boolean {
    const pairs = this.#view.getUint16(2, true);
    if (pairs === 0 || pairs > this.#target.pairsMax)
      return this.#broken("control-value", `${pairs} of ${this.#target.pairsMax} queue pairs`);
    for (let pair = 0; pair < pairs; pair++)
      if (!this.#target.pairEnabled(pair))
        return this.#broken("control-value", `queue pair ${pair} is not set up`);
    this.#target.steering.pairs = pairs;
    return true;
  }

  /** 1.2 5.1.6.5.1.2 and its siblings: no command of a feature that was not accepted. */
  #allowed(feature: number): boolean {
    if (this.#host.accepted(feature)) return true;
    return this.#broken("control-not-negotiated", `a command that needs feature ${feature}`);
  }

  #sized(bytes: number): boolean {
    if (this.#length === 2 + bytes) return true;
    return this.#broken("control-length", `${this.#length - 2} bytes instead of ${bytes}`);
  }

  #broken(kind: string, detail: string): false {
    this.#host.log.violation(kind, detail);
    return false;
  }
}
