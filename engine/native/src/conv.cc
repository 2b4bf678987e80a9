// Convolution, depthwise convolution and pooling, with gradients.
#include "gemm.h"
#include "registry.h"
#include "thread_memory.h"
#include "window.h"

#define SACCADE_FILE "conv.inl"
#include "targets.h"

namespace saccade {
namespace {

/// A convolution that is a matrix product: one tap, every pixel.
bool isProduct(const Window& w) {
  for (int axis = 0; axis < 3; axis++) {
    if (w.size[axis] != 1 || w.stride[axis] != 1 || w.pad[axis] != 0) return false;
  }
  return true;
}

}  // namespace
}  // namespace saccade

/// convolution(x, filter, y, window)
SACCADE_KERNEL(convolution) {
  const float* x = arguments.floats(0);
  const float* filter = arguments.floats(1);
  float* y = arguments.floats(2);
  const saccade::Window w = saccade::windowOf(arguments, 3);
  if (saccade::isProduct(w)) {
    saccade::gemm(w.batch * w.outPixels(), w.outChannels, w.inChannels,
                  saccade::matrixFactor(x, w.inChannels, 1),
                  saccade::matrixFactor(filter, 1, w.outChannels), y, w.outChannels, false);
  } else {
    SACCADE_CALL(convolve)(w, x, filter, y, false);
  }
}

/// convolutionInputGradient(dy, filter, dx, window)
SACCADE_KERNEL(convolutionInputGradient) {
  const float* dy = arguments.floats(0);
  const float* filter = arguments.floats(1);
  float* dx = arguments.floats(2);
  const saccade::Window w = saccade::windowOf(arguments, 3);
  if (saccade::isProduct(w)) {
    saccade::gemm(w.batch * w.outPixels(), w.inChannels, w.outChannels,
                  saccade::matrixFactor(dy, w.outChannels, 1),
                  saccade::matrixFactor(filter, w.outChannels, 1), dx, w.inChannels, false);
  } else {
    SACCADE_CALL(convolve)(w, dy, filter, dx, true);
  }
}

/// convolutionFilterGradient(x, dy, dFilter, window)
SACCADE_KERNEL(convolutionFilterGradient) {
  const float* x = arguments.floats(0);
  const float* dy = arguments.floats(1);
  float* dw = arguments.floats(2);
  const saccade::Window w = saccade::windowOf(arguments, 3);
  if (saccade::isProduct(w)) {
    saccade::gemm(w.inChannels, w.outChannels, w.batch * w.outPixels(),
                  saccade::matrixFactor(x, 1, w.inChannels),
                  saccade::matrixFactor(dy, 1, w.outChannels), dw, w.outChannels, false);
  } else {
    SACCADE_CALL(convolveFilterGradient)(w, x, dy, dw);
  }
}

/// depthwise(x, filter, y, window, turned): `turned` gives dx from dy.
SACCADE_KERNEL(depthwise) {
  const float* x = arguments.floats(0);
  const float* filter = arguments.floats(1);
  float* y = arguments.floats(2);
  const saccade::Window w = saccade::windowOf(arguments, 3);
  const bool turned = arguments.flag(4);
  const int64_t rows = turned ? w.in[1] : w.out[1];
  const int64_t targetRow = (turned ? w.in[2] : w.out[2]) * w.inChannels;
  const int64_t sourceImage = (turned ? w.outPixels() : w.inPixels()) * w.inChannels;
  const auto run = SACCADE_CALL(depthwiseRow);
  saccade::parallelFor(w.batch * rows, 32768 / (targetRow * w.taps() + 8) + 1,
                       [=](int64_t begin, int64_t end) {
                         for (int64_t i = begin; i < end; i++) {
                           run(w, x + i / rows * sourceImage, filter, y + i * targetRow, i % rows,
                               turned);
                         }
                       });
}

/// depthwiseFilterGradient(x, dy, dFilter, window)
SACCADE_KERNEL(depthwiseFilterGradient) {
  static thread_local saccade::ThreadMemory memory;
  const float* x = arguments.floats(0);
  const float* dy = arguments.floats(1);
  float* dw = arguments.floats(2);
  const saccade::Window w = saccade::windowOf(arguments, 3);
  const int64_t n = w.inChannels, size = w.taps() * n;
  const int64_t step = SACCADE_CALL(depthwiseChannels);
  const int64_t blocks = (n + step - 1) / step;
  const auto run = SACCADE_CALL(depthwiseGradient);
  // One partial sum per image, then the images in order.
  float* parts = memory.floats(w.batch * size);
  saccade::parallelFor(w.batch * blocks, 32768 / (w.outPixels() * w.taps() * step + 1) + 1,
                       [=](int64_t begin, int64_t end) {
                         for (int64_t i = begin; i < end; i++) {
                           const int64_t image = i / blocks, first = i % blocks * step;
                           run(w, x + image * w.inPixels() * n, dy + image * w.outPixels() * n,
                               parts + image * size, first, std::min(step, n - first));
                         }
                       });
  std::fill(dw, dw + size, 0.0f);
  for (int64_t image = 0; image < w.batch; image++) {
    for (int64_t i = 0; i < size; i++) dw[i] += parts[image * size + i];
  }
}

/// pool(x, y, window, average)
SACCADE_KERNEL(pool) {
  const float* x = arguments.floats(0);
  float* y = arguments.floats(1);
  const saccade::Window w = saccade::windowOf(arguments, 2);
  const bool average = arguments.flag(3);
  const auto run = SACCADE_CALL(poolPixels);
  saccade::parallelFor(w.batch * w.outPixels(), 32768 / (w.taps() * (w.inChannels + 16)) + 1,
                       [=](int64_t begin, int64_t end) { run(w, x, y, begin, end, average); });
}

/// poolGradient(x, dy, dx, window, average)
SACCADE_KERNEL(poolGradient) {
  const float* x = arguments.floats(0);
  const float* dy = arguments.floats(1);
  float* dx = arguments.floats(2);
  const saccade::Window w = saccade::windowOf(arguments, 3);
  const bool average = arguments.flag(4);
  const int64_t size = w.inPixels() * w.inChannels;
  const int64_t step = SACCADE_CALL(poolChannels);
  const int64_t blocks = (w.inChannels + step - 1) / step;
  const auto run = SACCADE_CALL(poolGradient);
  saccade::parallelFor(w.batch * size, 65536, [=](int64_t begin, int64_t end) {
    std::fill(dx + begin, dx + end, 0.0f);
  });
  saccade::parallelFor(w.batch * blocks, 16384 / (w.outPixels() * w.taps() * step + 1) + 1,
                       [=](int64_t begin, int64_t end) {
                         for (int64_t i = begin; i < end; i++) {
                           run(w, x, dy, dx, i / blocks, i % blocks * step, average);
                         }
                       });
}
