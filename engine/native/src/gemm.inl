constexpr int64_t tileRows = SIMD_WIDTH == 16 ? 14 : 6;
constexpr int64_t tileColumns = 2 * width;
constexpr int64_t depthBlock = 320;
constexpr int64_t rowBlock = (SIMD_WIDTH == 16 ? 16 : 24) * tileRows;
constexpr int64_t columnBlock = 4096;

/// One tile of C: R rows of V vectors. `a` is packed, rows of `b` are `ldb` apart.
template <int R, int V>
static void tile(int64_t kc, const float* a, const float* b, int64_t ldb, float* c, int64_t ldc,
                 int64_t columns, bool add) {
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

static void gemmBlocks(int64_t m, int64_t n, int64_t k, const Factor& a, const Factor& b, float* c,
                       int64_t ldc, bool add) {
  static thread_local ThreadMemory sharedMemory;
  // Few rows don't earn the packing of B; its rows are read where they are.
  const bool direct = b.pack == packMatrix && b.lineStride == 1 && m <= 2 * tileRows;
  const int64_t threads = threadCount();
  const bool small = static_cast<double>(m) * n * k < 200000;

  for (int64_t jc = 0; jc < n; jc += columnBlock) {
    const int64_t nc = n - jc < columnBlock ? n - jc : columnBlock;
    const int64_t panels = (nc + tileColumns - 1) / tileColumns;
    // Cut the rows so that every thread gets some, and no block outgrows the second-level cache.
    const int64_t rowTiles = (m + tileRows - 1) / tileRows;
    int64_t rowParts = (m + rowBlock - 1) / rowBlock;
    if (!small && threads > 1) {
      const int64_t balanced = (rowParts + threads - 1) / threads * threads;
      rowParts = balanced < rowTiles ? balanced : rowTiles;
    }
    int64_t columnParts = 1;
    if (!small && rowParts < threads) {
      columnParts = (threads + rowParts - 1) / rowParts;
      if (columnParts > panels) columnParts = panels;
    }
    const int64_t tasks = rowParts * columnParts;

    for (int64_t pc = 0; pc < k || pc == 0; pc += depthBlock) {
      const int64_t kc = k - pc < depthBlock ? k - pc : depthBlock;
      const bool more = add || pc > 0;
      const int64_t whole = direct ? nc / tileColumns : 0;
      float* packedB = nullptr;
      if (whole < panels) {
        packedB = sharedMemory.floats((panels - whole) * kc * tileColumns);
        const auto packPanels = [&](int64_t begin, int64_t end) {
          for (int64_t p = begin; p < end; p++) {
            const int64_t first = p * tileColumns;
            const int64_t count = nc - first < tileColumns ? nc - first : tileColumns;
            b.pack(b, jc + first, count, pc, kc, tileColumns,
                   packedB + (p - whole) * kc * tileColumns);
          }
        };
        if (small) packPanels(whole, panels);
        else {
          parallelFor(panels - whole, 65536 / (kc * tileColumns) + 1,
                      [&](int64_t begin, int64_t end) { packPanels(whole + begin, whole + end); });
        }
      }
      const auto multiply = [&](int64_t task) {
        static thread_local ThreadMemory ownMemory;
        const int64_t rowPart = task / columnParts, columnPart = task % columnParts;
        const int64_t firstTile = rowPart * rowTiles / rowParts;
        const int64_t lastTile = (rowPart + 1) * rowTiles / rowParts;
        const int64_t firstPanel = columnPart * panels / columnParts;
        const int64_t lastPanel = (columnPart + 1) * panels / columnParts;
        float* packedA = ownMemory.floats((lastTile - firstTile) * tileRows * kc);
        for (int64_t t = firstTile; t < lastTile; t++) {
          const int64_t row = t * tileRows;
          const int64_t rows = m - row < tileRows ? m - row : tileRows;
          a.pack(a, row, rows, pc, kc, tileRows, packedA + (t - firstTile) * tileRows * kc);
        }
        for (int64_t p = firstPanel; p < lastPanel; p++) {
          const int64_t column = p * tileColumns;
          const int64_t columns = nc - column < tileColumns ? nc - column : tileColumns;
          const bool inPlace = p < whole;
          const float* right = inPlace ? b.data + (jc + column) + pc * b.elementStride
                                       : packedB + (p - whole) * kc * tileColumns;
          const int64_t ldb = inPlace ? b.elementStride : tileColumns;
          for (int64_t t = firstTile; t < lastTile; t++) {
            const int64_t row = t * tileRows;
            const int64_t rows = m - row < tileRows ? m - row : tileRows;
            tileFor(rows, columns > width)(kc, packedA + (t - firstTile) * tileRows * kc, right, ldb,
                                           c + row * ldc + jc + column, ldc, columns, more);
          }
        }
      };
      if (small || tasks == 1) {
        for (int64_t task = 0; task < tasks; task++) multiply(task);
      } else {
        parallelChunks(tasks, tasks, [&](int64_t, int64_t begin, int64_t end) {
          for (int64_t task = begin; task < end; task++) multiply(task);
        });
      }
      if (k == 0) break;
    }
  }
}
