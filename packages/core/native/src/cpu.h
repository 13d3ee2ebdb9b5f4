// What a thread needs from its CPU: order, time, a place.
#pragma once

#include <napi.h>

namespace weir {

void exportCpu(Napi::Env env, Napi::Object exports);

}  // namespace weir
