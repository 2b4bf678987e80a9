// Events to dense frames: engine/ops/binEvents.ts says what is computed. One pass in the events' order by
// one thread: the additions are bound by memory, and sums of a voxel grid depend on their order.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "registry.h"

/// binEvents(tUs, x, y, polarity, rows, columns, out, bins, height, width, fromUs, toUs, kind): kind is 0 for
/// counts, 1 for spikes, 2 for a voxel grid. Coordinates lie within rows and columns.
SACCADE_KERNEL(binEvents) {
  const double* tUs = arguments.doubles(0);
  const uint16_t* x = arguments.shorts(1);
  const uint16_t* y = arguments.shorts(2);
  const uint8_t* polarity = arguments.bytes(3);
  const int32_t* rows = arguments.ints(4);
  const int32_t* columns = arguments.ints(5);
  float* out = arguments.floats(6);
  const int64_t bins = arguments.integer(7);
  const int64_t width = arguments.integer(9), plane = arguments.integer(8) * width;
  const double from = arguments.number(10), to = arguments.number(11), duration = to - from;
  const int64_t kind = arguments.integer(12);
  memset(out, 0, arguments.length(6) * sizeof(float));
  const int64_t count = arguments.length(0);
  for (int64_t i = 0; i < count; i++) {
    const int64_t pixel = rows[y[i]] * width + columns[x[i]];
    const double since = std::max(0.0, std::min(duration, tUs[i] - from));
    if (kind == 2) {
      const double position = duration > 0 ? (bins - 1) * since / duration : 0;
      const double lower = std::floor(position);
      const double share = position - lower;
      const double sign = polarity[i] == 1 ? 1 : -1;
      float* cell = out + static_cast<int64_t>(lower) * plane + pixel;
      cell[0] = static_cast<float>(cell[0] + sign * (1 - share));
      if (share > 0) cell[plane] = static_cast<float>(cell[plane] + sign * share);
      continue;
    }
    int64_t bin = 0;
    if (tUs[i] >= to) bin = bins - 1;
    else if (tUs[i] > from) bin = static_cast<int64_t>(bins * since / duration);
    float& cell = out[(2 * bin + polarity[i]) * plane + pixel];
    cell = kind == 1 ? 1.0f : cell + 1.0f;
  }
}
