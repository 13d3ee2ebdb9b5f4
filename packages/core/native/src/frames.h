// Frames in and out of an fd that keeps message boundaries (a tap, a packet or datagram socket): one native call per burst.
#pragma once

#include <napi.h>

namespace weir {

void exportFrames(Napi::Env env, Napi::Object exports);

}  // namespace weir
