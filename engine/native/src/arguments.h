// What JavaScript passed to a kernel: typed arrays and numbers, by position.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

namespace saccade {

class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info) {}

  size_t count() const { return info_.Length(); }

  float* floats(size_t i) const {
    return static_cast<float*>(array(i, napi_float32_array, "Float32Array"));
  }
  int32_t* ints(size_t i) const {
    return static_cast<int32_t*>(array(i, napi_int32_array, "Int32Array"));
  }
  uint8_t* bytes(size_t i) const {
    return static_cast<uint8_t*>(array(i, napi_uint8_array, "Uint8Array"));
  }
  double* doubles(size_t i) const {
    return static_cast<double*>(array(i, napi_float64_array, "Float64Array"));
  }
  /// Elements of the typed array.
  int64_t length(size_t i) const {
    size_t length = 0;
    const napi_status status = napi_get_typedarray_info(info_.Env(), info_[i], nullptr, &length,
                                                        nullptr, nullptr, nullptr);
    if (status != napi_ok) fail(i, "a typed array");
    return static_cast<int64_t>(length);
  }
  int64_t integer(size_t i) const { return static_cast<int64_t>(number(i)); }
  double number(size_t i) const {
    double value = 0;
    if (napi_get_value_double(info_.Env(), info_[i], &value) != napi_ok) fail(i, "a number");
    return value;
  }
  bool flag(size_t i) const {
    bool value = false;
    if (napi_get_value_bool(info_.Env(), info_[i], &value) != napi_ok) fail(i, "a boolean");
    return value;
  }

 private:
  void* array(size_t i, napi_typedarray_type expected, const char* name) const {
    napi_typedarray_type type;
    void* data = nullptr;
    const napi_status status =
        napi_get_typedarray_info(info_.Env(), info_[i], &type, nullptr, &data, nullptr, nullptr);
    if (status != napi_ok || type != expected) fail(i, name);
    return data;
  }
  [[noreturn]] void fail(size_t i, const char* expected) const {
    throw Napi::TypeError::New(info_.Env(),
                               "argument " + std::to_string(i) + ": expected " + expected);
  }

  const Napi::CallbackInfo& info_;
};

}  // namespace saccade
