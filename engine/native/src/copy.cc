// Moves values between layouts: transpose, slice, concat, pad, tile, reverse and gather.
#include <cstring>

#include "parallel.h"
#include "registry.h"

namespace saccade {
namespace {

struct Axis {
  int64_t extent, from, to;
};

/// One row of 4-byte values.
void copyRow(uint32_t* y, const uint32_t* x, int64_t n, int64_t from, int64_t to) {
  if (from == 1 && to == 1) {
    memcpy(y, x, static_cast<size_t>(n) * 4);
  } else if (from == 0 && to == 1) {
    const uint32_t value = *x;
    for (int64_t i = 0; i < n; i++) y[i] = value;
  } else {
    for (int64_t i = 0; i < n; i++) y[i * to] = x[i * from];
  }
}

/// The two inner axes, in squares that stay in the nearest cache.
void copyPlane(uint32_t* y, const uint32_t* x, const Axis& outer, const Axis& inner) {
  constexpr int64_t square = 16;
  if (outer.from != 1 || inner.from == 1 || inner.from == 0) {
    for (int64_t i = 0; i < outer.extent; i++) {
      copyRow(y + i * outer.to, x + i * outer.from, inner.extent, inner.from, inner.to);
    }
    return;
  }
  for (int64_t j0 = 0; j0 < inner.extent; j0 += square) {
    const int64_t j1 = std::min(inner.extent, j0 + square);
    for (int64_t i0 = 0; i0 < outer.extent; i0 += square) {
      const int64_t i1 = std::min(outer.extent, i0 + square);
      for (int64_t i = i0; i < i1; i++) {
        uint32_t* row = y + i * outer.to;
        const uint32_t* source = x + i;
        for (int64_t j = j0; j < j1; j++) row[j * inner.to] = source[j * inner.from];
      }
    }
  }
}

}  // namespace
}  // namespace saccade

/// copy(x, y, dims, rank, xOffset, yOffset, ints): `dims` holds (extent, stride of x, stride of y) per
/// axis, the one that is innermost in y last. Values are int32 where `ints`, otherwise float32.
SACCADE_KERNEL(copy) {
  using saccade::Axis;
  const bool ints = arguments.flag(6);
  const auto* x = ints ? reinterpret_cast<const uint32_t*>(arguments.ints(0))
                       : reinterpret_cast<const uint32_t*>(arguments.floats(0));
  auto* y = ints ? reinterpret_cast<uint32_t*>(arguments.ints(1))
                 : reinterpret_cast<uint32_t*>(arguments.floats(1));
  x += arguments.integer(4);
  y += arguments.integer(5);
  const int32_t* dims = arguments.ints(2);
  const int64_t rank = arguments.integer(3);
  const auto axis = [=](int64_t d) { return Axis{dims[3 * d], dims[3 * d + 1], dims[3 * d + 2]}; };
  if (rank == 1) {
    const Axis only = axis(0);
    saccade::parallelFor(only.extent, 32768, [=](int64_t begin, int64_t end) {
      saccade::copyRow(y + begin * only.to, x + begin * only.from, end - begin, only.from, only.to);
    });
    return;
  }
  // The axis that is innermost in x, if it isn't in y, comes next to last: both move by squares.
  int64_t order[16];
  for (int64_t d = 0; d < rank; d++) order[d] = d;
  for (int64_t d = 0; d + 2 < rank; d++) {
    if (axis(d).from == 1 && axis(rank - 1).from != 1) std::swap(order[d], order[rank - 2]);
  }
  const Axis outer = axis(order[rank - 2]), inner = axis(rank - 1);
  int64_t count = 1;
  for (int64_t d = 0; d + 2 < rank; d++) count *= axis(order[d]).extent;
  const auto offsets = [&](int64_t index, int64_t& from, int64_t& to) {
    from = to = 0;
    for (int64_t d = rank - 3; d >= 0; d--) {
      const Axis a = axis(order[d]);
      from += index % a.extent * a.from;
      to += index % a.extent * a.to;
      index /= a.extent;
    }
  };
  // Few large planes are cut along their outer axis.
  const int64_t parts = count >= 2 * saccade::threadCount() ? 1 : std::min<int64_t>(outer.extent, 8);
  const int64_t work = outer.extent * inner.extent / parts;
  saccade::parallelFor(count * parts, 32768 / (work + 16) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      int64_t from, to;
      offsets(i / parts, from, to);
      const int64_t first = i % parts * outer.extent / parts;
      const Axis part{(i % parts + 1) * outer.extent / parts - first, outer.from, outer.to};
      saccade::copyPlane(y + to + first * outer.to, x + from + first * outer.from, part, inner);
    }
  });
}

/// fill(y, value)
SACCADE_KERNEL(fill) {
  float* y = arguments.floats(0);
  const float value = static_cast<float>(arguments.number(1));
  saccade::parallelFor(arguments.length(0), 65536, [=](int64_t begin, int64_t end) {
    std::fill(y + begin, y + end, value);
  });
}

/// fillInts(y, value)
SACCADE_KERNEL(fillInts) {
  int32_t* y = arguments.ints(0);
  std::fill(y, y + arguments.length(0), static_cast<int32_t>(arguments.number(1)));
}

/// gather(x, indices, y, batches, outer, extent, inner, ints): y[b, o, i, :] = x[b, o, indices[b, i], :]
SACCADE_KERNEL(gather) {
  const bool ints = arguments.flag(7);
  const auto* x = ints ? reinterpret_cast<const uint32_t*>(arguments.ints(0))
                       : reinterpret_cast<const uint32_t*>(arguments.floats(0));
  auto* y = ints ? reinterpret_cast<uint32_t*>(arguments.ints(2))
                 : reinterpret_cast<uint32_t*>(arguments.floats(2));
  const int32_t* indices = arguments.ints(1);
  const int64_t batches = arguments.integer(3), outer = arguments.integer(4),
                extent = arguments.integer(5), inner = arguments.integer(6);
  const int64_t count = batches == 0 ? 0 : arguments.length(1) / batches;
  saccade::parallelFor(batches * outer * count, 32768 / (inner + 16) + 1,
                       [=](int64_t begin, int64_t end) {
                         for (int64_t row = begin; row < end; row++) {
                           const int64_t b = row / (outer * count);
                           const int64_t from = row / count * extent + indices[b * count + row % count];
                           memcpy(y + row * inner, x + from * inner, static_cast<size_t>(inner) * 4);
                         }
                       });
}

/// segmentSum(x, segments, y, inner): y[segments[i], :] += x[i, :]; y comes cleared; negative ids are
/// dropped. One thread: rows may meet.
SACCADE_KERNEL(segmentSum) {
  const float* x = arguments.floats(0);
  const int32_t* segments = arguments.ints(1);
  float* y = arguments.floats(2);
  const int64_t inner = arguments.integer(3);
  const int64_t count = arguments.length(1);
  const int64_t limit = inner == 0 ? 0 : arguments.length(2) / inner;
  for (int64_t i = 0; i < count; i++) {
    const int64_t segment = segments[i];
    if (segment < 0 || segment >= limit) continue;
    float* to = y + segment * inner;
    const float* from = x + i * inner;
    for (int64_t j = 0; j < inner; j++) to[j] += from[j];
  }
}
