/**
 * The system calls of the lifetime path, through koffi. Numbers are those of Linux on x86-64 (include/uapi).
 * Nothing here is called per burst: a koffi call costs 20-200 ns and throws.
 */
import { constants } from "node:os";
import koffi from "koffi";
import { EXIT_SETUP, WeirError } from "../errors.js";

const libc = koffi.load("libc.so.6");

const memfd_create = libc.func("int memfd_create(const char *name, unsigned int flags)");
const ftruncate = libc.func("int ftruncate(int fd, int64_t length)");
const fcntl = libc.func("int fcntl(int fd, int cmd, int64_t arg)");
const fallocate = libc.func("int fallocate(int fd, int mode, int64_t offset, int64_t length)");
const flock = libc.func("int flock(int fd, int operation)");
const ioctl = libc.func("int ioctl(int fd, uint64_t request, void *argument)");
const ioctlInteger = libc.func("int ioctl(int fd, uint64_t request, int64_t argument)");
const socket = libc.func("int socket(int domain, int type, int protocol)");

export const MFD_CLOEXEC = 0x1;
export const MFD_ALLOW_SEALING = 0x2;
export const MFD_HUGETLB = 0x4;
export const MFD_HUGE_2MB: number = 21 << 26;

const F_ADD_SEALS = 1033;
const F_SEAL_SEAL = 0x1;
const F_SEAL_SHRINK = 0x2;
const F_SEAL_GROW = 0x4;
const FALLOC_FL_KEEP_SIZE = 0x1;
const FALLOC_FL_PUNCH_HOLE = 0x2;
const LOCK_EX = 2;
const LOCK_NB = 4;

/** A system call that failed: `code` is the errno name. */
export class SyscallError extends WeirError {
  readonly syscall: string;

  constructor(syscall: string, errno: number) {
    const code = errnoName(errno);
    super(code, `${syscall} failed: ${code}`, EXIT_SETUP);
    this.syscall = syscall;
  }
}

/** "ENOENT" for 2. */
export function errnoName(errno: number): string {
  for (const [name, value] of Object.entries(constants.errno)) if (value === errno) return name;
  return `errno ${errno}`;
}

function checked(syscall: string, result: number): number {
  if (result < 0) throw new SyscallError(syscall, koffi.errno());
  return result;
}

/** A memory file of fixed size: the caller owns the fd. Sealed, so that no peer it is handed to can shrink or grow it. */
export function sealedMemfd(name: string, bytes: number, flags: number): number {
  const fd = checked("memfd_create", memfd_create(name, flags | MFD_CLOEXEC | MFD_ALLOW_SEALING));
  try {
    checked("ftruncate", ftruncate(fd, bytes));
    checked(
      "fcntl(F_ADD_SEALS)",
      fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW),
    );
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return fd;
}

/** Takes pages for a range of a file now, so that touching it later cannot fail. Opposite: `punchHole`. */
export function allocateRange(fd: number, offset: number, bytes: number): void {
  checked("fallocate", fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, bytes));
}

/** Gives the pages of a range back to the system. */
export function punchHole(fd: number, offset: number, bytes: number): void {
  checked(
    "fallocate(PUNCH_HOLE)",
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes),
  );
}

/** Takes an exclusive lock on an open file; false when another process has it. Ends with the fd, however the process dies. */
export function tryLock(fd: number): boolean {
  if (flock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  const errno = koffi.errno();
  if (errno === constants.errno.EWOULDBLOCK) return false;
  throw new SyscallError("flock", errno);
}

/** An ioctl on a struct that lies in `argument`, read and written in place. */
export function ioctlStruct(fd: number, name: string, request: number, argument: Uint8Array): void {
  checked(`ioctl(${name})`, ioctl(fd, request, argument));
}

/** An ioctl whose argument is the value itself. */
export function ioctlValue(fd: number, name: string, request: number, value: number): void {
  checked(`ioctl(${name})`, ioctlInteger(fd, request, value));
}

const exit = libc.func("void _exit(int status)");

/** Ends the process at once, without waiting for its threads: one of them may never come back. */
export function exitNow(code: number): void {
  exit(code);
}

/** A datagram socket for interface ioctls; the caller closes it. */
export function controlSocket(): number {
  const AF_INET = 2;
  const SOCK_DGRAM = 2;
  const SOCK_CLOEXEC = 0o2000000;
  return checked("socket", socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

const close = libc.func("int close(int fd)");

/** Closes an fd that no FileHandle owns. A failing close still frees the number (close(2)), so nothing is retried. */
export function closeFd(fd: number): void {
  checked("close", close(fd));
}
