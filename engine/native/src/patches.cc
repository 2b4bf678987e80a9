// Frames cut into patches, and matrices transposed: copies only. engine/ops/patches.ts, linear.ts.
#include <cstring>

#include "parallel.h"
#include "registry.h"

/// cutPatches(x, y, frames, channels, height, width, size)
SACCADE_KERNEL(cutPatches) {
  const float* x = arguments.floats(0);
  float* y = arguments.floats(1);
  const int64_t frames = arguments.integer(2), channels = arguments.integer(3);
  const int64_t height = arguments.integer(4), width = arguments.integer(5);
  const int64_t size = arguments.integer(6);
  const int64_t rows = height / size, columns = width / size, features = channels * size * size;
  const int64_t grain = 1 + 8192 / (1 + columns * features);
  saccade::parallelFor(frames * rows, grain, [=](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; strip++) {
      const int64_t frame = strip / rows, top = strip % rows * size;
      float* to = y + strip * columns * features;
      for (int64_t c = 0; c < channels; c++) {
        for (int64_t row = 0; row < size; row++) {
          const float* from = x + ((frame * channels + c) * height + top + row) * width;
          float* line = to + (c * size + row) * size;
          for (int64_t column = 0; column < columns; column++) {
            memcpy(line + column * features, from + column * size, size * sizeof(float));
          }
        }
      }
    }
  });
}

/// transposeMatrix(x, y, rows, columns)
SACCADE_KERNEL(transposeMatrix) {
  const float* x = arguments.floats(0);
  float* y = arguments.floats(1);
  const int64_t rows = arguments.integer(2), columns = arguments.integer(3);
  constexpr int64_t tile = 16;
  const int64_t strips = (columns + tile - 1) / tile;
  saccade::parallelFor(strips, 1 + 1024 / (1 + rows), [=](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; strip++) {
      const int64_t c1 = std::min(columns, (strip + 1) * tile);
      for (int64_t r0 = 0; r0 < rows; r0 += tile) {
        const int64_t r1 = std::min(rows, r0 + tile);
        for (int64_t c = strip * tile; c < c1; c++) {
          for (int64_t r = r0; r < r1; r++) y[c * rows + r] = x[r * columns + c];
        }
      }
    }
  });
}
