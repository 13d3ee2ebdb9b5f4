/** Data path: telling the device that a queue has something new (VIRTIO 1.2, 2.7.13.4 and 4.1.5.2). */
import { attachBar, specialise } from "@weir/core";
import type { Doorbell } from "./transport.js";

/** The doorbell as the calling thread rings it. Made per queue. */
export function attachDoorbell({ bar, offset, value }: Doorbell, name: string): () => void {
  const constants = { u16: attachBar(bar).u16, INDEX: offset >>> 1, VALUE: value };
  return specialise(barDoorbell, constants, `${name}.doorbell`);
}

/** Template: see specialise.ts. */
function barDoorbell(k: { u16: Uint16Array; INDEX: number; VALUE: number }): () => void {
  const { u16, INDEX, VALUE } = k;
  return () => {
    // One plain 16-bit store, as wide as the register. Never an Atomics.store: that would be a locked read-modify-write.
    u16[INDEX] = VALUE;
  };
}
