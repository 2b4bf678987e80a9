static void countNonZero(const float* x, int64_t n, float* counts) {
  IVec some{}, other{};
  int64_t i = 0;
  for (; i + width <= n; i += width) {
    const Vec v = load(x + i);
    const IVec fired = v != Vec{};
    some = some - fired;
    other = other - (fired & (v != splat(1.0f)));
  }
  int64_t nonZero = 0, notOne = 0;
  for (int64_t lane = 0; lane < width; lane++) {
    nonZero += some[lane];
    notOne += other[lane];
  }
  for (; i < n; i++) {
    nonZero += x[i] != 0;
    notOne += x[i] != 0 && x[i] != 1;
  }
  counts[0] = static_cast<float>(nonZero);
  counts[1] = static_cast<float>(notOne);
}

/// Places of the values that are not 0; room for n + width of them.
static SACCADE_INLINE int64_t listSpikes(const float* x, int64_t n, int32_t* places) {
  int64_t count = 0, i = 0;
#if SIMD_AVX512
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  for (; i + width <= n; i += width) {
    const __mmask16 fired =
        _mm512_cmp_ps_mask(_mm512_loadu_ps(x + i), _mm512_setzero_ps(), _CMP_NEQ_UQ);
    const __m512i at = _mm512_add_epi32(lanes, _mm512_set1_epi32(static_cast<int>(i)));
    _mm512_storeu_si512(places + count, _mm512_maskz_compress_epi32(fired, at));
    count += __builtin_popcount(fired);
  }
#endif
  for (; i < n; i++) {
    places[count] = static_cast<int32_t>(i);
    count += x[i] != 0;
  }
  return count;
}

/// Outputs whose sums stay in registers while weight rows are added.
constexpr int64_t spikeVectors = SIMD_WIDTH == 16 ? 8 : 4;
constexpr int64_t spikeTile = spikeVectors * width;

/// sum[g] += Σ x[place] · weight[place], over one tile of outputs; x is 1 where binary.
template <bool binary>
static SACCADE_INLINE void addSpikes(Vec* sum, const float* x, const int32_t* places, int64_t count,
                                     const float* weight, int64_t outputs) {
  for (int64_t i = 0; i < count; i++) {
    const float* row = weight + places[i] * outputs;
    const float factor = binary ? 1.0f : x[places[i]];
#pragma GCC unroll 8
    for (int64_t g = 0; g < spikeVectors; g++) {
      sum[g] = binary ? sum[g] + load(row + g * width) : sum[g] + factor * load(row + g * width);
    }
  }
}

/// The same for the outputs that are left beside the whole tiles, one vector at a time.
template <bool binary>
static SACCADE_INLINE Vec addSpikesPart(Vec sum, const float* x, const int32_t* places, int64_t count,
                                        const float* weight, int64_t outputs, int64_t lanes) {
  for (int64_t i = 0; i < count; i++) {
    const float* row = weight + places[i] * outputs;
    const Vec v = lanes == width ? load(row) : loadPart(row, lanes);
    sum = binary ? sum + v : sum + x[places[i]] * v;
  }
  return sum;
}

// A product goes block by block: a block of weights is copied together, so that it lies in the first-level
// cache, and all rows of a chunk add theirs of it to their sums. Blocks of which few weights are needed are
// read where they are. Sums have the order of the dense product: the same to the last bit, wherever weights
// are finite.
constexpr int64_t spikeInputs = 128;
constexpr int64_t spikeOutputs = 4 * width;
constexpr int64_t spikeRows = 512;

/// Rows of a chunk as lists of what fired, cut by blocks of inputs.
struct SpikeLists {
  int64_t blocks, room;
  /// Weight rows in their block; the values beside them.
  int32_t* places;
  float* values;
  /// Where block b of row r ends: ends[r · (blocks + 1) + b + 1]; it starts where the one before ended.
  int32_t* ends;
};

template <bool binary>
static inline SpikeLists listRows(const SpikeMatMulCall& call, int64_t start, int64_t rows) {
  SpikeLists lists;
  lists.blocks = (call.inputs + spikeInputs - 1) / spikeInputs;
  lists.room = call.inputs + 16;
  lists.places = reinterpret_cast<int32_t*>(scratch(0, spikeRows * lists.room));
  lists.ends = reinterpret_cast<int32_t*>(scratch(1, spikeRows * (lists.blocks + 1)));
  lists.values = scratch(2, binary ? 0 : spikeRows * lists.room);
  for (int64_t r = 0; r < rows; r++) {
    const float* x = call.x + (start + r) * call.inputs;
    int32_t* places = lists.places + r * lists.room;
    int32_t* ends = lists.ends + r * (lists.blocks + 1);
    int64_t count = ends[0] = 0;
    for (int64_t block = 0; block < lists.blocks; block++) {
      const int64_t from = block * spikeInputs;
      const int64_t more =
          listSpikes(x + from, std::min(spikeInputs, call.inputs - from), places + count);
      if (!binary) {
        for (int64_t i = count; i < count + more; i++) {
          lists.values[r * lists.room + i] = x[from + places[i]];
        }
      }
      count += more;
      ends[block + 1] = static_cast<int32_t>(count);
    }
  }
  return lists;
}

template <bool binary>
static void spikeMatMulRows(const SpikeMatMulCall& call, int64_t begin, int64_t end) {
  float* weights = scratch(3, spikeInputs * spikeOutputs);
  float* sums = scratch(4, spikeRows * spikeOutputs);
  float* before = scratch(5, call.inputs > gemmDepth ? spikeRows * spikeOutputs : 0);
  for (int64_t start = begin; start < end; start += spikeRows) {
    const int64_t rows = std::min(spikeRows, end - start);
    const SpikeLists lists = listRows<binary>(call, start, rows);
    for (int64_t o = 0; o < call.outputs; o += spikeOutputs) {
      const int64_t n = std::min(spikeOutputs, call.outputs - o);
      const int64_t size = rows * spikeOutputs;
      memset(sums, 0, size * sizeof(float));
      if (n < spikeOutputs) memset(weights, 0, spikeInputs * spikeOutputs * sizeof(float));
      for (int64_t block = 0; block < lists.blocks; block++) {
        const int64_t from = block * spikeInputs;
        const int64_t inputs = std::min(spikeInputs, call.inputs - from);
        if (from > 0 && from % gemmDepth == 0) {
          const bool first = from == gemmDepth;
          for (int64_t i = 0; i < size; i += width) {
            store(before + i, first ? load(sums + i) : load(before + i) + load(sums + i));
            store(sums + i, Vec{});
          }
        }
        int64_t fired = 0;
        for (int64_t r = 0; r < rows; r++) {
          const int32_t* ends = lists.ends + r * (lists.blocks + 1) + block;
          fired += ends[1] - ends[0];
        }
        if (fired == 0) continue;
        const bool inPlace = n == spikeOutputs && fired < 2 * inputs;
        const float* blockWeights = inPlace ? call.weight + from * call.outputs + o : weights;
        const int64_t stride = inPlace ? call.outputs : spikeOutputs;
        for (int64_t i = 0; i < inputs && !inPlace; i++) {
          memcpy(weights + i * spikeOutputs, call.weight + (from + i) * call.outputs + o,
                 n * sizeof(float));
        }
        for (int64_t r = 0; r < rows; r++) {
          const int32_t* ends = lists.ends + r * (lists.blocks + 1) + block;
          if (ends[0] == ends[1]) continue;
          const int32_t* places = lists.places + r * lists.room;
          const float* values = lists.values + r * lists.room;
          float* sum = sums + r * spikeOutputs;
          Vec part[4] = {load(sum), load(sum + width), load(sum + 2 * width), load(sum + 3 * width)};
          for (int64_t i = ends[0]; i < ends[1]; i++) {
            const float* row = blockWeights + places[i] * stride;
            const float factor = binary ? 1.0f : values[i];
#pragma GCC unroll 4
            for (int64_t g = 0; g < 4; g++) {
              const Vec v = load(row + g * width);
              part[g] = binary ? part[g] + v : part[g] + factor * v;
            }
          }
#pragma GCC unroll 4
          for (int64_t g = 0; g < 4; g++) store(sum + g * width, part[g]);
        }
      }
      for (int64_t i = 0; i < size && call.inputs > gemmDepth; i += width) {
        store(sums + i, load(before + i) + load(sums + i));
      }
      for (int64_t r = 0; r < rows; r++) {
        memcpy(call.y + (start + r) * call.outputs + o, sums + r * spikeOutputs, n * sizeof(float));
      }
    }
  }
}

template <bool binary>
static void spikeConvolutionRows(const SpikeConvolutionCall& call, int64_t begin, int64_t end) {
  const int64_t room = call.inputs + 16;
  int32_t* lists = reinterpret_cast<int32_t*>(scratch(0, call.size * call.width * room));
  int32_t* counts = reinterpret_cast<int32_t*>(scratch(1, call.size * call.width));
  for (int64_t r = begin; r < end; r++) {
    const int64_t b = r / call.outHeight, top = r % call.outHeight * call.stride - call.top;
    const float* x = call.x + b * call.height * call.width * call.inputs;
    const int64_t firstTap = std::max<int64_t>(0, -top);
    const int64_t endTap = std::min(call.size, call.height - top);
    for (int64_t ky = firstTap; ky < endTap; ky++) {
      for (int64_t column = 0; column < call.width; column++) {
        const int64_t at = ky * call.width + column;
        counts[at] = static_cast<int32_t>(
            listSpikes(x + ((top + ky) * call.width + column) * call.inputs, call.inputs,
                       lists + at * room));
      }
    }
    // Calls f(input pixel, its list, weights) for every tap of one output pixel.
    const auto overTaps = [&](int64_t outColumn, auto&& f) {
      const int64_t left = outColumn * call.stride - call.left;
      const int64_t first = std::max<int64_t>(0, -left);
      const int64_t stop = std::min(call.size, call.width - left);
      for (int64_t ky = firstTap; ky < endTap; ky++) {
        for (int64_t kx = first; kx < stop; kx++) {
          f(x + ((top + ky) * call.width + left + kx) * call.inputs, ky * call.width + left + kx,
            call.weight + (ky * call.size + kx) * call.inputs * call.outputs);
        }
      }
    };
    for (int64_t o = 0; o < call.outputs; o += spikeTile) {
      const int64_t n = std::min(spikeTile, call.outputs - o);
      for (int64_t column = 0; column < call.outWidth; column++) {
        float* y = call.y + (r * call.outWidth + column) * call.outputs + o;
        if (n == spikeTile) {
          Vec sum[spikeVectors] = {};
          overTaps(column, [&](const float* pixel, int64_t list, const float* weight) {
            addSpikes<binary>(sum, pixel, lists + list * room, counts[list], weight + o, call.outputs);
          });
#pragma GCC unroll 8
          for (int64_t g = 0; g < spikeVectors; g++) store(y + g * width, sum[g]);
          continue;
        }
        for (int64_t i = 0; i < n; i += width) {
          const int64_t lanes = std::min(width, n - i);
          Vec sum{};
          overTaps(column, [&](const float* pixel, int64_t list, const float* weight) {
            sum = addSpikesPart<binary>(sum, pixel, lists + list * room, counts[list],
                                        weight + o + i, call.outputs, lanes);
          });
          if (lanes == width) store(y + i, sum);
          else storePart(y + i, sum, lanes);
        }
      }
    }
  }
}
