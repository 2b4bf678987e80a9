#include "parallel.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define SACCADE_PAUSE() _mm_pause()
#elif defined(__aarch64__)
#define SACCADE_PAUSE() asm volatile("yield")
#else
#define SACCADE_PAUSE() ((void)0)
#endif

namespace saccade {
namespace {

thread_local bool insideChunk = false;

class ThreadPool {
 public:
  int threads() const { return threads_.load(std::memory_order_relaxed); }

  void resize(int count) {
    std::lock_guard<std::mutex> owner(owner_);
    threads_ = std::max(1, count);
  }

  void run(int64_t chunks, void (*run)(void*, int64_t), void* context) {
    // Nested calls, and callers from another isolate while the pool is busy, work alone.
    std::unique_lock<std::mutex> owner(owner_, std::defer_lock);
    if (insideChunk || threads() <= 1 || chunks <= 1 || !owner.try_lock()) {
      for (int64_t i = 0; i < chunks; i++) run(context, i);
      return;
    }
    const int helpers = static_cast<int>(std::min<int64_t>(threads() - 1, chunks - 1));
    bool wake;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (started_ < threads() - 1) {
        std::thread([this, index = started_] { work(index); }).detach();
        started_++;
      }
      run_ = run;
      context_ = context;
      chunks_ = chunks;
      wanted_ = helpers;
      next_.store(0, std::memory_order_relaxed);
      open_ = true;
      generation_.fetch_add(1, std::memory_order_release);
      wake = sleeping_ > 0;
    }
    if (wake) condition_.notify_all();
    claim();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      open_ = false;
    }
    for (int spins = 0; active_.load(std::memory_order_acquire) != 0; spins++) {
      if (spins < 2000) SACCADE_PAUSE();
      else std::this_thread::yield();
    }
  }

 private:
  void claim() {
    insideChunk = true;
    for (;;) {
      const int64_t chunk = next_.fetch_add(1, std::memory_order_relaxed);
      if (chunk >= chunks_) break;
      run_(context_, chunk);
    }
    insideChunk = false;
  }

  [[noreturn]] void work(int index) {
    uint64_t seen = 0;
    for (;;) {
      for (int spins = 0; spins < 3000; spins++) {
        if (generation_.load(std::memory_order_acquire) != seen) break;
        SACCADE_PAUSE();
      }
      bool joined = false;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_++;
        condition_.wait(lock, [&] { return generation_.load() != seen; });
        sleeping_--;
        seen = generation_.load();
        if (open_ && index < wanted_) {
          active_.fetch_add(1, std::memory_order_relaxed);
          joined = true;
        }
      }
      if (joined) {
        claim();
        active_.fetch_sub(1, std::memory_order_release);
      }
    }
  }

  std::mutex owner_;
  std::mutex mutex_;
  std::condition_variable condition_;
  std::atomic<int> threads_{1};
  int started_ = 0;
  int sleeping_ = 0;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int64_t> next_{0};
  std::atomic<int> active_{0};
  bool open_ = false;
  int wanted_ = 0;
  void (*run_)(void*, int64_t) = nullptr;
  void* context_ = nullptr;
  int64_t chunks_ = 0;
};

// Never destroyed: its detached threads outlive every static.
ThreadPool& pool() {
  static ThreadPool* const instance = new ThreadPool();
  return *instance;
}

}  // namespace

int threadCount() { return pool().threads(); }
void setThreadCount(int count) { pool().resize(count); }
void runChunks(int64_t chunks, void (*run)(void*, int64_t), void* context) {
  pool().run(chunks, run, context);
}

}  // namespace saccade
