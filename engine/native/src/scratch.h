// Working memory of a thread, kept between calls so that a training step allocates nothing new.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace saccade {

/// At least `size` floats on a cache line's bound and one vector's worth more, by slot; the content is what the
/// last user left. Valid until this thread asks for the same slot again.
inline float* scratch(size_t slot, int64_t size) {
  constexpr size_t slots = 16;
  constexpr int64_t margin = 16, line = 64;
  thread_local std::vector<float> buffers[slots];
  std::vector<float>& buffer = buffers[slot];
  if (static_cast<int64_t>(buffer.size()) < size + 2 * margin) buffer.resize(size + 2 * margin);
  const uintptr_t address = reinterpret_cast<uintptr_t>(buffer.data());
  return reinterpret_cast<float*>((address + line - 1) / line * line);
}

}  // namespace saccade
