// Loops over events: engine/ops/eventLoops.ts says what is computed. One pass in the events' order by one
// thread: the additions are bound by memory, and sums of a voxel grid depend on their order.
#include <algorithm>
#include <cmath>

#include "registry.h"

namespace {

/// The events, and where their bins, rows and columns lie.
struct Events {
  explicit Events(const saccade::Arguments& arguments)
      : tUs(arguments.doubles(0)),
        x(arguments.shorts(1)),
        y(arguments.shorts(2)),
        polarity(arguments.bytes(3)),
        rows(arguments.ints(4)),
        columns(arguments.ints(5)),
        count(arguments.length(0)),
        bins(arguments.integer(7)),
        width(arguments.integer(9)),
        plane(arguments.integer(8) * width),
        from(arguments.number(10)),
        to(arguments.number(11)),
        duration(to - from) {}

  int64_t pixel(int64_t i) const { return rows[y[i]] * width + columns[x[i]]; }
  double since(int64_t i) const { return std::max(0.0, std::min(duration, tUs[i] - from)); }
  int64_t bin(int64_t i) const {
    if (tUs[i] >= to) return bins - 1;
    return tUs[i] > from ? static_cast<int64_t>(bins * (tUs[i] - from) / duration) : 0;
  }

  const double* tUs;
  const uint16_t* x;
  const uint16_t* y;
  const uint8_t* polarity;
  const int32_t* rows;
  const int32_t* columns;
  int64_t count, bins, width, plane;
  double from, to, duration;
};

enum Kind { histogram, spikes, voxel, signedFrame, binary };

template <Kind kind>
void add(const Events& events, float* out) {
  for (int64_t i = 0; i < events.count; i++) {
    const double sign = events.polarity[i] == 1 ? 1 : -1;
    float* cell = out + events.pixel(i);
    if (kind == voxel) {
      const double position =
          events.duration > 0 ? (events.bins - 1) * events.since(i) / events.duration : 0;
      const int64_t lower = static_cast<int64_t>(position);
      const double share = position - static_cast<double>(lower);
      cell += lower * events.plane;
      cell[0] = static_cast<float>(cell[0] + sign * (1 - share));
      if (share > 0) cell[events.plane] = static_cast<float>(cell[events.plane] + sign * share);
      continue;
    }
    const int64_t bin = events.bin(i);
    if (kind == histogram || kind == spikes) cell += (2 * bin + events.polarity[i]) * events.plane;
    else cell += bin * events.plane;
    if (kind == histogram) *cell += 1.0f;
    else if (kind == signedFrame) *cell += static_cast<float>(sign);
    else *cell = 1.0f;
  }
}

}  // namespace

/// binEvents(tUs, x, y, polarity, rows, columns, out, bins, height, width, fromUs, toUs, kind) adds to out;
/// kind is the place in `eventRepresentations`. Coordinates lie within rows and columns.
SACCADE_KERNEL(binEvents) {
  const Events events(arguments);
  float* out = arguments.floats(6);
  switch (arguments.integer(12)) {
    case histogram: return add<histogram>(events, out);
    case spikes: return add<spikes>(events, out);
    case voxel: return add<voxel>(events, out);
    case signedFrame: return add<signedFrame>(events, out);
    default: return add<binary>(events, out);
  }
}

/// raiseToLatest(tUs, x, y, polarity, rows, columns, latest, bins, height, width, fromUs, toUs)
SACCADE_KERNEL(raiseToLatest) {
  const Events events(arguments);
  double* latest = arguments.doubles(6);
  for (int64_t i = 0; i < events.count; i++) {
    double* cell =
        latest + (2 * events.bin(i) + events.polarity[i]) * events.plane + events.pixel(i);
    *cell = std::max(*cell, events.since(i));
  }
}

/// decaySince(out, latest, endUs, tauUs)
SACCADE_KERNEL(decaySince) {
  float* out = arguments.floats(0);
  const double* latest = arguments.doubles(1);
  const double end = arguments.number(2), tau = arguments.number(3);
  const int64_t length = arguments.length(0);
  for (int64_t i = 0; i < length; i++) {
    out[i] = std::exp(static_cast<float>((latest[i] - end) / tau));
  }
}

/// soundEvents(tUs, x, y, polarity, flag, width, height): flag becomes 1 where all events are, otherwise 0.
SACCADE_KERNEL(soundEvents) {
  const double* tUs = arguments.doubles(0);
  const uint16_t* x = arguments.shorts(1);
  const uint16_t* y = arguments.shorts(2);
  const uint8_t* polarity = arguments.bytes(3);
  const int64_t count = arguments.length(0);
  uint16_t greatestX = 0, greatestY = 0;
  uint8_t greatestPolarity = 0;
  int64_t unsound = 0;
  for (int64_t i = 0; i < count; i++) {
    greatestX = std::max(greatestX, x[i]);
    greatestY = std::max(greatestY, y[i]);
    greatestPolarity = std::max(greatestPolarity, polarity[i]);
    unsound += tUs[i] - tUs[i] != 0;
  }
  const bool inside = count == 0 || (greatestX < arguments.integer(5) &&
                                     greatestY < arguments.integer(6) && greatestPolarity <= 1);
  arguments.ints(4)[0] = inside && unsound == 0 ? 1 : 0;
}
