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
  /// From the definition: slow, for the division.
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

/// The bins of events that follow one another: most are well within the bin of the one before.
class Bins {
 public:
  explicit Bins(const Events& events)
      : events_(events),
        width_(events.duration / static_cast<double>(events.bins)),
        // Far more than all rounding.
        margin_(1 + 4e-15 * (std::fabs(events.from) + std::fabs(events.to))) {}

  int64_t of(int64_t i) {
    const double time = events_.tUs[i];
    if (__builtin_expect(!(time > first_ && time < last_), 0)) {
      bin_ = events_.bin(i);
      first_ = events_.from + static_cast<double>(bin_) * width_ + margin_;
      last_ = events_.from + static_cast<double>(bin_ + 1) * width_ - margin_;
    }
    return bin_;
  }

 private:
  const Events& events_;
  const double width_, margin_;
  /// Times between these are in the bin.
  double first_ = 0, last_ = 0;
  int64_t bin_ = 0;
};

enum Kind { histogram, spikes, voxel, signedFrame, binary };

/// Adds ±1, spread over the two nearest planes. First what a block of events adds and where, without branches and in
/// vectors, then the additions.
void addVoxels(const Events& events, float* out) {
  constexpr int64_t block = 256;
  double nearer[block], farther[block];
  int64_t cells[block];
  for (int64_t start = 0; start < events.count; start += block) {
    const int64_t count = std::min(block, events.count - start);
    for (int64_t i = 0; i < count; i++) {
      const double scaled = static_cast<double>(events.bins - 1) * events.since(start + i);
      const double position = events.duration > 0 ? scaled / events.duration : 0;
      const int32_t lower = static_cast<int32_t>(position);
      const double share = position - lower;
      const double sign = events.polarity[start + i] == 1 ? 1 : -1;
      nearer[i] = sign * (1 - share);
      farther[i] = sign * share;
      cells[i] = lower;
    }
    for (int64_t i = 0; i < count; i++) {
      float* cell = out + cells[i] * events.plane + events.pixel(start + i);
      cell[0] = static_cast<float>(cell[0] + nearer[i]);
      // Nothing is behind the last plane.
      if (farther[i] != 0) {
        cell[events.plane] = static_cast<float>(cell[events.plane] + farther[i]);
      }
    }
  }
}

template <Kind kind, class Value>
void add(const Events& events, Value* out) {
  Bins bins(events);
  for (int64_t i = 0; i < events.count; i++) {
    const double sign = events.polarity[i] == 1 ? 1 : -1;
    Value* cell = out + events.pixel(i);
    const int64_t bin = bins.of(i);
    if (kind == histogram || kind == spikes) cell += (2 * bin + events.polarity[i]) * events.plane;
    else cell += bin * events.plane;
    if (kind == histogram) *cell = static_cast<Value>(*cell + (sizeof(Value) > 1 || *cell < 255));
    else if (kind == signedFrame) *cell = static_cast<Value>(*cell + sign);
    else *cell = 1;
  }
}

}  // namespace

/// binEvents(tUs, x, y, polarity, rows, columns, out, bins, height, width, fromUs, toUs, kind, bytes) adds to out;
/// kind is the place in `eventRepresentations`, `bytes` says what out is. Coordinates lie within rows and columns.
SACCADE_KERNEL(binEvents) {
  const Events events(arguments);
  if (arguments.flag(13)) {
    uint8_t* out = arguments.bytes(6);
    switch (arguments.integer(12)) {
      case histogram: return add<histogram>(events, out);
      case spikes: return add<spikes>(events, out);
      default: return add<binary>(events, out);
    }
  }
  float* out = arguments.floats(6);
  switch (arguments.integer(12)) {
    case histogram: return add<histogram>(events, out);
    case spikes: return add<spikes>(events, out);
    case voxel: return addVoxels(events, out);
    case signedFrame: return add<signedFrame>(events, out);
    default: return add<binary>(events, out);
  }
}

/// raiseToLatest(tUs, x, y, polarity, rows, columns, latest, bins, height, width, fromUs, toUs)
SACCADE_KERNEL(raiseToLatest) {
  const Events events(arguments);
  Bins bins(events);
  double* latest = arguments.doubles(6);
  for (int64_t i = 0; i < events.count; i++) {
    double* cell = latest + (2 * bins.of(i) + events.polarity[i]) * events.plane + events.pixel(i);
    *cell = std::max(*cell, events.since(i));
  }
}
