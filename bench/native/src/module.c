// The loops as functions of one number each. See ../../src/native.ts for their typed face.
#include <node_api.h>
#include <stddef.h>

#include "bench.h"

static uint32_t argumentOf(napi_env env, napi_callback_info info, size_t index) {
  napi_value argv[2];
  size_t argc = 2;
  uint32_t value = 0;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (index < argc) napi_get_value_uint32(env, argv[index], &value);
  return value;
}

#define LOOP(name)                                                  \
  static napi_value name##_(napi_env env, napi_callback_info info) { \
    name(argumentOf(env, info, 0));                                  \
    return NULL;                                                     \
  }
LOOP(loopPool)
LOOP(loopSpsc)
LOOP(loopLedger)
LOOP(loopSwapMacs)
LOOP(loopWriteMacs)
LOOP(loopNull)
LOOP(loopRing)
LOOP(loopVirtio)
LOOP(loopVirtioIdle)
LOOP(virtioServe)

static napi_value loopMpmc_(napi_env env, napi_callback_info info) {
  const uint32_t bulk = argumentOf(env, info, 1);
  loopMpmc(argumentOf(env, info, 0), bulk <= BURST ? bulk : BURST);
  return NULL;
}

static napi_value pairOf(napi_env env, uint64_t a, uint64_t b) {
  napi_value result, number;
  napi_create_array_with_length(env, 2, &result);
  napi_create_double(env, (double)a, &number);
  napi_set_element(env, result, 0, number);
  napi_create_double(env, (double)b, &number);
  napi_set_element(env, result, 1, number);
  return result;
}

static napi_value acrossThreads_(napi_env env, napi_callback_info info) {
  uint64_t cpuNs = 0;
  const uint64_t cycles = acrossThreads(argumentOf(env, info, 0), (int)argumentOf(env, info, 1), &cpuNs);
  return pairOf(env, cycles, cpuNs);
}

// (bytes: Uint8Array over the arena, offsets: Uint32Array of 12)
static napi_value virtioSetup_(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  size_t argc = 2;
  void* data[2] = {NULL, NULL};
  size_t length[2] = {0, 0};
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  for (size_t i = 0; i < 2; i++) napi_get_typedarray_info(env, argv[i], NULL, &length[i], &data[i], NULL, NULL);
  if (data[0] == NULL || data[1] == NULL || length[1] != 12) {
    napi_throw_type_error(env, NULL, "virtioSetup: the arena and 12 offsets are needed");
    return NULL;
  }
  virtioSetup(data[0], data[1]);
  return NULL;
}

// (weir: 1 or 0): [cycles, received, sent, starved, bad, errors of the driver in C]
static napi_value virtioCounts_(napi_env env, napi_callback_info info) {
  const bool weir = argumentOf(env, info, 0) != 0;
  const struct virtioCounts c = virtioCountsOf(weir);
  const uint64_t values[] = {c.cycles, c.received, c.sent, c.starved, c.bad, weir ? 0 : virtioErrors()};
  napi_value result;
  napi_create_array_with_length(env, sizeof values / sizeof *values, &result);
  for (uint32_t i = 0; i < sizeof values / sizeof *values; i++) {
    napi_value number;
    napi_create_double(env, (double)values[i], &number);
    napi_set_element(env, result, i, number);
  }
  return result;
}

// CPU time in ns of a thread of this process, by its system id; 0: the calling one.
static napi_value cpuNs_(napi_env env, napi_callback_info info) {
  const uint32_t tid = argumentOf(env, info, 0);
  // clock_gettime(2): the CPU clock of a thread is (~tid << 3) | CPUCLOCK_SCHED | CPUCLOCK_PERTHREAD.
  const clockid_t clock = tid == 0 ? CLOCK_THREAD_CPUTIME_ID : (clockid_t)((~tid << 3) | 6u);
  struct timespec t = {0};
  clock_gettime(clock, &t);
  napi_value result;
  napi_create_double(env, (double)t.tv_sec * 1e9 + (double)t.tv_nsec, &result);
  return result;
}

NAPI_MODULE_INIT() {
  if (memoryOf() == NULL) {
    napi_throw_error(env, "ENOMEM", "there is no memory for the buffers of the C rows");
    return NULL;
  }
  const struct {
    const char* name;
    napi_callback function;
  } table[] = {
      {"pool", loopPool_},         {"mpmc", loopMpmc_},           {"spsc", loopSpsc_},
      {"ledger", loopLedger_},     {"swapMacs", loopSwapMacs_},   {"writeMacs", loopWriteMacs_},
      {"nullForward", loopNull_},  {"ringForward", loopRing_},    {"acrossThreads", acrossThreads_},
      {"cpuNs", cpuNs_},           {"virtioForward", loopVirtio_}, {"virtioIdle", loopVirtioIdle_},
      {"virtioServe", virtioServe_}, {"virtioSetup", virtioSetup_}, {"virtioCounts", virtioCounts_},
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    napi_value function;
    napi_create_function(env, table[i].name, NAPI_AUTO_LENGTH, table[i].function, NULL, &function);
    napi_set_named_property(env, exports, table[i].name, function);
  }
  return exports;
}
