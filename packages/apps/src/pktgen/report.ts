/** Lifetime path: what pktgen prints. */
import type { PortStatus, Status } from "@weir/core";

export class Report {
  readonly #json: boolean;
  readonly #activeSeconds: () => number;
  #last: Status | undefined;

  constructor(json: boolean, activeSeconds: () => number) {
    this.#json = json;
    this.#activeSeconds = activeSeconds;
  }

  period(status: Status): void {
    if (this.#json) return;
    process.stdout.write(`${status.elapsedSeconds.toFixed(1)} s  ${rates(status, this.#last)}\n`);
    this.#last = status;
  }

  end(last: Status): void {
    // Rates are of the time in which frames moved, without the wait for the last ones.
    const status = { ...last, elapsedSeconds: this.#activeSeconds() || last.elapsedSeconds };
    if (this.#json) {
      const ports = status.ports.map((port) => ({
        ...port,
        ...ratesOf(port, undefined, status.elapsedSeconds),
      }));
      process.stdout.write(`${JSON.stringify({ ...status, ports })}\n`);
      return;
    }
    const { buffers, elapsedSeconds } = status;
    const lines = status.ports.map(
      ({ port, name, simulated, tx, txBytes, rx, rxBytes }) =>
        `port ${port} ${name}${simulated ? " (simulated)" : ""}: sent ${tx} frames (${txBytes} bytes), received ${rx} (${rxBytes} bytes)`,
    );
    process.stdout.write(
      `${lines.join("\n")}\n${rates(status, undefined)} over ${elapsedSeconds.toFixed(1)} s\n`,
    );
    process.stdout.write(`Buffers: ${buffers.total} in all, ${buffers.free} free.\n`);
  }
}

function ratesOf(
  port: PortStatus,
  before: PortStatus | undefined,
  seconds: number,
): { txPerSecond: number; rxPerSecond: number } {
  const rate = (key: "tx" | "rx"): number =>
    seconds > 0 ? Math.round((port[key] - (before?.[key] ?? 0)) / seconds) : 0;
  return { txPerSecond: rate("tx"), rxPerSecond: rate("rx") };
}

function rates(status: Status, before: Status | undefined): string {
  const seconds = status.elapsedSeconds - (before?.elapsedSeconds ?? 0);
  const parts = status.ports.map((port) => {
    const { txPerSecond, rxPerSecond } = ratesOf(port, before?.ports[port.port], seconds);
    return `port ${port.port}: ${txPerSecond} sent/s, ${rxPerSecond} received/s`;
  });
  return parts.join("  ");
}
