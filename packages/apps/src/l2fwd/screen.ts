/** Lifetime path: what l2fwd prints. DPDK's statistics on a terminal, a line per period elsewhere, one object with --json. */
import type { PortStatus, Status } from "@weir/core";

const HOME_AND_CLEAR = "\x1b[H\x1b[J";
const LABEL_COLUMNS = 24;
const NUMBER_COLUMNS = 20;
const RULE = "=".repeat(52);

export class Screen {
  readonly #json: boolean;
  readonly #live: boolean = process.stdout.isTTY === true;
  #last: Status | undefined;

  constructor(json: boolean) {
    this.#json = json;
  }

  period(status: Status): void {
    if (this.#json) return;
    process.stdout.write(
      this.#live ? HOME_AND_CLEAR + this.#statistics(status) : `${this.#line(status)}\n`,
    );
    this.#last = status;
  }

  end(status: Status): void {
    if (this.#json) {
      process.stdout.write(`${JSON.stringify(status)}\n`);
      return;
    }
    this.#last = undefined; // rates of the whole run
    process.stdout.write(
      (this.#live ? HOME_AND_CLEAR : "") + this.#statistics(status) + account(status),
    );
  }

  #statistics(status: Status): string {
    const rows = ["Port statistics ===================================="];
    for (const port of status.ports) {
      rows.push(`Statistics for port ${port.port} -------------------------------`);
      rows.push(
        `  ${port.name} (${port.driver}${port.simulated ? ", simulated" : ""}), ${port.state}`,
      );
      rows.push(...figures(port), row("Frames per second sent", this.#rate(status, port.port)));
    }
    const sum = (key: "rx" | "tx" | "dropped"): number =>
      status.ports.reduce((total, port) => total + port[key], 0);
    rows.push("Aggregate statistics ===============================");
    rows.push(
      row("Total packets sent", sum("tx")),
      row("Total packets received", sum("rx")),
      row("Total packets dropped", sum("dropped")),
    );
    rows.push("Buffers in flight ----------------------------------");
    const held = Object.entries(status.buffers.held);
    rows.push(...held.map(([holder, count]) => row(holder, count)));
    rows.push(row("free", status.buffers.free), row("total", status.buffers.total), RULE, "");
    return rows.join("\n");
  }

  #line(status: Status): string {
    const ports = status.ports
      .map(
        ({ port, simulated, rx, tx, dropped }) =>
          `${simulated ? "simulated " : ""}port ${port} rx ${rx} tx ${tx} dropped ${dropped}`,
      )
      .join("  ");
    const { free, total } = status.buffers;
    return `${status.elapsedSeconds.toFixed(1)} s  ${ports}  in flight ${total - free} of ${total}`;
  }

  #rate(status: Status, port: number): number {
    const before = this.#last;
    const seconds = status.elapsedSeconds - (before?.elapsedSeconds ?? 0);
    const frames = (status.ports[port] as PortStatus).tx - (before?.ports[port]?.tx ?? 0);
    return seconds > 0 ? Math.round(frames / seconds) : 0;
  }
}

function figures(port: PortStatus): string[] {
  const rows = [
    row("Packets sent", port.tx),
    row("Packets received", port.rx),
    row("Packets dropped", port.dropped),
  ];
  if (port.rxNoBuffer > 0) rows.push(row("No buffer on receive", port.rxNoBuffer));
  if (port.errors > 0) rows.push(row("Errors", port.errors));
  return rows;
}

/** The account at the end: `free + held == total`, and who holds the rest. */
function account({ buffers, mappings }: Status): string {
  const held = Object.values(buffers.held).reduce((sum, count) => sum + count, 0);
  const holders = Object.entries(buffers.held).map(([holder, count]) => `${count} by ${holder}`);
  const verdict =
    buffers.free + held === buffers.total ? "every buffer is accounted for" : "BUFFERS ARE MISSING";
  return (
    `Buffers: ${buffers.total} in all = ${buffers.free} free + ${held} held${holders.length > 0 ? ` (${holders.join(", ")})` : ""}: ${verdict}.\n` +
    `DMA mappings left: ${mappings}.\n`
  );
}

function row(label: string, value: number): string {
  return `${label.padEnd(LABEL_COLUMNS).slice(0, 40)}: ${String(value).padStart(NUMBER_COLUMNS)}`;
}
