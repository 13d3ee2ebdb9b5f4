#include "args.h"

#include <cerrno>
#include <cmath>
#include <cstring>

namespace weir {
namespace {

// strerrorname_np would ask for glibc 2.32; these are the causes that the calls of this addon can have.
const char* errnoName(int err) {
  switch (err) {
    case EPERM: return "EPERM";
    case ENOENT: return "ENOENT";
    case ESRCH: return "ESRCH";
    case EIO: return "EIO";
    case ENXIO: return "ENXIO";
    case EBADF: return "EBADF";
    case EAGAIN: return "EAGAIN";
    case ENOMEM: return "ENOMEM";
    case EACCES: return "EACCES";
    case EFAULT: return "EFAULT";
    case EBUSY: return "EBUSY";
    case EEXIST: return "EEXIST";
    case ENODEV: return "ENODEV";
    case EINVAL: return "EINVAL";
    case ENFILE: return "ENFILE";
    case EMFILE: return "EMFILE";
    case ETXTBSY: return "ETXTBSY";
    case ENOSPC: return "ENOSPC";
    case ERANGE: return "ERANGE";
    case ENOSYS: return "ENOSYS";
    case EOVERFLOW: return "EOVERFLOW";
    case ENOTSUP: return "ENOTSUP";
    case EHWPOISON: return "EHWPOISON";
    default: return "ERR_SYSTEM";
  }
}

uint64_t integerOf(Napi::Env env, Napi::Value value, const std::string& name, uint64_t max) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0) || number != std::floor(number) || number > static_cast<double>(max)) {
    fail(env, EINVAL, name + " must be a whole number from 0 to " + std::to_string(max));
  }
  return static_cast<uint64_t>(number);
}

}  // namespace

void fail(Napi::Env env, int err, const std::string& what) {
  Napi::Error error = Napi::Error::New(env, what + " (" + std::strerror(err) + ")");
  error.Set("code", Napi::String::New(env, errnoName(err)));
  error.Set("errno", Napi::Number::New(env, err));
  throw error;
}

uint64_t integerArg(const Napi::CallbackInfo& info, size_t index, const char* name, uint64_t max) {
  return integerOf(info.Env(), info[index], name, max);
}

uint64_t pagesArg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  const uint64_t value = integerArg(info, index, name);
  if (value % kPageBytes != 0) {
    fail(info.Env(), EINVAL, std::string(name) + " is " + std::to_string(value) + ", make it a multiple of 4096");
  }
  return value;
}

std::vector<uint64_t> integersArg(const Napi::CallbackInfo& info, size_t index, const char* name, uint64_t max) {
  if (!info[index].IsArray()) fail(info.Env(), EINVAL, std::string(name) + " must be an array of whole numbers");
  const Napi::Array array = info[index].As<Napi::Array>();
  std::vector<uint64_t> values;
  values.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++) {
    values.push_back(integerOf(info.Env(), array.Get(i), std::string(name) + "[" + std::to_string(i) + "]", max));
  }
  return values;
}

}  // namespace weir
