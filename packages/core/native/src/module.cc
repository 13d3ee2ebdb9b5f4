// The addon's table of contents. Context-aware: each environment (main thread, worker) gets its own exports, all of them
// work on the one state of the process.
#include <napi.h>

#include "cpu.h"
#include "frames.h"
#include "guard.h"
#include "region.h"

#if !defined(__linux__) || !defined(__x86_64__)
#error "weir runs on Linux x86-64"
#endif

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  weir::exportRegions(env, exports);
  weir::guard::exportGuards(env, exports);
  weir::exportCpu(env, exports);
  weir::exportFrames(env, exports);
  return exports;
}

NODE_API_MODULE(weir_native, init)
