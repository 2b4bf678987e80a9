constexpr int64_t tileRows = SIMD_WIDTH == 16 ? 14 : 6;
constexpr int64_t tileColumns = 2 * width;
constexpr int64_t blockTiles = 16;
constexpr int64_t blockPanels = 4096 / tileColumns;
constexpr int64_t directTiles = 72 / tileRows;

/// One tile of C: R rows of V vectors. `a` is packed, rows of `b` are `ldb` apart.
template <int R, int V>
static void tile(int64_t kc, const float* a, const float* b, int64_t ldb, float* c, int64_t ldc,
                 int64_t columns, bool add) {
  // Rows of C lie on different pages: fetched while the sums are formed.
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) __builtin_prefetch(c + r * ldc + v * width, 1);
  }
  Vec sum[R][V] = {};
  for (int64_t k = 0; k < kc; k++) {
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

typedef void (*Tile)(int64_t, const float*, const float*, int64_t, float*, int64_t, int64_t, bool);

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
    for (int64_t k = 0; k < kc; k++, from += elementStride, to += tile) {
      int64_t i = 0;
      for (; i < count; i++) to[i] = from[i];
      for (; i < tile; i++) to[i] = 0;
    }
    return;
  }
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
};

static void gemmRange(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, float* c,
                      int64_t ldc, bool add, const TileRange& range) {
  static thread_local ThreadMemory memoryA, memoryB;
  // Few rows do not earn the packing of B; its rows are read where they are.
  const bool direct = b.pack == packMatrix && b.lineStride == 1 &&
                      range.lastTile - range.firstTile <= directTiles;
  for (int64_t panel = range.firstPanel; panel < range.lastPanel; panel += blockPanels) {
    const int64_t lastPanel = std::min(range.lastPanel, panel + blockPanels);
    for (int64_t pc = 0; pc < k || pc == 0; pc += gemmDepth) {
      const int64_t kc = std::min(gemmDepth, k - pc);
      const bool more = add || pc > 0;
      float* packedB = memoryB.floats((lastPanel - panel) * kc * tileColumns);
      const auto inPlace = [&](int64_t p) { return direct && (p + 1) * tileColumns <= n; };
      for (int64_t p = panel; p < lastPanel; p++) {
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
          for (int64_t t = tile; t < lastTile; t++) {
            const int64_t row = t * tileRows;
            tileFor(std::min(tileRows, m - row), columns > width)(
                kc, packedA + (t - tile) * tileRows * kc, right, ldb, c + row * ldc + column, ldc,
                columns, more);
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
  const auto compute = [&](int64_t part) {
    const int64_t row = part / columnParts, column = part % columnParts;
    gemmRange(m, n, k, a, b, c, ldc, add,
              {row * tiles / rowParts, (row + 1) * tiles / rowParts, column * panels / columnParts,
               (column + 1) * panels / columnParts});
  };
  const int64_t parts = rowParts * columnParts;
  parallelChunks(parts, parts, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; part++) compute(part);
  });
}
