// Pages that read as all ones, the answer of a PCI bus behind which nothing is left. They come prefilled from one
// sealed memfd, mapped private: whoever looks while they go in sees the old page or the ones, never a page of zeros.
#pragma once

#include <cstddef>

namespace weir::ones {

// Makes the file. Idempotent; the caller holds the lifetime lock. Returns 0 or an errno.
int prepare();

// Puts writable all-ones pages over [at, at + bytes), both multiples of 4096. Async-signal-safe after prepare().
// Returns false with errno set when the kernel refuses.
bool cover(char* at, size_t bytes);

}  // namespace weir::ones
