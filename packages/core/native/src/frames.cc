// Data path: raw N-API calls only. Nothing is allocated and nothing throws; the answer is a count, the reason an errno.
// Every index comes from JavaScript and is checked against the array it points into.
#include "frames.h"

#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "raw.h"

namespace weir {
namespace {

constexpr uint32_t kSegmentsMax = 255;  // what the buffer table can count; below IOV_MAX

template <typename T>
struct Words {
  T* data = nullptr;
  size_t length = 0;
};

template <typename T>
bool arrayOf(napi_env env, napi_value value, napi_typedarray_type wanted, Words<T>& out) {
  napi_typedarray_type type;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &out.length, &data, nullptr, nullptr) != napi_ok) return false;
  out.data = static_cast<T*>(data);
  return type == wanted;
}

bool countOf(napi_env env, napi_value value, int64_t max, uint64_t& out) {
  int64_t number = 0;
  if (napi_get_value_int64(env, value, &number) != napi_ok || number < 0 || number > max) return false;
  out = static_cast<uint64_t>(number);
  return true;
}

// The arguments of one call, and where its reason goes.
template <size_t kCount>
struct Call {
  Call(napi_env e, napi_callback_info info) : env(e) {
    size_t count = kCount;
    napi_get_cb_info(env, info, &count, argv, nullptr, nullptr);
    Words<int32_t> words;
    if (arrayOf(env, argv[kCount - 1], napi_int32_array, words) && words.length > 0) status = words.data;
  }

  template <typename T>
  bool array(size_t index, napi_typedarray_type wanted, Words<T>& out) {
    return arrayOf(env, argv[index], wanted, out);
  }
  bool count(size_t index, uint64_t& out, int64_t max = INT32_MAX) { return countOf(env, argv[index], max, out); }

  napi_value answer(uint64_t done, int reason) {
    if (status != nullptr) *status = reason;
    napi_value result = nullptr;
    napi_create_int64(env, static_cast<int64_t>(done), &result);
    return result;
  }

  napi_env env;
  napi_value argv[kCount];
  int32_t* status = nullptr;
};

// True when [position, position + bytes) lies in the base.
bool inside(const Words<uint8_t>& base, uint64_t position, uint64_t bytes) {
  return bytes <= base.length && position <= base.length - bytes;
}

// framesRead(fd, base, positions, segs, room, n, lengths, status)
napi_value framesRead(napi_env env, napi_callback_info info) {
  Call<8> call(env, info);
  Words<uint8_t> base;
  Words<uint32_t> positions, lengths;
  uint64_t fd, segs, room, n;
  if (!call.count(0, fd) || !call.array(1, napi_uint8_array, base) || !call.array(2, napi_uint32_array, positions) ||
      !call.count(3, segs, kSegmentsMax) || !call.count(4, room) || !call.count(5, n) ||
      !call.array(6, napi_uint32_array, lengths) || segs == 0 || room == 0 || n > lengths.length ||
      n * segs > positions.length) {
    return call.answer(0, EINVAL);
  }
  iovec parts[kSegmentsMax];
  const uint32_t* position = positions.data;
  for (uint64_t i = 0; i < n; i++) {
    for (uint64_t s = 0; s < segs; s++, position++) {
      if (!inside(base, *position, room)) return call.answer(i, EINVAL);
      parts[s] = {base.data + *position, room};
    }
    ssize_t got;
    do {
      got = readv(static_cast<int>(fd), parts, static_cast<int>(segs));
    } while (got < 0 && errno == EINTR);
    if (got <= 0) return call.answer(i, got < 0 ? errno : ENODATA);
    lengths.data[i] = static_cast<uint32_t>(got);
  }
  return call.answer(n, 0);
}

// framesWrite(fd, base, positions, segLengths, segCounts, n, status)
napi_value framesWrite(napi_env env, napi_callback_info info) {
  Call<7> call(env, info);
  Words<uint8_t> base, counts;
  Words<uint32_t> positions, lengths;
  uint64_t fd, n;
  if (!call.count(0, fd) || !call.array(1, napi_uint8_array, base) || !call.array(2, napi_uint32_array, positions) ||
      !call.array(3, napi_uint32_array, lengths) || !call.array(4, napi_uint8_array, counts) || !call.count(5, n) ||
      n > counts.length) {
    return call.answer(0, EINVAL);
  }
  iovec parts[kSegmentsMax];
  const size_t flat = positions.length < lengths.length ? positions.length : lengths.length;
  size_t at = 0;
  for (uint64_t i = 0; i < n; i++) {
    const size_t segs = counts.data[i];
    if (segs == 0 || segs > kSegmentsMax || segs > flat - at) return call.answer(i, EINVAL);
    uint64_t bytes = 0;
    for (size_t s = 0; s < segs; s++, at++) {
      if (!inside(base, positions.data[at], lengths.data[at])) return call.answer(i, EINVAL);
      parts[s] = {base.data + positions.data[at], lengths.data[at]};
      bytes += lengths.data[at];
    }
    if (bytes == 0) return call.answer(i, EINVAL);
    ssize_t put;
    do {
      put = writev(static_cast<int>(fd), parts, static_cast<int>(segs));
    } while (put < 0 && errno == EINTR);
    if (put < 0) return call.answer(i, errno);
    if (static_cast<uint64_t>(put) != bytes) return call.answer(i, EIO);  // the fd keeps no message boundaries
  }
  return call.answer(n, 0);
}

// bytesWrite(fd, base, offset, length, status)
napi_value bytesWrite(napi_env env, napi_callback_info info) {
  Call<5> call(env, info);
  Words<uint8_t> base;
  uint64_t fd, offset, length;
  if (!call.count(0, fd) || !call.array(1, napi_uint8_array, base) || !call.count(2, offset, INT64_MAX) ||
      !call.count(3, length, INT64_MAX) || !inside(base, offset, length)) {
    return call.answer(0, EINVAL);
  }
  uint64_t done = 0;
  while (done < length) {
    const ssize_t put = write(static_cast<int>(fd), base.data + offset + done, length - done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return call.answer(done, put < 0 ? errno : EIO);
    done += static_cast<uint64_t>(put);
  }
  return call.answer(done, 0);
}

}  // namespace

void exportFrames(Napi::Env env, Napi::Object exports) {
  exportRaw(env, exports, "framesRead", framesRead);
  exportRaw(env, exports, "framesWrite", framesWrite);
  exportRaw(env, exports, "bytesWrite", bytesWrite);
}

}  // namespace weir
