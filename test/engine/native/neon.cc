// Kernels against plain loops in double: built for ARM and run in an emulator by neon.test.ts.
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <vector>

#include "gemm.h"
#include "thread_memory.h"

#define SACCADE_FILE "neon.inl"
#include "targets.h"

namespace kernels = saccade::portable;

static int failures = 0;

static void expect(const char* what, double actual, double expected, double tolerance) {
  if (std::fabs(actual - expected) <= tolerance * (1 + std::fabs(expected))) return;
  std::printf("%s: %g, expected %g\n", what, actual, expected);
  failures++;
}

int main() {
  std::printf("%s\n", saccade::isaName(saccade::isa()));
  std::vector<float> x(1003), y(x.size());
  for (size_t i = 0; i < x.size(); i++) x[i] = static_cast<float>(i) * 0.02f - 10;
  const auto check = [&](const char* what, void (*run)(float*, const float*, int64_t), double (*f)(double)) {
    run(y.data(), x.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); i++) expect(what, y[i], f(x[i]), 2e-6);
  };
  check("exponential", kernels::exponentials, [](double v) { return std::exp(v); });
  check("logistic", kernels::logistics, [](double v) { return 1 / (1 + std::exp(-v)); });
  check("softplus", kernels::softpluses, [](double v) { return std::log1p(std::exp(v)); });
  check("square root", kernels::squareRoots, [](double v) { return std::sqrt(std::fabs(v)); });
  check("silu", kernels::silu, [](double v) { return v / (1 + std::exp(-v)); });
  check("gelu", kernels::gelu, [](double v) { return v / 2 * std::erfc(-v * std::sqrt(0.5)); });

  saccade::setThreadCount(2);
  const int64_t sizes[][3] = {{1, 1, 1}, {5, 7, 3}, {33, 50, 600}, {90, 40, 20}};
  for (const auto& [m, n, k] : sizes) {
    std::vector<float> a(m * k), b(k * n), c(m * n);
    for (size_t i = 0; i < a.size(); i++) a[i] = std::sin(static_cast<float>(i));
    for (size_t i = 0; i < b.size(); i++) b[i] = std::cos(static_cast<float>(i));
    const saccade::Factor left{kernels::packMatrix, a.data(), k, 1, nullptr};
    const saccade::Factor right{kernels::packMatrix, b.data(), 1, n, nullptr};
    kernels::gemmBlocks(m, n, k, left, right, c.data(), n, false);
    for (int64_t i = 0; i < m; i++) {
      for (int64_t j = 0; j < n; j++) {
        double sum = 0;
        for (int64_t e = 0; e < k; e++) sum += static_cast<double>(a[i * k + e]) * b[e * n + j];
        expect("product", c[i * n + j], sum, 1e-4);
      }
    }
  }
  return failures == 0 ? 0 : 1;
}
