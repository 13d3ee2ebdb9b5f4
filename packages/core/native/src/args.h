// How an argument of the lifetime path is read, and how it is refused. Nothing here is used on the data path.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace weir {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kHugePageBytes = 2ull << 20;
constexpr uint64_t kIntegerMax = (1ull << 53) - 1;

// Throws a JavaScript Error with `errno`, its name as `code`, and the sentence `what` followed by the system's own words.
[[noreturn]] void fail(Napi::Env env, int err, const std::string& what);

// Argument `index` as a whole number from 0 to `max`.
uint64_t integerArg(const Napi::CallbackInfo& info, size_t index, const char* name, uint64_t max = kIntegerMax);

// The same, and a multiple of 4096.
uint64_t pagesArg(const Napi::CallbackInfo& info, size_t index, const char* name);

// Argument `index` as an array of whole numbers from 0 to `max`.
std::vector<uint64_t> integersArg(const Napi::CallbackInfo& info, size_t index, const char* name, uint64_t max);

}  // namespace weir
