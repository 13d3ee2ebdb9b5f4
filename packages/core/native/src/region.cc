#include "region.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <string>
#include <vector>

#include "args.h"
#include "guard.h"
#include "ones.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

namespace weir {
namespace {

constexpr uint64_t kRegionBytesMax = 1ull << 32;  // the longest ArrayBuffer of Node 20
constexpr long kHugetlbfsMagic = 0x958458f6;

struct Range {
  Span span;
  uint32_t id;  // 0: released, waits for a reserve of the same size
};

// Never destroyed: workers may still run while the process's static objects go.
std::vector<Range>& ranges() {
  static auto& table = *new std::vector<Range>;
  return table;
}

uint32_t lastId = 0;

Range& rangeArg(const Napi::CallbackInfo& info) {
  const uint64_t id = integerArg(info, 0, "region", UINT32_MAX);
  for (Range& range : ranges()) {
    if (range.id == id && id != 0) return range;
  }
  fail(info.Env(), EINVAL, "region " + std::to_string(id) + " is not reserved; use the id that regionReserve gave");
}

// Packet memory belongs to this process alone, and would fill a core file.
void keepPrivate(Span span) {
  madvise(span.begin, span.bytes, MADV_DONTFORK);
  madvise(span.begin, span.bytes, MADV_DONTDUMP);
}

bool mapFresh(Span span, int how = MAP_FIXED) {
  void* const got = mmap(span.begin, span.bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | how, -1, 0);
  if (got == MAP_FAILED) return false;
  keepPrivate(span);
  return true;
}

// A chunk of huge pages needs an address that is a multiple of their size.
uint64_t alignmentFor(uint64_t bytes) {
  if (bytes >= 1ull << 30) return 1ull << 30;
  return bytes >= kHugePageBytes ? kHugePageBytes : kPageBytes;
}

char* reserveAligned(uint64_t bytes) {
  const uint64_t align = alignmentFor(bytes);
  const uint64_t slack = align - kPageBytes;
  void* const got =
      mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (got == MAP_FAILED) return nullptr;
  char* const start = static_cast<char*>(got);
  const uint64_t head = (align - reinterpret_cast<uintptr_t>(start) % align) % align;
  if (head > 0) munmap(start, head);  // nobody has seen these bytes yet
  if (slack > head) munmap(start + head + bytes, slack - head);
  keepPrivate({start + head, bytes});
  return start + head;
}

Napi::Value regionReserve(const Napi::CallbackInfo& info) {
  const uint64_t bytes = pagesArg(info, 0, "bytes");
  if (bytes == 0 || bytes > kRegionBytesMax) {
    fail(info.Env(), EINVAL, "a region has from 4096 to 4294967296 bytes, not " + std::to_string(bytes));
  }
  const std::lock_guard<std::mutex> lock(lifetimeLock());
  for (Range& range : ranges()) {
    if (range.id != 0 || range.span.bytes != bytes) continue;
    // Again, because a late store through an old view may have dirtied it since it was released.
    if (!mapFresh(range.span)) fail(info.Env(), errno, "a released region could not be emptied for its next owner");
    range.id = ++lastId;
    return Napi::Number::New(info.Env(), range.id);
  }
  char* const begin = reserveAligned(bytes);
  if (begin == nullptr) {
    fail(info.Env(), errno, "no room to reserve " + std::to_string(bytes) +
                                " bytes of address space; ask for less, raise `ulimit -v`, or leave vm.overcommit_memory=2");
  }
  ranges().push_back({{begin, bytes}, ++lastId});
  return Napi::Number::New(info.Env(), lastId);
}

Napi::Value regionRelease(const Napi::CallbackInfo& info) {
  const std::lock_guard<std::mutex> lock(lifetimeLock());
  Range& range = rangeArg(info);
  {
    const guard::Pause pause(range.span);
    if (!mapFresh(range.span)) fail(info.Env(), errno, "the region could not be emptied and stays reserved");
  }
  guard::removeWithin(range.span);
  range.id = 0;
  return info.Env().Undefined();
}

Napi::Value regionAddress(const Napi::CallbackInfo& info) {
  const std::lock_guard<std::mutex> lock(lifetimeLock());
  return Napi::BigInt::New(info.Env(), static_cast<uint64_t>(reinterpret_cast<uintptr_t>(rangeArg(info).span.begin)));
}

Napi::Value regionView(const Napi::CallbackInfo& info) {
  Span span;
  {
    const std::lock_guard<std::mutex> lock(lifetimeLock());
    span = spanArgs(info);
  }
  return Napi::ArrayBuffer::New(info.Env(), span.begin, span.bytes);
}

// A hugetlb file wants its own page size everywhere; the kernel's plain EINVAL would not say so.
void checkPageSize(Napi::Env env, Span span, int fd, uint64_t fdOffset) {
  struct statfs fs;
  if (fstatfs(fd, &fs) != 0 || static_cast<long>(fs.f_type) != kHugetlbfsMagic) return;
  const uint64_t unit = static_cast<uint64_t>(fs.f_bsize);
  if ((reinterpret_cast<uintptr_t>(span.begin) | span.bytes | fdOffset) % unit != 0) {
    fail(env, EINVAL, "this file has pages of " + std::to_string(unit) + " bytes: offset, bytes and fdOffset must be multiples of it");
  }
}

// A populate past the end of a file would end as a fault; say it as what it is.
void checkFileLength(Napi::Env env, Span span, int fd, uint64_t fdOffset) {
  struct stat file;
  if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return;
  if (fdOffset + span.bytes > static_cast<uint64_t>(file.st_size)) {
    fail(env, EINVAL, "the file has " + std::to_string(file.st_size) + " bytes, " + std::to_string(fdOffset + span.bytes) +
                          " are needed; enlarge it first (ftruncate)");
  }
}

// Tries the mapping elsewhere, so that a refused one (bad fd, wrong mode, BAR not mappable) leaves the region as it was.
void probe(Napi::Env env, Span span, int prot, int flags, int fd, off_t fdOffset) {
  void* const got = mmap(nullptr, span.bytes, prot, flags, fd, fdOffset);
  if (got == MAP_FAILED) fail(env, errno, "fd " + std::to_string(fd) + " cannot be mapped; check that it is open, its mode and its offset");
  munmap(got, span.bytes);
}

int populate(Span span, bool write) {
  int result;
  do {
    result = madvise(span.begin, span.bytes, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
  } while (result != 0 && (errno == EINTR || errno == EAGAIN));
  return result == 0 ? 0 : errno;
}

Napi::Value regionMapFd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint64_t fdOffset = pagesArg(info, 4, "fdOffset");
  const int fd = static_cast<int>(integerArg(info, 3, "fd", INT32_MAX));
  if (!info[5].IsObject()) fail(env, EINVAL, "options must be an object with shared, write and populate");
  const Napi::Object options = info[5].As<Napi::Object>();
  const bool shared = options.Get("shared").ToBoolean();
  const bool write = options.Get("write").ToBoolean();
  const bool populated = options.Get("populate").ToBoolean();

  const std::lock_guard<std::mutex> lock(lifetimeLock());
  const Span span = spanArgs(info);
  checkPageSize(env, span, fd, fdOffset);
  if (populated) checkFileLength(env, span, fd, fdOffset);
  const int prot = PROT_READ | (write ? PROT_WRITE : 0);
  const int flags = (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE;
  probe(env, span, prot, flags, fd, static_cast<off_t>(fdOffset));
  {
    const guard::Pause pause(span);
    if (mmap(span.begin, span.bytes, prot, flags | MAP_FIXED, fd, static_cast<off_t>(fdOffset)) == MAP_FAILED) {
      const int err = errno;
      mapFresh(span, MAP_FIXED_NOREPLACE);  // fills a hole, if the kernel left one
      fail(env, err, "the mapping was refused; nothing of the fd is mapped");
    }
    keepPrivate(span);
  }
  const int err = populated ? populate(span, write) : 0;
  if (err == 0) return env.Undefined();
  const guard::Pause pause(span);
  mapFresh(span);
  if (err == EINVAL) fail(env, err, "this mapping cannot be populated (device memory, or a kernel before 5.14): pass populate: false");
  // A fault that would have been a SIGBUS later comes back as EFAULT: no page could be had.
  fail(env, err == EFAULT ? ENOMEM : err, "no memory for " + std::to_string(span.bytes) +
                                              " bytes; free some, or add huge pages (vm.nr_hugepages); the range was reset");
}

Napi::Value regionReset(const Napi::CallbackInfo& info) {
  const std::lock_guard<std::mutex> lock(lifetimeLock());
  const Span span = spanArgs(info);
  const guard::Pause pause(span);
  if (!mapFresh(span)) fail(info.Env(), errno, "the range could not be reset; it must cover whole pages of what is mapped there");
  return info.Env().Undefined();
}

Napi::Value regionRevoke(const Napi::CallbackInfo& info) {
  const std::lock_guard<std::mutex> lock(lifetimeLock());
  const Span span = spanArgs(info);
  const int err = ones::prepare();
  if (err != 0) fail(info.Env(), err, "no memory for the all-ones pages (2 MiB); free some");
  const guard::Pause pause(span);
  if (!ones::cover(span.begin, span.bytes)) {
    fail(info.Env(), errno, "the range could not be covered; it must cover whole pages of what is mapped there");
  }
  return info.Env().Undefined();
}

}  // namespace

std::mutex& lifetimeLock() {
  static std::mutex lock;
  return lock;
}

Span spanArgs(const Napi::CallbackInfo& info) {
  const Span all = rangeArg(info).span;
  const uint64_t offset = pagesArg(info, 1, "offset");
  const uint64_t bytes = pagesArg(info, 2, "bytes");
  if (bytes == 0 || offset > all.bytes || bytes > all.bytes - offset) {
    fail(info.Env(), EINVAL, std::to_string(bytes) + " bytes at " + std::to_string(offset) + " do not lie inside a region of " +
                                 std::to_string(all.bytes) + " bytes");
  }
  return {all.begin + offset, bytes};
}

void exportRegions(Napi::Env env, Napi::Object exports) {
  exports.Set("regionReserve", Napi::Function::New<regionReserve>(env, "regionReserve"));
  exports.Set("regionRelease", Napi::Function::New<regionRelease>(env, "regionRelease"));
  exports.Set("regionAddress", Napi::Function::New<regionAddress>(env, "regionAddress"));
  exports.Set("regionView", Napi::Function::New<regionView>(env, "regionView"));
  exports.Set("regionMapFd", Napi::Function::New<regionMapFd>(env, "regionMapFd"));
  exports.Set("regionReset", Napi::Function::New<regionReset>(env, "regionReset"));
  exports.Set("regionRevoke", Napi::Function::New<regionRevoke>(env, "regionRevoke"));
}

}  // namespace weir
