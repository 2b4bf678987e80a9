// Channels in tiles of four vectors whose sums stay in registers while the taps are added.
constexpr int64_t depthwiseVectors = 4;
constexpr int64_t depthwiseTile = depthwiseVectors * width;

/// out[column] = start + Σ taps of one row of pixels. `flip` runs the kernel backwards, as the gradient
/// with respect to the input does; `start` may be null.
template <bool flip>
static inline void depthwiseRow(const DepthwiseCall& call, const float* x, const float* start,
                                float* out, int64_t frame, int64_t row) {
  const int64_t margin = (call.size - 1) / 2;
  const int64_t firstTap = std::max<int64_t>(0, margin - row);
  const int64_t endTap = std::min(call.size, call.height - row + margin);
  for (int64_t c = 0; c < call.channels; c += depthwiseTile) {
    const int64_t n = call.channels - c;
    for (int64_t column = 0; column < call.columns; column++) {
      const int64_t left = std::max<int64_t>(0, margin - column);
      const int64_t right = std::min(call.size, call.columns - column + margin);
      float* to = out + call.at(frame, row, column) + c;
      if (n >= depthwiseTile) {
        Vec sum[depthwiseVectors];
#pragma GCC unroll 4
        for (int64_t g = 0; g < depthwiseVectors; g++) {
          sum[g] = start == nullptr ? Vec{} : load(start + c + g * width);
        }
        for (int64_t ky = firstTap; ky < endTap; ky++) {
          for (int64_t kx = left; kx < right; kx++) {
            const float* from = x + call.at(frame, row + ky - margin, column + kx - margin) + c;
            const int64_t tap = ky * call.size + kx;
            const float* weight =
                call.weight + (flip ? call.size * call.size - 1 - tap : tap) * call.channels + c;
#pragma GCC unroll 4
            for (int64_t g = 0; g < depthwiseVectors; g++) {
              sum[g] = sum[g] + load(weight + g * width) * load(from + g * width);
            }
          }
        }
#pragma GCC unroll 4
        for (int64_t g = 0; g < depthwiseVectors; g++) store(to + g * width, sum[g]);
        continue;
      }
      for (int64_t i = 0; i < n; i += width) {
        const int64_t part = std::min(width, n - i);
        Vec sum = start == nullptr ? Vec{} : loadPart(start + c + i, part);
        if (part == width && start != nullptr) sum = load(start + c + i);
        for (int64_t ky = firstTap; ky < endTap; ky++) {
          for (int64_t kx = left; kx < right; kx++) {
            const float* from = x + call.at(frame, row + ky - margin, column + kx - margin) + c + i;
            const int64_t tap = ky * call.size + kx;
            const float* weight =
                call.weight + (flip ? call.size * call.size - 1 - tap : tap) * call.channels + c + i;
            sum = sum + (part == width ? load(weight) * load(from)
                                       : loadPart(weight, part) * loadPart(from, part));
          }
        }
        if (part == width) store(to + i, sum);
        else storePart(to + i, sum, part);
      }
    }
  }
}

static void depthwiseSameForward(const DepthwiseCall& call, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; r++) {
    depthwiseRow<false>(call, call.x, call.bias, call.y, r / call.height, r % call.height);
  }
}

/// Gradients of the weights of one row of pixels, added to `partial`.
static inline void depthwiseWeights(const DepthwiseCall& call, float* partial, int64_t frame,
                                    int64_t row) {
  const int64_t margin = (call.size - 1) / 2;
  float* dBias = partial + call.size * call.size * call.channels;
  for (int64_t c = 0; c < call.channels; c += width) {
    const int64_t part = std::min(width, call.channels - c);
    const auto at = [&](const float* p) { return part == width ? load(p) : loadPart(p, part); };
    const auto add = [&](float* p, Vec v) {
      if (part == width) store(p, load(p) + v);
      else storePart(p, loadPart(p, part) + v, part);
    };
    for (int64_t ky = 0; ky < call.size; ky++) {
      const int64_t source = row + ky - margin;
      if (source < 0 || source >= call.height) continue;
      for (int64_t kx = 0; kx < call.size; kx++) {
        const int64_t from = std::max<int64_t>(0, margin - kx);
        const int64_t to = std::min(call.columns, call.columns + margin - kx);
        const float* dY = call.dY + call.at(frame, row, from) + c;
        const float* x = call.x + call.at(frame, source, from + kx - margin) + c;
        Vec sum{}, other{};
        int64_t column = from;
        for (; column + 2 <= to; column += 2, dY += 2 * call.channels, x += 2 * call.channels) {
          sum = sum + at(dY) * at(x);
          other = other + at(dY + call.channels) * at(x + call.channels);
        }
        if (column < to) sum = sum + at(dY) * at(x);
        add(partial + (ky * call.size + kx) * call.channels + c, sum + other);
      }
    }
    Vec sum{};
    const float* dY = call.dY + call.at(frame, row, 0) + c;
    for (int64_t column = 0; column < call.columns; column++, dY += call.channels) sum = sum + at(dY);
    add(dBias + c, sum);
  }
}

static void depthwiseSameBackward(const DepthwiseCall& call, int64_t begin, int64_t end) {
  const int64_t size = (call.size * call.size + 1) * call.channels;
  for (int64_t piece = begin; piece < end; piece++) {
    float* partial = call.partial + piece * size;
    memset(partial, 0, size * sizeof(float));
    const int64_t stop = (piece + 1) * call.rows() / call.pieces;
    for (int64_t r = piece * call.rows() / call.pieces; r < stop; r++) {
      const int64_t frame = r / call.height, row = r % call.height;
      depthwiseRow<true>(call, call.dY, nullptr, call.dX, frame, row);
      depthwiseWeights(call, partial, frame, row);
    }
  }
}
