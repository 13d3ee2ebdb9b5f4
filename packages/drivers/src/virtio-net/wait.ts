/** Lifetime path: waiting for a device, on ctl. */

/** Looks this often without a pause: most answers are there at once. */
const EAGER_LOOKS = 100;
const PAUSE_MS = 0.1;

/** Looks until `done` holds; calls `late`, which throws, after `timeoutMs`. What `done` throws ends the wait too. */
export function waitUntil(done: () => boolean, timeoutMs: number, late: () => never): void {
  const deadline = performance.now() + timeoutMs;
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let looks = 0; !done(); looks++) {
    if (looks < EAGER_LOOKS) continue;
    if (performance.now() >= deadline) late();
    Atomics.wait(pause, 0, 0, PAUSE_MS);
  }
}
