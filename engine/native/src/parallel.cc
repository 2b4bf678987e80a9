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

constexpr int mostThreads = 256;

/// Chunks of a job that one thread is to take, from the last to the first.
struct alignas(64) Share {
  std::atomic<int64_t> unclaimed{0};
  int64_t first = 0;
};

/// A job is a number of chunks; each thread has its share of them, and helps the others once that is done.
/// The same work so goes to the same thread from one kernel to the next, which finds the data in its
/// caches: processors often share none.
///
/// While chunks are unclaimed or running, the caller doesn't return, so what describes a job holds still:
/// to have claimed a chunk is to be allowed to read it.
class ThreadPool {
 public:
  int threads() const { return threads_.load(std::memory_order_relaxed); }

  void resize(int count) {
    std::lock_guard<std::mutex> owner(owner_);
    threads_ = std::min(std::max(1, count), mostThreads);
  }

  void run(int64_t chunks, void (*run)(void*, int64_t), void* context) {
    // Nested calls, and callers from another isolate while the pool is busy, work alone.
    std::unique_lock<std::mutex> owner(owner_, std::defer_lock);
    if (insideChunk || threads() <= 1 || chunks <= 1 || !owner.try_lock()) {
      for (int64_t i = 0; i < chunks; i++) run(context, i);
      return;
    }
    const int threads = static_cast<int>(std::min<int64_t>(this->threads(), chunks));
    for (; started_ < threads; started_++) {
      std::thread([this, index = started_] { work(index); }).detach();
    }
    run_ = run;
    context_ = context;
    unfinished_.store(chunks, std::memory_order_relaxed);
    for (int i = 0; i < threads; i++) {
      shares_[i].first = i * chunks / threads;
      // In sequence with `sleeping_`: either a thread that goes to sleep sees its share, or we see it.
      shares_[i].unclaimed.store((i + 1) * chunks / threads - shares_[i].first);
    }
    if (sleeping_.load() > 0) {
      { std::lock_guard<std::mutex> lock(mutex_); }
      condition_.notify_all();
    }
    compute(0);
    for (int spins = 0; unfinished_.load(std::memory_order_acquire) != 0; spins++) {
      if (spins < 2000) SACCADE_PAUSE();
      else std::this_thread::yield();
    }
  }

 private:
  /// Computes the share of thread `index`, then what is left of the others'.
  void compute(int index) {
    insideChunk = true;
    const int threads = this->threads();
    for (int i = 0; i < threads; i++) {
      Share& share = shares_[(index + i) % threads];
      int64_t left = share.unclaimed.load(std::memory_order_acquire);
      while (left > 0) {
        if (!share.unclaimed.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel)) continue;
        run_(context_, share.first + left - 1);
        unfinished_.fetch_sub(1, std::memory_order_release);
        left = share.unclaimed.load(std::memory_order_acquire);
      }
    }
    insideChunk = false;
  }

  [[noreturn]] void work(int index) {
    const std::atomic<int64_t>& unclaimed = shares_[index].unclaimed;
    for (;;) {
      // Kernels follow each other within microseconds, waking up takes tens of them.
      int spins = 0;
      while (unclaimed.load(std::memory_order_relaxed) <= 0 && spins < spinsBeforeSleep) {
        SACCADE_PAUSE();
        spins++;
      }
      if (spins == spinsBeforeSleep) {
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_++;
        condition_.wait(lock, [&] { return unclaimed.load() > 0; });
        sleeping_--;
      }
      compute(index);
    }
  }

  static constexpr int spinsBeforeSleep = 3000;

  std::mutex owner_;
  std::mutex mutex_;
  std::condition_variable condition_;
  std::atomic<int> threads_{1};
  /// Threads that run, the caller counted.
  int started_ = 1;
  std::atomic<int> sleeping_{0};
  Share shares_[mostThreads];
  std::atomic<int64_t> unfinished_{0};
  void (*run_)(void*, int64_t) = nullptr;
  void* context_ = nullptr;
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
