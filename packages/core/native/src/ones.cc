#include "ones.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>

namespace weir::ones {
namespace {

constexpr size_t kFileBytes = 2u << 20;

std::atomic<int> file{-1};  // written once, under the lifetime lock, before any guard is armed

int fill(int fd) {
  static char block[16384];  // used once, under the lifetime lock
  std::memset(block, 0xff, sizeof block);
  for (size_t done = 0; done < kFileBytes;) {
    const ssize_t wrote = pwrite(fd, block, std::min(sizeof block, kFileBytes - done), static_cast<off_t>(done));
    if (wrote < 0 && errno != EINTR) return errno;
    if (wrote > 0) done += static_cast<size_t>(wrote);
  }
  return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0 ? 0 : errno;
}

}  // namespace

int prepare() {
  if (file.load() >= 0) return 0;
  const int fd = memfd_create("weir-ones", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return errno;
  const int err = fill(fd);
  if (err != 0) {
    close(fd);
    return err;
  }
  file.store(fd);
  return 0;
}

bool cover(char* at, size_t bytes) {
  const int fd = file.load();
  while (bytes > 0) {
    // The place in the file is the place in the address's 2 MiB block, so that neighbouring pages, covered one by one,
    // merge into one mapping: a process may have 65,530 of them, and a guarded gigabyte has 262,144 pages.
    const size_t place = reinterpret_cast<uintptr_t>(at) & (kFileBytes - 1);
    const size_t part = std::min(bytes, kFileBytes - place);
    void* const got =
        mmap(at, part, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, static_cast<off_t>(place));
    if (got == MAP_FAILED) return false;
    at += part;
    bytes -= part;
  }
  return true;
}

}  // namespace weir::ones
