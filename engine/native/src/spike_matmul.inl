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
constexpr int64_t spikeRows = 1024;
static_assert(gemmDepth % spikeInputs == 0, "sums end where blocks do");

/// What fired in one block of one row: places `first` … `first + count - 1` of the lists.
struct SpikeSegment {
  int32_t row, first, count;
};

/// Rows of a chunk as lists of what fired.
struct SpikeLists {
  /// Weight rows in their block; the values beside them.
  int32_t* places;
  float* values;
  /// `[blocks, rows]`, by count in each block: loops of equal length follow each other, whose ends a
  /// processor foresees.
  SpikeSegment* segments;
  /// How many fired in each block.
  int32_t* fired;
};

template <bool binary>
static inline SpikeLists listRows(const SpikeMatMulCall& call, int64_t start, int64_t rows) {
  const int64_t blocks = (call.inputs + spikeInputs - 1) / spikeInputs;
  SpikeLists lists;
  lists.places = reinterpret_cast<int32_t*>(scratch(0, rows * call.inputs));
  lists.values = scratch(1, binary ? 0 : rows * call.inputs);
  lists.segments = reinterpret_cast<SpikeSegment*>(scratch(2, 3 * blocks * rows));
  lists.fired = reinterpret_cast<int32_t*>(scratch(3, blocks));
  SpikeSegment* found = reinterpret_cast<SpikeSegment*>(scratch(6, 3 * blocks * rows));
  int64_t end = 0;
  for (int64_t r = 0; r < rows; r++) {
    const float* x = call.x + (start + r) * call.inputs;
    for (int64_t block = 0; block < blocks; block++) {
      const int64_t from = block * spikeInputs;
      int32_t* places = lists.places + end;
      const int64_t count = listSpikes(x + from, std::min(spikeInputs, call.inputs - from), places);
      if (!binary) {
        for (int64_t i = 0; i < count; i++) lists.values[end + i] = x[from + places[i]];
      }
      found[block * rows + r] = {static_cast<int32_t>(r), static_cast<int32_t>(end),
                                 static_cast<int32_t>(count)};
      end += count;
    }
  }
  for (int64_t block = 0; block < blocks; block++) {
    // Where segments of each count begin: a counting sort.
    int32_t at[spikeInputs + 2] = {};
    const SpikeSegment* segments = found + block * rows;
    for (int64_t r = 0; r < rows; r++) at[segments[r].count + 1]++;
    lists.fired[block] = 0;
    for (int64_t count = 0; count <= spikeInputs; count++) {
      lists.fired[block] += static_cast<int32_t>(count) * at[count + 1];
      at[count + 1] += at[count];
    }
    for (int64_t r = 0; r < rows; r++) {
      lists.segments[block * rows + at[segments[r].count]++] = segments[r];
    }
  }
  return lists;
}

/// Weights of a block, and where the sums of a chunk's rows come from and go to.
struct SpikeBlock {
  const float* weights;
  int64_t stride;
  /// Those of the next block, which are fetched meanwhile; null after the last.
  const float *next;
  int64_t nextStride;
  /// Sums between blocks and those of the terms before, `[rows, spikeOutputs]`.
  float *sums, *before;
  /// Where `outputs` of them end up, after the last term.
  float* y;
  int64_t outputs, rowStride;
  /// Whether sums begin here, end here, are added to those before, and are the whole product then; and whether
  /// that is stored past the caches.
  bool begins, ends, adds, last, past;
};

template <bool binary>
static SACCADE_INLINE void addSegment(const SpikeBlock& block, const int32_t* places, const float* values,
                                      int64_t i, Vec* sum) {
  const float* row = block.weights + places[i] * block.stride;
  const float factor = binary ? 1.0f : values[i];
#pragma GCC unroll 4
  for (int64_t g = 0; g < 4; g++) {
    const Vec v = load(row + g * width);
    sum[g] = binary ? sum[g] + v : sum[g] + factor * v;
  }
}

/// `R` rows side by side, 1 or 2: their sums don't wait for each other.
template <bool binary, int R>
static SACCADE_INLINE void addSegments(const SpikeBlock& block, const SpikeLists& lists,
                                       const SpikeSegment* segments) {
  Vec sum[R][4];
  const int32_t* places[R];
  const float* values[R];
#pragma GCC unroll 2
  for (int r = 0; r < R; r++) {
    const float* before = block.sums + segments[r].row * spikeOutputs;
#pragma GCC unroll 4
    for (int64_t g = 0; g < 4; g++) sum[r][g] = block.begins ? Vec{} : load(before + g * width);
    places[r] = lists.places + segments[r].first;
    values[r] = lists.values + segments[r].first;
  }
  // The second row has as many as the first, or more.
  const int64_t common = segments[0].count;
  for (int64_t i = 0; i < common; i++) {
#pragma GCC unroll 2
    for (int r = 0; r < R; r++) addSegment<binary>(block, places[r], values[r], i, sum[r]);
  }
  for (int64_t i = common; i < segments[R - 1].count; i++) {
    addSegment<binary>(block, places[R - 1], values[R - 1], i, sum[R - 1]);
  }
#pragma GCC unroll 2
  for (int r = 0; r < R; r++) {
    const int64_t at = segments[r].row * spikeOutputs;
    if (block.adds) {
#pragma GCC unroll 4
      for (int64_t g = 0; g < 4; g++) sum[r][g] = load(block.before + at + g * width) + sum[r][g];
    }
    if (!block.last) {
      float* after = (block.ends ? block.before : block.sums) + at;
#pragma GCC unroll 4
      for (int64_t g = 0; g < 4; g++) store(after + g * width, sum[r][g]);
      continue;
    }
    float* y = block.y + segments[r].row * block.rowStride;
#pragma GCC unroll 4
    for (int64_t g = 0; g < 4; g++) {
      const int64_t left = block.outputs - g * width;
      if (left >= width && block.past) stream(y + g * width, sum[r][g]);
      else if (left >= width) store(y + g * width, sum[r][g]);
      else if (left > 0) storePart(y + g * width, sum[r][g], left);
    }
  }
}

template <bool binary>
static inline void addBlock(const SpikeBlock& block, const SpikeLists& lists,
                            const SpikeSegment* segments, int64_t rows) {
  int64_t r = 0;
  for (; r + 2 <= rows; r += 2) {
    // A cache line holds 16 values, a block 128 · spikeOutputs: a few lines beside each pair of rows.
    if (block.next != nullptr) {
      constexpr int64_t lines = spikeOutputs / 16;
      for (int64_t i = r * spikeInputs * lines / rows; i < (r + 2) * spikeInputs * lines / rows; i++) {
        __builtin_prefetch(block.next + i / lines * block.nextStride + i % lines * 16, 0, 2);
      }
    }
    addSegments<binary, 2>(block, lists, segments + r);
  }
  if (r < rows) addSegments<binary, 1>(block, lists, segments + r);
}

template <bool binary>
static void spikeMatMulRows(const SpikeMatMulCall& call, int64_t begin, int64_t end) {
  const int64_t blocks = (call.inputs + spikeInputs - 1) / spikeInputs;
  float* weights = scratch(4, spikeInputs * spikeOutputs);
  float* sums = scratch(5, spikeRows * spikeOutputs);
  float* before = scratch(7, call.inputs > gemmDepth ? spikeRows * spikeOutputs : 0);
  // Results that caches can't hold are not read first.
  const bool past = call.rows * call.outputs > (int64_t{1} << 20);
  for (int64_t start = begin; start < end; start += spikeRows) {
    const int64_t rows = std::min(spikeRows, end - start);
    const SpikeLists lists = listRows<binary>(call, start, rows);
    for (int64_t o = 0; o < call.outputs; o += spikeOutputs) {
      const int64_t n = std::min(spikeOutputs, call.outputs - o);
      const bool whole = n == spikeOutputs;
      if (!whole) memset(weights, 0, spikeInputs * spikeOutputs * sizeof(float));
      for (int64_t b = 0; b < blocks; b++) {
        const int64_t from = b * spikeInputs;
        const int64_t inputs = std::min(spikeInputs, call.inputs - from);
        SpikeBlock block{};
        block.last = b + 1 == blocks;
        block.begins = from % gemmDepth == 0;
        block.ends = block.last || (from + spikeInputs) % gemmDepth == 0;
        block.adds = block.ends && from >= gemmDepth;
        const int64_t fired = lists.fired[b];
        if (fired == 0 && !block.begins && !block.ends) continue;
        const float* there = call.weight + from * call.outputs + o;
        const bool inPlace = whole && fired < 2 * inputs;
        for (int64_t i = 0; i < inputs && !inPlace; i++) {
          memcpy(weights + i * spikeOutputs, there + i * call.outputs, n * sizeof(float));
        }
        block.weights = inPlace ? there : weights;
        block.stride = inPlace ? call.outputs : spikeOutputs;
        const bool fetches = whole && from + 2 * spikeInputs <= call.inputs && fired >= 2 * inputs;
        block.next = fetches ? there + spikeInputs * call.outputs : nullptr;
        block.nextStride = call.outputs;
        block.sums = sums;
        block.before = before;
        block.y = call.y + start * call.outputs + o;
        block.outputs = n;
        block.rowStride = call.outputs;
        block.past = past;
        addBlock<binary>(block, lists, lists.segments + b * rows, rows);
      }
    }
  }
  if (past) endStreaming();
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
