// One thread pool per process. Work is cut into chunks whose bounds depend on the sizes and the number
// of threads only, so results never depend on which thread ran what.
#pragma once

#include <algorithm>
#include <cstdint>

namespace saccade {

/// Threads that take part, the caller's included.
int threadCount();
void setThreadCount(int count);

/// Calls `run(context, chunk)` for chunk 0 … chunks-1, on all threads; returns when all are done.
void runChunks(int64_t chunks, void (*run)(void* context, int64_t chunk), void* context);

/// Number of chunks for `count` items when a chunk should have at least `grain`.
inline int64_t chunksFor(int64_t count, int64_t grain, int64_t perThread = 1) {
  const int64_t most = threadCount() * perThread;
  return std::max<int64_t>(1, std::min(most, count / std::max<int64_t>(1, grain)));
}

/// f(chunk, begin, end) over `chunks` ranges of nearly equal size.
template <class F>
void parallelChunks(int64_t chunks, int64_t count, F&& f) {
  if (count <= 0) return;
  if (chunks <= 1) {
    f(int64_t{0}, int64_t{0}, count);
    return;
  }
  struct Context {
    F& f;
    int64_t chunks, count;
  } context{f, chunks, count};
  runChunks(
      chunks,
      [](void* pointer, int64_t chunk) {
        auto& c = *static_cast<Context*>(pointer);
        const int64_t begin = chunk * c.count / c.chunks;
        const int64_t end = (chunk + 1) * c.count / c.chunks;
        if (begin < end) c.f(chunk, begin, end);
      },
      &context);
}

/// f(begin, end) over ranges that cover 0 … count-1. Less than two grains run on the caller alone,
/// without waking anyone: choose `grain` so that one takes some 10 µs or more.
template <class F>
void parallelFor(int64_t count, int64_t grain, F&& f) {
  parallelChunks(chunksFor(count, grain, 2), count,
                 [&f](int64_t, int64_t begin, int64_t end) { f(begin, end); });
}

}  // namespace saccade
