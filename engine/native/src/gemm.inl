constexpr int64_t tileRows = SIMD_WIDTH == 16 ? 14 : 6;
constexpr int64_t tileColumns = 2 * width;
constexpr int64_t blockTiles = 16;
constexpr int64_t blockPanels = 4096 / tileColumns;
constexpr int64_t directTiles = 72 / tileRows;

/// What is fetched while a tile is computed, a line with each of its terms: the same where `stride` is 0.
struct Ahead {
  const float* from;
  int64_t stride;
};

/// One tile of C: R rows of V vectors. `a` is packed, rows of `b` are `ldb` apart.
template <int R, int V>
static void tile(int64_t kc, const float* a, const float* b, int64_t ldb, float* c, int64_t ldc,
                 int64_t columns, bool add, Ahead ahead) {
  // Rows of C lie on different pages: fetched while the sums are formed.
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) __builtin_prefetch(c + r * ldc + v * width, 1);
  }
  Vec sum[R][V] = {};
  for (int64_t k = 0; k < kc; k++) {
    __builtin_prefetch(ahead.from, 0, 2);
    ahead.from += ahead.stride;
    Vec right[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) right[v] = load(b + v * width);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const Vec left = splat(a[r]);
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) sum[r][v] += left * right[v];
    }
    a += tileRows;
    b += ldb;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    float* row = c + r * ldc;
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) {
      const int64_t left = columns - v * width;
      float* at = row + v * width;
      if (left >= width) {
        store(at, add ? sum[r][v] + load(at) : sum[r][v]);
      } else if (left > 0) {
        storePart(at, add ? sum[r][v] + loadPart(at, left) : sum[r][v], left);
      }
    }
  }
}

typedef void (*Tile)(int64_t, const float*, const float*, int64_t, float*, int64_t, int64_t, bool,
                     Ahead);

static Tile tileFor(int64_t rows, bool wide) {
#define SACCADE_TILE(R) {tile<R, 1>, tile<R, 2>}
  static const Tile tiles[][2] = {
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

#if SIMD_AVX512
/// Rows of sixteen become columns.
static SACCADE_INLINE void transposeSixteen(__m512* v) {
  // Masks of ones: GCC takes the plain forms for uninitialised (its bug 105593).
  constexpr __mmask16 all = (__mmask16)-1;
  __m512 t[16];
  // Pairs of rows, pairs of pairs, and then quarters of vectors.
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_maskz_unpacklo_ps(all, v[i], v[i + 1]);
    t[i + 1] = _mm512_maskz_unpackhi_ps(all, v[i], v[i + 1]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 4) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      const __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
      v[i + 2 * j] = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd((__mmask8)-1, a, b));
      v[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd((__mmask8)-1, a, b));
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 8) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      t[i + j] = _mm512_maskz_shuffle_f32x4(all, v[i + j], v[i + j + 4], 0x88);
      t[i + j + 4] = _mm512_maskz_shuffle_f32x4(all, v[i + j], v[i + j + 4], 0xdd);
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < 8; j++) {
    v[j] = _mm512_maskz_shuffle_f32x4(all, t[j], t[j + 8], 0x88);
    v[j + 8] = _mm512_maskz_shuffle_f32x4(all, t[j], t[j + 8], 0xdd);
  }
}

static SACCADE_INLINE __mmask16 firstLanes(int64_t count) {
  return (__mmask16)((1u << std::max<int64_t>(0, std::min<int64_t>(16, count))) - 1);
}

/// Up to sixteen lines of `kc` elements that lie together, to lines `0` … `lines - 1` of a tile.
static inline void packLines(const float* from, int64_t lineStride, int64_t count, int64_t lines, int64_t kc,
                             int64_t tile, float* to) {
  const __mmask16 written = firstLanes(lines);
  for (int64_t k = 0; k < kc; k += 16) {
    const int64_t left = std::min<int64_t>(16, kc - k);
    const __mmask16 read = firstLanes(left);
    __m512 v[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      v[i] = i < count ? _mm512_maskz_loadu_ps(read, from + i * lineStride + k) : _mm512_setzero_ps();
    }
    transposeSixteen(v);
    float* at = to + k * tile;
    if (left == 16) {
#pragma GCC unroll 16
      for (int e = 0; e < 16; e++) _mm512_mask_storeu_ps(at + e * tile, written, v[e]);
    } else {
      for (int64_t e = 0; e < left; e++) _mm512_mask_storeu_ps(at + e * tile, written, v[e]);
    }
  }
}
#endif

static void packMatrix(const Factor& factor, int64_t first, int64_t count, int64_t k0, int64_t kc,
                       int64_t tile, float* to) {
  const int64_t lineStride = factor.lineStride, elementStride = factor.elementStride;
  const float* from = factor.data + first * lineStride + k0 * elementStride;
  if (lineStride == 1) {
    if (count == tile && tile == tileColumns) {
      for (int64_t k = 0; k < kc; k++, from += elementStride, to += tileColumns) {
        store(to, load(from));
        store(to + width, load(from + width));
      }
      return;
    }
#if SIMD_AVX512
    for (int64_t line = 0; line < tile; line += 16) {
      const __mmask16 read = firstLanes(count - line), written = firstLanes(tile - line);
      const float* at = from + line;
      for (int64_t k = 0; k < kc; k++, at += elementStride) {
        _mm512_mask_storeu_ps(to + k * tile + line, written, _mm512_maskz_loadu_ps(read, at));
      }
    }
    return;
#endif
    for (int64_t k = 0; k < kc; k++, from += elementStride, to += tile) {
      int64_t i = 0;
      for (; i < count; i++) to[i] = from[i];
      for (; i < tile; i++) to[i] = 0;
    }
    return;
  }
#if SIMD_AVX512
  if (elementStride == 1) {
    for (int64_t line = 0; line < tile; line += 16) {
      packLines(from + line * lineStride, lineStride, std::max<int64_t>(0, count - line),
                std::min<int64_t>(16, tile - line), kc, tile, to + line);
    }
    return;
  }
#endif
  // A few elements of every line at a time, so that the writes stay in the nearest cache.
  constexpr int64_t step = 32;
  for (int64_t k = 0; k < kc; k += step) {
    const int64_t end = k + step < kc ? k + step : kc;
    for (int64_t i = 0; i < count; i++) {
      const float* line = from + i * lineStride;
      for (int64_t e = k; e < end; e++) to[e * tile + i] = line[e * elementStride];
    }
    for (int64_t i = count; i < tile; i++) {
      for (int64_t e = k; e < end; e++) to[e * tile + i] = 0;
    }
  }
}

/// Tiles of C, counted in rows `[firstTile, lastTile)` and in panels of columns `[firstPanel, lastPanel)`.
struct TileRange {
  int64_t firstTile, lastTile, firstPanel, lastPanel;
  /// Few rows do not earn the packing of B: its rows are read where they are.
  bool direct;
  /// The product that this is a part of.
  uint64_t product;
};

static std::atomic<uint64_t> products{0};

static void gemmRange(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, float* c,
                      int64_t ldc, bool add, const TileRange& range) {
  static thread_local ThreadMemory memoryA, memoryB;
  // What this thread packed last: its next part of the same product may need it again.
  static thread_local struct {
    uint64_t product;
    int64_t panel, pc;
  } packed;
  for (int64_t panel = range.firstPanel; panel < range.lastPanel; panel += blockPanels) {
    const int64_t lastPanel = std::min(range.lastPanel, panel + blockPanels);
    for (int64_t pc = 0; pc < k || pc == 0; pc += gemmDepth) {
      const int64_t kc = std::min(gemmDepth, k - pc);
      const bool more = add || pc > 0;
      float* packedB = memoryB.floats((lastPanel - panel) * kc * tileColumns);
      const auto inPlace = [&](int64_t p) { return range.direct && (p + 1) * tileColumns <= n; };
      const bool there =
          packed.product == range.product && packed.panel == panel && packed.pc == pc;
      packed = {range.product, panel, pc};
      for (int64_t p = panel; p < lastPanel && !there; p++) {
        if (inPlace(p)) continue;
        const int64_t first = p * tileColumns;
        b.pack(b, first, std::min(tileColumns, n - first), pc, kc, tileColumns,
               packedB + (p - panel) * kc * tileColumns);
      }
      for (int64_t tile = range.firstTile; tile < range.lastTile; tile += blockTiles) {
        const int64_t lastTile = std::min(range.lastTile, tile + blockTiles);
        float* packedA = memoryA.floats((lastTile - tile) * tileRows * kc);
        for (int64_t t = tile; t < lastTile; t++) {
          const int64_t row = t * tileRows;
          a.pack(a, row, std::min(tileRows, m - row), pc, kc, tileRows,
                 packedA + (t - tile) * tileRows * kc);
        }
        for (int64_t p = panel; p < lastPanel; p++) {
          const int64_t column = p * tileColumns;
          const int64_t columns = std::min(tileColumns, n - column);
          const float* right = inPlace(p) ? b.data + column + pc * b.elementStride
                                          : packedB + (p - panel) * kc * tileColumns;
          const int64_t ldb = inPlace(p) ? b.elementStride : tileColumns;
          // Rows of the panel that is read next lie too far apart for processors to foresee: their lines are
          // fetched tile by tile.
          const bool inRow = p + 1 < lastPanel;
          const float* following =
              b.data + (inRow ? column + tileColumns : panel * tileColumns) +
              (inRow ? pc : pc + kc) * b.elementStride;
          const bool follows = range.direct && (inRow || pc + kc < k);
          for (int64_t t = tile; t < lastTile; t++) {
            const int64_t row = t * tileRows;
            const int64_t line = (t - tile) * 16;
            const Ahead ahead = follows && line < tileColumns
                                    ? Ahead{following + line, b.elementStride}
                                    : Ahead{right, 0};
            tileFor(std::min(tileRows, m - row), columns > width)(
                kc, packedA + (t - tile) * tileRows * kc, right, ldb, c + row * ldc + column, ldc,
                columns, more, ahead);
          }
        }
      }
      if (k == 0) break;
    }
  }
}

/// Each thread computes a rectangle of C on its own, packing what it needs of A and B: the two may share no
/// cache, and fetching what the other packed costs more than to pack it again.
static void gemmBlocks(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, float* c,
                       int64_t ldc, bool add) {
  const int64_t tiles = (m + tileRows - 1) / tileRows;
  const int64_t panels = (n + tileColumns - 1) / tileColumns;
  const int64_t threads = static_cast<double>(m) * n * k < 200000 ? 1 : threadCount();
  // The grid of rectangles whose largest costs least; packing a row or column costs about as much as
  // multiplying it with 32 others.
  int64_t rowParts = 1, columnParts = 1;
  double least = std::numeric_limits<double>::infinity();
  for (int64_t parts = 1; parts <= std::min(threads, tiles); parts++) {
    const int64_t others = std::min(threads / parts, panels);
    const double rows = (tiles + parts - 1) / parts * tileRows;
    const double columns = (panels + others - 1) / others * tileColumns;
    const double cost = rows * columns + 32 * (rows + columns);
    if (cost >= least) continue;
    least = cost;
    rowParts = parts;
    columnParts = others;
  }
  const int64_t partTiles = (tiles + rowParts - 1) / rowParts;
  const int64_t partPanels = (panels + columnParts - 1) / columnParts;
  const bool direct = b.pack == packMatrix && b.lineStride == 1 && partTiles <= directTiles;
  // Where a thread needs one packing of B, its rows come in pieces: one that starts late is helped.
  const bool once = !direct && k <= gemmDepth && partPanels <= blockPanels;
  if (once && rowParts * columnParts > 1) {
    rowParts *= std::max<int64_t>(1, std::min<int64_t>(4, partTiles / 3));
  }
  const uint64_t product = ++products;
  const int64_t parts = rowParts * columnParts;
  parallelChunks(parts, parts, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; part++) {
      const int64_t row = part % rowParts, column = part / rowParts;
      gemmRange(m, n, k, a, b, c, ldc, add,
                {row * tiles / rowParts, (row + 1) * tiles / rowParts, column * panels / columnParts,
                 (column + 1) * panels / columnParts, direct, product});
    }
  });
}
