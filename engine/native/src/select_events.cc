// Which events stay, and those alone: engine/ops/eventLoops.ts says what is computed.
#include <algorithm>
#include <cmath>

#include "registry.h"

/// markSupported(keep, last, tUs, x, y, polarity, stride, plane, windowUs, needed). Coordinates lie within the times.
SACCADE_KERNEL(markSupported) {
  uint8_t* __restrict keep = arguments.bytes(0);
  double* last = arguments.doubles(1);
  const double* tUs = arguments.doubles(2);
  const uint16_t* x = arguments.shorts(3);
  const uint16_t* y = arguments.shorts(4);
  const uint8_t* polarity = arguments.bytes(5);
  const int64_t count = std::min(arguments.length(0), arguments.length(2));
  const int64_t stride = arguments.integer(6), plane = arguments.integer(7);
  const double window = arguments.number(8);
  const int needed = static_cast<int>(arguments.integer(9));
  for (int64_t i = 0; i < count; i++) {
    const double time = tUs[i];
    double* pixel = last + polarity[i] * plane + (y[i] + 1) * stride + x[i] + 1;
    const double* above = pixel - stride;
    const double* below = pixel + stride;
    // Without branches, which no processor could foresee.
    const int found =
        (std::fabs(time - above[-1]) <= window) + (std::fabs(time - above[0]) <= window) +
        (std::fabs(time - above[1]) <= window) + (std::fabs(time - pixel[-1]) <= window) +
        (std::fabs(time - pixel[1]) <= window) + (std::fabs(time - below[-1]) <= window) +
        (std::fabs(time - below[0]) <= window) + (std::fabs(time - below[1]) <= window);
    keep[i] = found >= needed;
    *pixel = time;
  }
}

/// selectEvents(tUs, x, y, polarity, keep, toTUs, toX, toY, toPolarity, count): count becomes the number of events.
SACCADE_KERNEL(selectEvents) {
  const double* tUs = arguments.doubles(0);
  const uint16_t* x = arguments.shorts(1);
  const uint16_t* y = arguments.shorts(2);
  const uint8_t* polarity = arguments.bytes(3);
  const uint8_t* keep = arguments.bytes(4);
  double* __restrict toTUs = arguments.doubles(5);
  uint16_t* __restrict toX = arguments.shorts(6);
  uint16_t* __restrict toY = arguments.shorts(7);
  uint8_t* __restrict toPolarity = arguments.bytes(8);
  const int64_t count = std::min(arguments.length(0), arguments.length(4));
  const int64_t room = std::min({arguments.length(5), arguments.length(6), arguments.length(7),
                                 arguments.length(8)});
  int64_t next = 0;
  for (int64_t i = 0; i < count && next < room; i++) {
    toTUs[next] = tUs[i];
    toX[next] = x[i];
    toY[next] = y[i];
    toPolarity[next] = polarity[i];
    next += keep[i] != 0;
  }
  arguments.ints(9)[0] = static_cast<int32_t>(next);
}
