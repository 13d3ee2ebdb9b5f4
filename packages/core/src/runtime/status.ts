/** Lifetime path: figures as an application and its user see them. */
import type { Port } from "../ethdev/port.js";
import type { Account } from "../mempool/audit.js";
import type { PortStatus, Status } from "./app.js";

/** A port's figures now. A closed port has none any more. */
export function portStatus(port: Port): PortStatus {
  const { rx, tx, dropped, rxBytes, txBytes, rxNoBuffer, rxErrors, txErrors } = port.stats();
  return {
    port: port.id,
    name: port.name,
    driver: port.device.driver,
    simulated: port.device.simulated === true,
    state: port.state,
    rx,
    tx,
    dropped,
    rxBytes,
    txBytes,
    rxNoBuffer,
    errors: rxErrors + txErrors,
  };
}

/** An audit's account, by the holders' names. */
export function heldFromAccount(account: Account): Status["buffers"] {
  const held = Object.fromEntries(
    account.held.map(({ holder, buffers }) => [holder.name, buffers]),
  );
  return { total: account.total, free: account.free, held };
}
