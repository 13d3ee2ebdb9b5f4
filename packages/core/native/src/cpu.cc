#include "cpu.h"

#include <dirent.h>
#include <immintrin.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include "args.h"
#include "raw.h"

namespace weir {
namespace {

constexpr int kCpusMax = 8192;  // NR_CPUS of the largest distribution kernels

struct CpuSet {
  cpu_set_t parts[kCpusMax / CPU_SETSIZE];
};

CpuSet cpusArg(const Napi::CallbackInfo& info, size_t index) {
  CpuSet set = {};
  for (const uint64_t cpu : integersArg(info, index, "cpus", kCpusMax - 1)) CPU_SET_S(cpu, sizeof set, set.parts);
  if (CPU_COUNT_S(sizeof set, set.parts) == 0) fail(info.Env(), EINVAL, "cpus is empty; name at least one CPU");
  return set;
}

constexpr const char* kNotAllowed = "none of these CPUs is online and allowed to this process; see Cpus_allowed_list in /proc/self/status";

// Data path: raw calls, nothing allocated.
napi_value fence(napi_env, napi_callback_info) {
  _mm_mfence();  // orders write-combined and device stores too, which a locked instruction need not
  return nullptr;
}

napi_value tsc(napi_env env, napi_callback_info) {
  _mm_lfence();  // what comes before it is done
  napi_value result = nullptr;
  napi_create_double(env, static_cast<double>(__rdtsc()), &result);
  return result;
}

Napi::Value gettid(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(syscall(SYS_gettid)));
}

Napi::Value pin(const Napi::CallbackInfo& info) {
  const CpuSet set = cpusArg(info, 0);
  if (sched_setaffinity(0, sizeof set, set.parts) != 0) fail(info.Env(), errno, kNotAllowed);
  return info.Env().Undefined();
}

Napi::Value affinity(const Napi::CallbackInfo& info) {
  CpuSet set = {};
  if (sched_getaffinity(0, sizeof set, set.parts) != 0) fail(info.Env(), errno, "the affinity could not be read");
  Napi::Array cpus = Napi::Array::New(info.Env());
  uint32_t count = 0;
  for (int cpu = 0; cpu < kCpusMax; cpu++) {
    if (CPU_ISSET_S(cpu, sizeof set, set.parts)) cpus.Set(count++, Napi::Number::New(info.Env(), cpu));
  }
  return cpus;
}

std::vector<uint64_t> tasks(Napi::Env env) {
  DIR* const dir = opendir("/proc/self/task");
  if (dir == nullptr) fail(env, errno, "/proc/self/task could not be read; mount /proc");
  std::vector<uint64_t> tids;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.') tids.push_back(std::strtoull(entry->d_name, nullptr, 10));
  }
  closedir(dir);
  return tids;
}

Napi::Value pinOthers(const Napi::CallbackInfo& info) {
  const CpuSet set = cpusArg(info, 0);
  std::vector<uint64_t> done = integersArg(info, 1, "exceptTids", INT32_MAX);
  done.push_back(static_cast<uint64_t>(syscall(SYS_gettid)));
  uint32_t moved = 0;
  // A task that starts while we walk may have been started by one that had not been moved yet: walk until none is new.
  for (bool more = true; more;) {
    more = false;
    for (const uint64_t tid : tasks(info.Env())) {
      if (std::find(done.begin(), done.end(), tid) != done.end()) continue;
      done.push_back(tid);
      more = true;
      if (sched_setaffinity(static_cast<pid_t>(tid), sizeof set, set.parts) == 0) {
        moved++;
      } else if (errno != ESRCH) {
        fail(info.Env(), errno, kNotAllowed);
      }
    }
  }
  return Napi::Number::New(info.Env(), moved);
}

}  // namespace

void exportCpu(Napi::Env env, Napi::Object exports) {
  exportRaw(env, exports, "fence", fence);
  exportRaw(env, exports, "tsc", tsc);
  exports.Set("gettid", Napi::Function::New<gettid>(env, "gettid"));
  exports.Set("pin", Napi::Function::New<pin>(env, "pin"));
  exports.Set("affinity", Napi::Function::New<affinity>(env, "affinity"));
  exports.Set("pinOthers", Napi::Function::New<pinOthers>(env, "pinOthers"));
}

}  // namespace weir
