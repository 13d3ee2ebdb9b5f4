// A function of the data path: straight to N-API, without the wrapper's argument vector and exception frame.
#pragma once

#include <napi.h>

namespace weir {

inline void exportRaw(Napi::Env env, Napi::Object exports, const char* name, napi_callback function) {
  napi_value value = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
  exports.Set(name, value);
}

}  // namespace weir
