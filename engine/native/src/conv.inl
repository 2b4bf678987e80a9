// Convolution without unfolding: tiles of output pixels read the inputs under their taps where they are.

constexpr int64_t tilePixels = SIMD_WIDTH == 16 ? 14 : 6;
constexpr int64_t tileChannels = 2 * width;

/// R pixels times V vectors of output channels. `inputs` holds R addresses per tap (zeros where the tap
/// meets nothing), `live` whether any of them is there; `filter` is packed.
template <int R, int V>
static void convolveTile(const float* const* inputs, const uint8_t* live, int64_t taps,
                         int64_t channels, const float* filter, float* const* outputs,
                         int64_t column, int64_t columns) {
  Vec sum[R][V] = {};
  for (int64_t tap = 0; tap < taps; tap++, inputs += R) {
    if (!live[tap]) {
      filter += channels * tileChannels;
      continue;
    }
#pragma GCC unroll 2
    for (int64_t c = 0; c < channels; c++, filter += tileChannels) {
      Vec right[V];
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) right[v] = load(filter + v * width);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        const Vec left = splat(inputs[r][c]);
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) sum[r][v] += left * right[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) {
      float* at = outputs[r] + column + v * width;
      const int64_t left = columns - v * width;
      if (left >= width) store(at, sum[r][v]);
      else if (left > 0) storePart(at, sum[r][v], left);
    }
  }
}

typedef void (*ConvolveTile)(const float* const*, const uint8_t*, int64_t, int64_t, const float*,
                             float* const*, int64_t, int64_t);

static ConvolveTile convolveTileFor(int64_t rows, bool wide) {
#define SACCADE_TILE(R) {convolveTile<R, 1>, convolveTile<R, 2>}
  static const ConvolveTile tiles[][2] = {
      SACCADE_TILE(1),  SACCADE_TILE(2),  SACCADE_TILE(3),  SACCADE_TILE(4),  SACCADE_TILE(5),
      SACCADE_TILE(6),
#if SIMD_WIDTH == 16
      SACCADE_TILE(7),  SACCADE_TILE(8),  SACCADE_TILE(9),  SACCADE_TILE(10), SACCADE_TILE(11),
      SACCADE_TILE(12), SACCADE_TILE(13), SACCADE_TILE(14),
#endif
  };
#undef SACCADE_TILE
  return tiles[rows - 1][wide];
}

/// filter[element, outChannels] in panels of `tileChannels` columns, padded with zeros.
static void packFilter(float* to, const float* filter, int64_t elements, int64_t outChannels) {
  for (int64_t column = 0; column < outChannels; column += tileChannels) {
    const int64_t count = outChannels - column < tileChannels ? outChannels - column : tileChannels;
    for (int64_t e = 0; e < elements; e++, to += tileChannels) {
      int64_t i = 0;
      for (; i < count; i++) to[i] = filter[e * outChannels + column + i];
      for (; i < tileChannels; i++) to[i] = 0;
    }
  }
}

/// The filter of the convolution that gives the inputs' gradient: [tap, outChannels, inChannels].
static void turnFilter(float* to, const float* filter, int64_t taps, int64_t inChannels,
                       int64_t outChannels) {
  for (int64_t tap = 0; tap < taps; tap++) {
    for (int64_t o = 0; o < outChannels; o++) {
      for (int64_t i = 0; i < inChannels; i++) *to++ = filter[(tap * inChannels + i) * outChannels + o];
    }
  }
}

/// Where the pixels of a tile come from and go to.
struct Walk {
  const Window& w;
  /// Whether pixels are inputs that gather from outputs (gradient), rather than the reverse.
  bool turned;
  /// Taps along the width are one, `size[2] · channels` values in a row.
  bool merged;
};

/// Pixels `first` … `first + count - 1` of one image, in an order in which neighbours meet the same taps:
/// (z, y, phase of x, x). Fills the addresses of one tile.
static void addresses(const Walk& walk, const float* image, const float* zeros, float* target,
                      int64_t first, int64_t count, const float** inputs, uint8_t* live,
                      float** outputs) {
  const Window& w = walk.w;
  const int64_t channels = walk.turned ? w.outChannels : w.inChannels;
  const int64_t outChannels = walk.turned ? w.inChannels : w.outChannels;
  const int64_t* extent = walk.turned ? w.in : w.out;
  const int64_t* from = walk.turned ? w.out : w.in;
  const int64_t columns = walk.merged ? 1 : w.size[2];
  for (int64_t tap = 0; tap < w.size[0] * w.size[1] * columns; tap++) live[tap] = 0;
  for (int64_t i = 0; i < count; i++) {
    const int64_t row = (first + i) / extent[2];
    int64_t place[3] = {row / extent[1], row % extent[1], (first + i) % extent[2]};
    if (walk.turned && w.stride[2] > 1) {
      // Position in the phase-major order → x.
      int64_t rest = place[2], phase = 0;
      for (;; phase++) {
        const int64_t length = (extent[2] - phase + w.stride[2] - 1) / w.stride[2];
        if (rest < length) break;
        rest -= length;
      }
      place[2] = phase + rest * w.stride[2];
    }
    outputs[i] = target + ((place[0] * extent[1] + place[1]) * extent[2] + place[2]) * outChannels;
    const auto source = [&](int axis, int64_t tap) -> int64_t {
      int64_t at;
      if (walk.turned) {
        at = place[axis] + w.pad[axis] - tap * w.dilation[axis];
        if (at < 0 || at % w.stride[axis] != 0) return -1;
        at /= w.stride[axis];
      } else {
        at = place[axis] * w.stride[axis] - w.pad[axis] + tap * w.dilation[axis];
      }
      return at >= 0 && at < from[axis] ? at : -1;
    };
    const float** entry = inputs + i;
    uint8_t* any = live;
    for (int64_t kz = 0; kz < w.size[0]; kz++) {
      const int64_t z = source(0, kz);
      for (int64_t ky = 0; ky < w.size[1]; ky++) {
        const int64_t y = z < 0 ? -1 : source(1, ky);
        for (int64_t kx = 0; kx < columns; kx++, entry += count, any++) {
          const int64_t x = y < 0 ? -1 : source(2, kx);
          if (x < 0) {
            *entry = zeros;
          } else {
            *entry = image + ((z * from[1] + y) * from[2] + x) * channels;
            *any = 1;
          }
        }
      }
    }
  }
}

/// One range of the tiles of all images. `memory` has room for taps · tilePixels addresses and taps flags.
static void convolveTiles(const Walk& walk, const float* x, const float* packed, const float* zeros,
                          float* y, int64_t begin, int64_t end, const float** inputs,
                          uint8_t* live) {
  const Window& w = walk.w;
  const int64_t columns = walk.merged ? 1 : w.size[2];
  const int64_t taps = w.size[0] * w.size[1] * columns;
  const int64_t channels = walk.turned ? w.outChannels : w.inChannels;
  const int64_t inner = walk.merged ? w.size[2] * channels : channels;
  const int64_t outChannels = walk.turned ? w.inChannels : w.outChannels;
  const int64_t pixels = walk.turned ? w.inPixels() : w.outPixels();
  const int64_t sourcePixels = walk.turned ? w.outPixels() : w.inPixels();
  const int64_t tiles = (pixels + tilePixels - 1) / tilePixels;
  float* outputs[tilePixels];
  for (int64_t t = begin; t < end; t++) {
    const int64_t image = t / tiles, first = t % tiles * tilePixels;
    const int64_t count = pixels - first < tilePixels ? pixels - first : tilePixels;
    addresses(walk, x + image * sourcePixels * channels, zeros, y + image * pixels * outChannels,
              first, count, inputs, live, outputs);
    for (int64_t column = 0; column < outChannels; column += tileChannels) {
      const int64_t left = outChannels - column;
      convolveTileFor(count, left > width)(inputs, live, taps, inner,
                                           packed + column * taps * inner, outputs, column, left);
    }
  }
}

/// Sums of products over runs of pixels: R input channels times V vectors of output channels.
struct Run {
  const float* x;
  const float* dy;
  int64_t count;
};
template <int R, int V>
static void gradientTile(const Run* runs, int64_t runCount, int64_t xStride, int64_t dyStride,
                         float* c, int64_t ldc, int64_t columns, bool add) {
  Vec sum[R][V] = {};
  const bool part = columns < V * width;
  for (int64_t i = 0; i < runCount; i++) {
    const float* x = runs[i].x;
    const float* dy = runs[i].dy;
    for (int64_t k = 0; k < runs[i].count; k++, x += xStride, dy += dyStride) {
      Vec right[V];
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) {
        right[v] = part && v == V - 1 ? loadPart(dy + v * width, columns - v * width)
                                      : load(dy + v * width);
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        const Vec left = splat(x[r]);
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) sum[r][v] += left * right[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) {
      float* at = c + r * ldc + v * width;
      const int64_t left = columns - v * width;
      if (left >= width) store(at, add ? sum[r][v] + load(at) : sum[r][v]);
      else if (left > 0) storePart(at, add ? sum[r][v] + loadPart(at, left) : sum[r][v], left);
    }
  }
}

typedef void (*GradientTile)(const Run*, int64_t, int64_t, int64_t, float*, int64_t, int64_t, bool);

static GradientTile gradientTileFor(int64_t rows, bool wide) {
#define SACCADE_TILE(R) {gradientTile<R, 1>, gradientTile<R, 2>}
  static const GradientTile tiles[][2] = {
      SACCADE_TILE(1),  SACCADE_TILE(2),  SACCADE_TILE(3),  SACCADE_TILE(4),  SACCADE_TILE(5),
      SACCADE_TILE(6),
#if SIMD_WIDTH == 16
      SACCADE_TILE(7),  SACCADE_TILE(8),  SACCADE_TILE(9),  SACCADE_TILE(10), SACCADE_TILE(11),
      SACCADE_TILE(12), SACCADE_TILE(13), SACCADE_TILE(14),
#endif
  };
#undef SACCADE_TILE
  return tiles[rows - 1][wide];
}

/// Gradient of the filter for the blocks `begin` … `end - 1` of (tap, input channels, output channels).
/// Pixels are walked in pieces whose inputs and gradients stay in the second-level cache.
static void filterGradient(const Window& w, const float* x, const float* dy, float* dw,
                           int64_t begin, int64_t end, Run* runs) {
  const int64_t rows = (w.inChannels + tilePixels - 1) / tilePixels;
  const int64_t panels = (w.outChannels + tileChannels - 1) / tileChannels;
  const int64_t lines = w.batch * w.out[0] * w.out[1];
  int64_t piece = 98304 / (w.out[2] * (w.inChannels * w.stride[2] + w.outChannels) + 1) + 1;
  if (piece > 256) piece = 256;
  for (int64_t line0 = 0; line0 < lines; line0 += piece) {
    const int64_t line1 = line0 + piece < lines ? line0 + piece : lines;
    for (int64_t block = begin; block < end; block++) {
      const int64_t tap = block / (rows * panels);
      const int64_t row = block / panels % rows * tilePixels, column = block % panels * tileChannels;
      const int64_t kz = tap / (w.size[1] * w.size[2]), ky = tap / w.size[2] % w.size[1],
                    kx = tap % w.size[2];
      const int64_t count = w.inChannels - row < tilePixels ? w.inChannels - row : tilePixels;
      const int64_t columns =
          w.outChannels - column < tileChannels ? w.outChannels - column : tileChannels;
      int64_t first, last;
      outputsOf(w, 2, kx, first, last);
      int64_t runCount = 0;
      for (int64_t line = line0; line < line1 && last > first; line++) {
        const int64_t oy = line % w.out[1], oz = line / w.out[1] % w.out[0];
        const int64_t image = line / (w.out[1] * w.out[0]);
        const int64_t iz = oz * w.stride[0] - w.pad[0] + kz * w.dilation[0];
        const int64_t iy = oy * w.stride[1] - w.pad[1] + ky * w.dilation[1];
        if (iz < 0 || iz >= w.in[0] || iy < 0 || iy >= w.in[1]) continue;
        const int64_t ix = first * w.stride[2] - w.pad[2] + kx * w.dilation[2];
        runs[runCount++] = {
            x + (((image * w.in[0] + iz) * w.in[1] + iy) * w.in[2] + ix) * w.inChannels + row,
            dy + (line * w.out[2] + first) * w.outChannels + column, last - first};
      }
      gradientTileFor(count, columns > width)(
          runs, runCount, w.stride[2] * w.inChannels, w.outChannels,
          dw + (tap * w.inChannels + row) * w.outChannels + column, w.outChannels, columns,
          line0 > 0);
    }
  }
}

static int64_t tilesOf(const Walk& walk) {
  const int64_t pixels = walk.turned ? walk.w.inPixels() : walk.w.outPixels();
  return walk.w.batch * ((pixels + tilePixels - 1) / tilePixels);
}
static int64_t packedSize(int64_t elements, int64_t outChannels) {
  return elements * ((outChannels + tileChannels - 1) / tileChannels * tileChannels);
}

/// Convolution (or the inputs' gradient of one), all threads.
static void convolve(const Window& w, const float* x, const float* filter, float* y, bool turned) {
  static thread_local ThreadMemory packedMemory, turnedMemory, zeroMemory;
  const int64_t channels = turned ? w.outChannels : w.inChannels;
  const int64_t outChannels = turned ? w.inChannels : w.outChannels;
  bool merged = !turned && w.dilation[2] == 1 && w.pad[2] == 0 &&
                (w.out[2] - 1) * w.stride[2] + w.size[2] <= w.in[2];
  const Walk walk{w, turned, merged};
  const int64_t elements = w.taps() * channels;
  if (turned) {
    float* other = turnedMemory.floats(elements * outChannels);
    turnFilter(other, filter, w.taps(), w.inChannels, w.outChannels);
    filter = other;
  }
  float* packed = packedMemory.floats(packedSize(elements, outChannels));
  packFilter(packed, filter, elements, outChannels);
  const int64_t inner = (merged ? w.size[2] : 1) * channels;
  float* zeros = zeroMemory.floats(inner + 1);
  for (int64_t i = 0; i < inner; i++) zeros[i] = 0;
  const int64_t taps = w.size[0] * w.size[1] * (merged ? 1 : w.size[2]);
  const int64_t work = elements * outChannels * tilePixels;
  const int64_t tiles = tilesOf(walk);
  parallelFor(tiles, 400000 / (work + 1) + 1, [=, &walk](int64_t begin, int64_t end) {
    static thread_local ThreadMemory ownMemory;
    // Addresses first, then the flags.
    const int64_t count = taps * tilePixels;
    float* room = ownMemory.floats(count * 2 + taps / 4 + 2);
    convolveTiles(walk, x, packed, zeros, y, begin, end, (const float**)room,
                  (uint8_t*)(room + count * 2));
  });
}

static void convolveFilterGradient(const Window& w, const float* x, const float* dy, float* dw) {
  const int64_t rows = (w.inChannels + tilePixels - 1) / tilePixels;
  const int64_t panels = (w.outChannels + tileChannels - 1) / tileChannels;
  const int64_t work = w.batch * w.outPixels() * tilePixels * tileChannels;
  parallelFor(w.taps() * rows * panels, 400000 / (work + 1) + 1, [=](int64_t begin, int64_t end) {
    Run runs[256];
    filterGradient(w, x, dy, dw, begin, end, runs);
  });
}

// Depthwise convolution: y[pixel, c] = Σ over taps of x[pixel + tap, c] · filter[tap, c].

/// One image row of outputs (or of inputs' gradients, where `turned`).
static void depthwiseRow(const Window& w, const float* image, const float* filter, float* y,
                         int64_t row, bool turned) {
  const int64_t n = w.inChannels;
  const int64_t* extent = turned ? w.in : w.out;
  const int64_t* from = turned ? w.out : w.in;
  const int64_t stride = w.stride[2];
  for (int64_t i = 0; i < extent[2] * n; i++) y[i] = 0;
  for (int64_t ky = 0; ky < w.size[1]; ky++) {
    int64_t sourceRow;
    if (turned) {
      sourceRow = row + w.pad[1] - ky * w.dilation[1];
      if (sourceRow < 0 || sourceRow % w.stride[1] != 0) continue;
      sourceRow /= w.stride[1];
    } else {
      sourceRow = row * w.stride[1] - w.pad[1] + ky * w.dilation[1];
    }
    if (sourceRow < 0 || sourceRow >= from[1]) continue;
    const float* line = image + sourceRow * from[2] * n;
    for (int64_t kx = 0; kx < w.size[2]; kx++) {
      int64_t begin, end;
      outputsOf(w, 2, kx, begin, end);
      const int64_t shift = kx * w.dilation[2] - w.pad[2];
      const float* weights = filter + (ky * w.size[2] + kx) * n;
      for (int64_t o = begin; o < end; o++) {
        const int64_t i = o * stride + shift;
        const float* a = line + (turned ? o : i) * n;
        float* b = y + (turned ? i : o) * n;
        int64_t c = 0;
        for (; c + width <= n; c += width) store(b + c, load(b + c) + load(a + c) * load(weights + c));
        for (; c < n; c++) b[c] += a[c] * weights[c];
      }
    }
  }
}

/// Filter gradient of the channels `first` … `first + count - 1` (at most a vector), one image.
static void depthwiseGradient(const Window& w, const float* x, const float* dy, float* dw,
                              int64_t first, int64_t count) {
  const int64_t n = w.inChannels;
  for (int64_t ky = 0; ky < w.size[1]; ky++) {
    int64_t top, bottom;
    outputsOf(w, 1, ky, top, bottom);
    for (int64_t kx = 0; kx < w.size[2]; kx++) {
      int64_t begin, end;
      outputsOf(w, 2, kx, begin, end);
      Vec sum = {}, other = {};
      for (int64_t oy = top; oy < bottom; oy++) {
        const int64_t iy = oy * w.stride[1] - w.pad[1] + ky * w.dilation[1];
        const int64_t ix = begin * w.stride[2] - w.pad[2] + kx * w.dilation[2];
        const float* a = x + (iy * w.in[2] + ix) * n + first;
        const float* b = dy + (oy * w.out[2] + begin) * n + first;
        const int64_t step = w.stride[2] * n;
        int64_t left = end - begin;
        if (count == width) {
          for (; left >= 2; left -= 2, a += 2 * step, b += 2 * n) {
            sum += load(a) * load(b);
            other += load(a + step) * load(b + n);
          }
          if (left > 0) sum += load(a) * load(b);
        } else {
          for (; left > 0; left--, a += step, b += n) sum += loadPart(a, count) * loadPart(b, count);
        }
      }
      float* to = dw + (ky * w.size[2] + kx) * n + first;
      sum += other;
      if (count == width) store(to, sum);
      else storePart(to, sum, count);
    }
  }
}
constexpr int64_t depthwiseChannels = width;

// Pooling.

/// Outputs `begin` … `end - 1` of all images; the average is over the inputs that are there.
static void poolPixels(const Window& w, const float* x, float* y, int64_t begin, int64_t end,
                       bool average) {
  const int64_t n = w.inChannels, pixels = w.outPixels();
  for (int64_t p = begin; p < end; p++) {
    const float* image = x + p / pixels * w.inPixels() * n;
    const int64_t at[3] = {p % pixels / (w.out[1] * w.out[2]), p % pixels / w.out[2] % w.out[1],
                           p % w.out[2]};
    for (int64_t c = 0; c < n; c += width) {
      const int64_t left = n - c < width ? n - c : width;
      Vec best = average ? Vec{} : splat(-__builtin_inff());
      int64_t count = 0;
      for (int64_t kz = 0; kz < w.size[0]; kz++) {
        const int64_t z = at[0] * w.stride[0] - w.pad[0] + kz * w.dilation[0];
        if (z < 0 || z >= w.in[0]) continue;
        for (int64_t ky = 0; ky < w.size[1]; ky++) {
          const int64_t row = at[1] * w.stride[1] - w.pad[1] + ky * w.dilation[1];
          if (row < 0 || row >= w.in[1]) continue;
          for (int64_t kx = 0; kx < w.size[2]; kx++) {
            const int64_t column = at[2] * w.stride[2] - w.pad[2] + kx * w.dilation[2];
            if (column < 0 || column >= w.in[2]) continue;
            const float* from = image + ((z * w.in[1] + row) * w.in[2] + column) * n + c;
            const Vec v = left == width ? load(from) : loadPart(from, left);
            best = average ? best + v : select(v > best, v, best);
            count++;
          }
        }
      }
      if (average) best = best / splat((float)(count > 0 ? count : 1));
      if (left == width) store(y + p * n + c, best);
      else storePart(y + p * n + c, best, left);
    }
  }
}

/// Gradient of pooling for the images and channels of one block; dx comes cleared. The maximum's goes to
/// the first input that has it, the average's to all under the window in equal shares of its size.
static void poolGradient(const Window& w, const float* x, const float* dy, float* dx, int64_t image,
                         int64_t c, bool average) {
  const int64_t n = w.inChannels;
  const int64_t left = n - c < width ? n - c : width;
  const float* inputs = x + image * w.inPixels() * n + c;
  float* gradients = dx + image * w.inPixels() * n + c;
  const float* dys = dy + image * w.outPixels() * n + c;
  const Vec share = splat(1.0f / (float)w.taps());
  const auto forEachTap = [&](int64_t z0, int64_t y0, int64_t x0, auto visit) {
    int32_t tap = 0;
    for (int64_t kz = 0; kz < w.size[0]; kz++) {
      const int64_t z = z0 * w.stride[0] - w.pad[0] + kz * w.dilation[0];
      for (int64_t ky = 0; ky < w.size[1]; ky++) {
        const int64_t row = y0 * w.stride[1] - w.pad[1] + ky * w.dilation[1];
        for (int64_t kx = 0; kx < w.size[2]; kx++, tap++) {
          const int64_t column = x0 * w.stride[2] - w.pad[2] + kx * w.dilation[2];
          if (z < 0 || z >= w.in[0] || row < 0 || row >= w.in[1] || column < 0 || column >= w.in[2]) {
            continue;
          }
          visit(((z * w.in[1] + row) * w.in[2] + column) * n, tap);
        }
      }
    }
  };
  for (int64_t z = 0; z < w.out[0]; z++) {
    for (int64_t row = 0; row < w.out[1]; row++) {
      for (int64_t column = 0; column < w.out[2]; column++, dys += n) {
        const Vec d = left == width ? load(dys) : loadPart(dys, left);
        const auto add = [&](int64_t offset, Vec value) {
          float* to = gradients + offset;
          if (left == width) store(to, load(to) + value);
          else storePart(to, loadPart(to, left) + value, left);
        };
        if (average) {
          const Vec value = d * share;
          forEachTap(z, row, column, [&](int64_t offset, int32_t) { add(offset, value); });
          continue;
        }
        Vec best = splat(-__builtin_inff());
        IVec place = IVec{} - 1;
        forEachTap(z, row, column, [&](int64_t offset, int32_t tap) {
          const Vec v = left == width ? load(inputs + offset) : loadPart(inputs + offset, left);
          const IVec more = v > best;
          best = select(more, v, best);
          place = more ? IVec{} + tap : place;
        });
        forEachTap(z, row, column, [&](int64_t offset, int32_t tap) {
          add(offset, select(place == tap, d, Vec{}));
        });
      }
    }
  }
}
constexpr int64_t poolChannels = width;
