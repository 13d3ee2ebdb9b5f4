// Regions: address ranges that are reserved once and never move, and that are never unmapped while the process lives,
// because optimised code in any thread may still hold a view. What lies inside them changes by MAP_FIXED.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <mutex>

namespace weir {

struct Span {
  char* begin;
  size_t bytes;
  char* end() const { return begin + bytes; }
};

// Held by every function that changes a region or a guard; never by the data path or the signal handler.
std::mutex& lifetimeLock();

// The span of the arguments (region, offset, bytes) at index 0. Throws when it is not inside a reserved region.
Span spanArgs(const Napi::CallbackInfo& info);

void exportRegions(Napi::Env env, Napi::Object exports);

}  // namespace weir
