// Working memory for blocks of matrices: aligned, grows to the largest size asked for and stays.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

namespace saccade {

/// Declare it `static thread_local`.
class ThreadMemory {
 public:
  ThreadMemory() = default;
  ThreadMemory(const ThreadMemory&) = delete;
  ThreadMemory& operator=(const ThreadMemory&) = delete;
  ~ThreadMemory() { free(memory_); }

  /// Room for `count` floats on a cache line's bound, not cleared; valid until the next call.
  float* floats(int64_t count) {
    if (count > size_ || memory_ == nullptr) {
      free(memory_);
      memory_ = nullptr;
      size_ = 0;
      const size_t bytes = (static_cast<size_t>(count) * sizeof(float) / 64 + 1) * 64;
      if (posix_memalign(&memory_, 64, bytes) != 0) throw std::bad_alloc();
      size_ = count;
    }
    return static_cast<float*>(memory_);
  }

 private:
  void* memory_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace saccade
