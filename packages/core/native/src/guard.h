// Guards: a SIGBUS inside a guarded range becomes an all-ones page and a count, instead of the end of the process.
//
// What makes this hard is a fault that is older than the mapping it meets: a thread faults, and before its handler
// looks around, ctl has mapped something new there or removed the guard. Every change therefore advances an epoch, and
// the handler lets the first fault of a thread on a page in an epoch simply repeat: a stale one does not come back.
#pragma once

#include <napi.h>

#include "region.h"

namespace weir::guard {

// While it lives, faults in the guards that overlap `span` wait (by repeating), and no handler is at work on them.
// Afterwards the guards start afresh on the pages of `span`. The caller holds the lifetime lock.
class Pause {
 public:
  explicit Pause(Span span);
  ~Pause();
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;

 private:
  Span span_;
};

// Removes every guard that overlaps `span`. The caller holds the lifetime lock.
void removeWithin(Span span);

void exportGuards(Napi::Env env, Napi::Object exports);

}  // namespace weir::guard
