/**
 * The one error type of the lifetime path. The data path never throws: it counts and returns short.
 *
 * `code` is stable and machine-readable (an errno name, or `ERR_WEIR_…`); `message` is one sentence that says what to
 * do; `exitCode` is what the process should end with when nobody handles it (docs: 2 usage, 3 set-up, 70 crash).
 */
export class WeirError extends Error {
  override readonly name: string = "WeirError";
  readonly code: string;
  readonly exitCode: number;

  constructor(
    code: string,
    message: string,
    exitCode: number = EXIT_SETUP,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.code = code;
    this.exitCode = exitCode;
  }
}

/** All went well. */
export const EXIT_OK = 0;
/** The command line (or an option's value) cannot be used. */
export const EXIT_USAGE = 2;
/** The machine cannot give what was asked: a device, memory, a right. */
export const EXIT_SETUP = 3;
/** Code of an application or of weir broke: an lcore threw, ran out of memory, or got stuck. */
export const EXIT_CRASH = 70;

/** A command line that cannot be used. */
export function usageError(message: string): WeirError {
  return new WeirError("ERR_WEIR_USAGE", message, EXIT_USAGE);
}

/** A bug in weir or in its caller: stop at once, with the reason. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new WeirError("ERR_WEIR_BUG", `weir bug: ${message}`, EXIT_CRASH);
}
