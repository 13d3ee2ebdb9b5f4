/**
 * Lifetime path: the runtime folder of an instance, where its sockets lie, and the lock that keeps a second instance out.
 * The folder is where DPDK has it, so that tools which look for sockets find ours.
 */
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { WeirError } from "../errors.js";
import { tryLock } from "../os/libc.js";

export interface RuntimeDir {
  readonly path: string;
  /** Gives the lock back. The folder stays, as DPDK's does: removing it would race with the next instance. Idempotent. */
  release(): void;
}

/** Takes the folder of `prefix`. @throws WeirError EBUSY when another process has it */
export function takeRuntimeDir(prefix: string): RuntimeDir {
  const path = join(runtimeRoot(), "dpdk", prefix);
  let fd: number;
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    fd = openSync(join(path, "config"), "a", 0o600);
  } catch (error) {
    const { code = "EIO" } = error as NodeJS.ErrnoException;
    throw new WeirError(
      code,
      `the runtime folder ${path} cannot be made (${code}): use --in-memory, or another --file-prefix`,
    );
  }
  if (!tryLock(fd)) {
    closeSync(fd);
    throw new WeirError(
      "EBUSY",
      `another process runs with --file-prefix ${prefix} (${path} is locked): give this one another --file-prefix`,
    );
  }
  let held = true;
  return {
    path,
    release() {
      if (!held) return;
      held = false;
      closeSync(fd);
    },
  };
}

function runtimeRoot(): string {
  if (process.getuid?.() === 0) return "/var/run";
  return process.env.XDG_RUNTIME_DIR ?? "/tmp";
}
