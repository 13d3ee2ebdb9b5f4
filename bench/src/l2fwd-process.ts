/** `weir l2fwd` between two virtual ports, for the testpmd rows. Arguments: EAL options as of `weir l2fwd`. */
import { runApp } from "@weir/core";
import { vdevs } from "@weir/drivers";
import { watch } from "./primed-l2fwd.js";
import { nowNs } from "./testpmd/contender.js";

export interface L2fwdReading {
  readonly packets: number;
  readonly atNs: number;
}

let asked = false;
let stop = false;

// Asked by ctl every 20 ms while the lcores run.
watch((status) => {
  const reading: L2fwdReading = {
    packets: status.ports.reduce((sum, { rx }) => sum + rx, 0),
    atNs: nowNs(),
  };
  if (asked) process.send?.(reading);
  asked = false;
  return stop;
});
process.on("message", (command) => {
  if (command === "packets") asked = true;
  else stop = true;
});
process.on("disconnect", () => {
  stop = true;
});
process.exitCode = await runApp(
  new URL("./primed-l2fwd.js", import.meta.url).href,
  [...process.argv.slice(2), "--", "-T", "0"],
  { drivers: vdevs, version: "bench" },
);
if (process.connected) process.disconnect();
