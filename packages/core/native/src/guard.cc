#include "guard.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>

#include "args.h"
#include "ones.h"

namespace weir::guard {
namespace {

constexpr int kSlots = 1024;

enum SlotState : uint32_t { kFree, kArmed, kPaused };
enum PageState : uint8_t { kLive, kClaimed, kRevoked };

// Read by the handler without a lock: `users` keeps a slot's fields alive, `state` says whether they count.
struct Slot {
  std::atomic<uint32_t> state{kFree};
  std::atomic<uint32_t> users{0};
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<uintptr_t> pageBytes{kPageBytes};
  std::atomic<std::atomic<uint8_t>*> pages{nullptr};  // a PageState per page
};

static_assert(std::atomic<uintptr_t>::is_always_lock_free && std::atomic<int32_t>::is_always_lock_free);
static_assert(sizeof(std::atomic<uint8_t>) == 1 && sizeof(std::atomic<int32_t>) == 4);

Slot slots[kSlots];
alignas(4096) std::atomic<int32_t> flags[kSlots];
std::atomic<int> slotsEver{0};  // slots at and above this index were never used
std::atomic<uint64_t> epoch{1};

struct Fault {
  uintptr_t page;
  uint64_t epoch;
  bool repeatedOnRevoked;
};
// initial-exec: reading it in a signal handler may not allocate.
thread_local Fault last __attribute__((tls_model("initial-exec"))) = {0, 0, false};

struct sigaction previous;
std::atomic<bool> previousSpent{false};  // it had SA_RESETHAND and was called
bool installed = false;                  // under the lifetime lock

// ---- in the signal handler: no lock, no allocation, async-signal-safe calls only ----

bool holds(const Slot& slot, uintptr_t address) { return address >= slot.begin.load() && address < slot.end.load(); }

// The slot that guards `address`, with its user count raised; null when there is none.
Slot* enter(uintptr_t address) {
  const int count = slotsEver.load();
  for (int i = 0; i < count; i++) {
    Slot& slot = slots[i];
    if (slot.state.load() == kFree || !holds(slot, address)) continue;
    slot.users.fetch_add(1);
    if (slot.state.load() != kFree && holds(slot, address)) return &slot;
    slot.users.fetch_sub(1);
  }
  return nullptr;
}

// Covers the faulting page. When the kernel has no mapping left to split off (vm.max_map_count), the whole 2 MiB block
// costs fewer of them; the range is lost anyway.
bool coverPage(const Slot& slot, uintptr_t address) {
  const uintptr_t unit = slot.pageBytes.load();
  if (ones::cover(reinterpret_cast<char*>(address & ~(unit - 1)), unit)) return true;
  const uintptr_t block = address & ~(kHugePageBytes - 1);
  const uintptr_t begin = std::max<uintptr_t>(block, slot.begin.load());
  const uintptr_t end = std::min<uintptr_t>(block + kHugePageBytes, slot.end.load());
  return ones::cover(reinterpret_cast<char*>(begin), end - begin);
}

// True when the faulting instruction may run again.
bool revoke(Slot& slot, uintptr_t address) {
  if (slot.state.load() == kPaused) return true;
  std::atomic<uint8_t>& page = slot.pages.load()[(address - slot.begin.load()) / slot.pageBytes.load()];
  uint8_t found = kLive;
  if (page.compare_exchange_strong(found, kClaimed)) {
    // Flag before page: whoever reads all ones and then the flag must find it raised.
    flags[&slot - slots].fetch_add(1);
    if (!coverPage(slot, address)) return false;
    page.store(kRevoked);
    return true;
  }
  if (found == kClaimed) return true;  // another thread is at it
  // Revoked, and faulted: as a rule this thread was overtaken by the one that covered the page. If it comes back, someone
  // mapped over the range behind our back; cover it again rather than spin for ever.
  if (!last.repeatedOnRevoked) {
    last.repeatedOnRevoked = true;
    return true;
  }
  flags[&slot - slots].fetch_add(1);
  return coverPage(slot, address);
}

bool absorb(uintptr_t address) {
  Slot* const slot = enter(address);
  const uint64_t now = epoch.load();  // after the look at the slots: a guard is removed after the epoch advanced
  const uintptr_t page = address & ~(kPageBytes - 1);
  bool again = true;
  if (last.page != page || last.epoch != now) {
    last = {page, now, false};
  } else {
    again = slot != nullptr && revoke(*slot, address);
  }
  if (slot != nullptr) slot->users.fetch_sub(1);
  return again;
}

[[noreturn]] void die(int signal) {
  struct sigaction fatal;
  std::memset(&fatal, 0, sizeof fatal);
  fatal.sa_handler = SIG_DFL;
  sigaction(signal, &fatal, nullptr);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  syscall(SYS_tgkill, getpid(), static_cast<pid_t>(syscall(SYS_gettid)), signal);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  _exit(128 + signal);  // not reached
}

// Does what the kernel would have done, had this handler not been there.
void chain(int signal, siginfo_t* info, void* context) {
  const bool synchronous = info->si_code > 0;
  const bool spent = previousSpent.load();
  if (!spent && previous.sa_handler == SIG_IGN && !synchronous) return;
  if (spent || previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) die(signal);
  if ((previous.sa_flags & SA_RESETHAND) != 0) previousSpent.store(true);

  sigset_t interrupted;  // the kernel's set has 64 bits, the rest of glibc's type is not in the frame
  sigemptyset(&interrupted);
  std::memcpy(&interrupted, &static_cast<ucontext_t*>(context)->uc_sigmask, sizeof(uint64_t));
  sigset_t mask;
  sigorset(&mask, &interrupted, &previous.sa_mask);
  if ((previous.sa_flags & SA_NODEFER) == 0) sigaddset(&mask, signal);
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);  // the kernel puts the interrupted one back on return
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, info, context);
  } else {
    previous.sa_handler(signal);
  }
}

void onSigbus(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  // A code above 0 comes from the kernel, so that the address means something; kill(2) sends 0 and below. The optional
  // memory-error notice is not about an access of this thread.
  const bool access = info->si_code > 0 && info->si_code != BUS_MCEERR_AO;
  const bool again = access && absorb(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = saved;
  if (!again) chain(signal, info, context);
  errno = saved;
}

// ---- lifetime path, under the lifetime lock ----

// ONSTACK: an embedder's thread may be short of stack. No NODEFER: this handler touches no guarded page, and every other
// signal waits, so that a slot is never held by a thread that does something else.
int install() {
  if (installed) return 0;
  if (sigaction(SIGBUS, nullptr, &previous) != 0) return errno;  // known before the first fault can need it
  struct sigaction ours;
  std::memset(&ours, 0, sizeof ours);
  ours.sa_sigaction = onSigbus;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigfillset(&ours.sa_mask);
  if (sigaction(SIGBUS, &ours, nullptr) != 0) return errno;
  installed = true;
  return 0;
}

bool overlaps(const Slot& slot, Span span) {
  return slot.state.load() != kFree && slot.begin.load() < reinterpret_cast<uintptr_t>(span.end()) &&
         reinterpret_cast<uintptr_t>(span.begin) < slot.end.load();
}

size_t pageCount(const Slot& slot) { return (slot.end.load() - slot.begin.load()) / slot.pageBytes.load(); }

void waitUntilUnused(const Slot& slot) {
  while (slot.users.load() != 0) _mm_pause();
}

void remove(Slot& slot) {
  slot.state.store(kPaused);
  waitUntilUnused(slot);
  epoch.fetch_add(1);  // before kFree: a handler that finds no guard any more must find a new epoch, and repeat
  slot.state.store(kFree);
  waitUntilUnused(slot);  // handlers that came in while it was paused
  munmap(slot.pages.exchange(nullptr), pageCount(slot));
}

int freeSlot() {
  for (int i = 0; i < kSlots; i++) {
    if (slots[i].state.load() == kFree) return i;
  }
  return -1;
}

Napi::Value guardAdd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint64_t pageBytes = integerArg(info, 3, "pageBytes");
  if (pageBytes != kPageBytes && pageBytes != kHugePageBytes) fail(env, EINVAL, "pageBytes must be 4096 or 2097152");
  const std::lock_guard<std::mutex> lock(lifetimeLock());
  const Span span = spanArgs(info);
  if ((reinterpret_cast<uintptr_t>(span.begin) | span.bytes) % pageBytes != 0) {
    fail(env, EINVAL, "the range does not consist of whole pages of " + std::to_string(pageBytes) + " bytes");
  }
  for (const Slot& slot : slots) {
    if (overlaps(slot, span)) fail(env, EEXIST, "part of the range is guarded already, in slot " + std::to_string(&slot - slots));
  }
  const int index = freeSlot();
  if (index < 0) fail(env, ENOSPC, "all 1024 guards are in use; remove one");
  const int prepared = ones::prepare();
  if (prepared != 0) fail(env, prepared, "no memory for the all-ones pages (2 MiB); free some");
  void* const pages =
      mmap(nullptr, span.bytes / pageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) fail(env, errno, "no memory for a guard; free some");
  const int refused = install();
  if (refused != 0) {
    munmap(pages, span.bytes / pageBytes);
    fail(env, refused, "the SIGBUS handler could not be installed");
  }

  Slot& slot = slots[index];
  flags[index].store(0);
  slot.begin.store(reinterpret_cast<uintptr_t>(span.begin));
  slot.end.store(reinterpret_cast<uintptr_t>(span.end()));
  slot.pageBytes.store(pageBytes);
  slot.pages.store(static_cast<std::atomic<uint8_t>*>(pages));
  slotsEver.store(std::max(slotsEver.load(), index + 1));
  slot.state.store(kArmed);
  return Napi::Number::New(env, index);
}

Napi::Value guardRemove(const Napi::CallbackInfo& info) {
  const uint64_t index = integerArg(info, 0, "slot", kSlots - 1);
  const std::lock_guard<std::mutex> lock(lifetimeLock());
  if (slots[index].state.load() == kFree) fail(info.Env(), EINVAL, "guard " + std::to_string(index) + " is not in use");
  remove(slots[index]);
  return info.Env().Undefined();
}

Napi::Value guardFlags(const Napi::CallbackInfo& info) {
  return Napi::ArrayBuffer::New(info.Env(), static_cast<void*>(flags), sizeof flags);
}

}  // namespace

Pause::Pause(Span span) : span_(span) {
  for (Slot& slot : slots) {
    if (!overlaps(slot, span_)) continue;
    slot.state.store(kPaused);
    waitUntilUnused(slot);
  }
}

Pause::~Pause() {
  const int saved = errno;
  epoch.fetch_add(1);  // before kArmed: a fault from before the change must find a new epoch, and repeat
  for (Slot& slot : slots) {
    if (!overlaps(slot, span_)) continue;
    const uintptr_t begin = slot.begin.load();
    const uintptr_t unit = slot.pageBytes.load();
    const uintptr_t from = std::max<uintptr_t>(begin, reinterpret_cast<uintptr_t>(span_.begin));
    const uintptr_t to = std::min<uintptr_t>(slot.end.load(), reinterpret_cast<uintptr_t>(span_.end()));
    for (uintptr_t i = (from - begin) / unit; i * unit + begin < to; i++) {
      std::atomic<uint8_t>& page = slot.pages.load()[i];
      if (page.load() != kLive) page.store(kLive);
    }
    slot.state.store(kArmed);
  }
  errno = saved;
}

void removeWithin(Span span) {
  for (Slot& slot : slots) {
    if (overlaps(slot, span)) remove(slot);
  }
}

void exportGuards(Napi::Env env, Napi::Object exports) {
  exports.Set("guardAdd", Napi::Function::New<guardAdd>(env, "guardAdd"));
  exports.Set("guardRemove", Napi::Function::New<guardRemove>(env, "guardRemove"));
  exports.Set("guardFlags", Napi::Function::New<guardFlags>(env, "guardFlags"));
}

}  // namespace weir::guard
