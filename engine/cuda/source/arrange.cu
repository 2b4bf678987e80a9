// Moves values of four bytes between layouts: transpose, slice, concat, pad, tile, reverse, gather.
struct Axes {
  int rank;
  unsigned extent[8];
  int first[8], second[8];
};

KERNEL copyAxes(const unsigned* x, unsigned* y, const Axes axes, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) {
    unsigned rest = i;
    int64 from = 0, to = 0;
    for (int d = axes.rank - 1; d >= 0; d--) {
      const unsigned next = rest / axes.extent[d], index = rest - next * axes.extent[d];
      from += (int64)index * axes.first[d];
      to += (int64)index * axes.second[d];
      rest = next;
    }
    y[to] = x[from];
  }
}

/// Planes whose axes change places, by tiles of 32 × 32: x is [planes, rows, columns].
KERNEL transposePlanes(const unsigned* x, unsigned* y, int rows, int columns, int64 planes) {
  __shared__ unsigned tile[32][33];
  for (int64 plane = blockIdx.z; plane < planes; plane += gridDim.z) {
    const unsigned* from = x + plane * rows * columns;
    unsigned* to = y + plane * rows * columns;
    const int column = blockIdx.x * 32 + threadIdx.x;
    for (int r = threadIdx.y; r < 32; r += 8) {
      const int row = blockIdx.y * 32 + r;
      if (row < rows && column < columns) tile[r][threadIdx.x] = from[(int64)row * columns + column];
    }
    __syncthreads();
    const int row = blockIdx.y * 32 + threadIdx.x;
    for (int c = threadIdx.y; c < 32; c += 8) {
      const int target = blockIdx.x * 32 + c;
      if (row < rows && target < columns) to[(int64)target * rows + row] = tile[threadIdx.x][c];
    }
    __syncthreads();
  }
}

/// x [batches, outer, extent, width], indices [batches, chosen], y [batches, outer, chosen, width].
KERNEL gather(const unsigned* x, const int* indices, unsigned* y, int64 outer, int64 extent, int64 width,
              int64 chosen, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) {
    const int64 w = i % width, c = i / width % chosen, o = i / width / chosen % outer;
    const int64 batch = i / width / chosen / outer;
    const int index = indices[batch * chosen + c];
    // An index outside gives 0: the device cannot throw.
    y[i] = index < 0 || index >= extent ? 0u : x[((batch * outer + o) * extent + index) * width + w];
  }
}

/// One thread for each column, so that sums have one order.
KERNEL segmentSum(const float* x, const int* segments, float* y, int64 rows, int64 width, int count) {
  for (int64 column = gridThread(); column < width; column += gridThreads()) {
    for (int64 r = 0; r < rows; r++) {
      const int segment = segments[r];
      if (segment >= 0 && segment < count) y[segment * width + column] += x[r * width + column];
    }
  }
}

/// engine/ops/patches.ts: frames [frames, channels, height, width] to or from patches.
KERNEL cutPatches(const float* from, float* to, int channels, int height, int width, int size, int back,
                  int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) {
    const int x = i % width, y = i / width % height, c = i / width / height % channels;
    const int64 frame = i / width / height / channels;
    const int columns = width / size;
    const int64 patch = frame * (height / size) * columns + (y / size) * columns + x / size;
    const int64 at = (patch * channels + c) * size * size + (y % size) * size + x % size;
    if (back) to[i] = from[at];
    else to[at] = from[i];
  }
}

/// engine/ops/gatherRows.ts: x [groups, rows, width], index [lists, taken], y [groups, taken, width].
KERNEL gatherRows(const float* x, const int* index, float* y, int rows, int width, int taken, int lists, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) {
    const int64 place = i / width, group = place / taken;
    const int row = index[group % lists * taken + (place - group * taken)];
    y[i] = row < 0 ? 0.0f : x[(group * rows + row) * width + (i - place * width)];
  }
}

/// Its gradient. The places at which list l takes row r are `places` from bounds[l * (rows + 1) + r] to the next.
KERNEL sumTaken(const float* dy, const int* bounds, const int* places, float* dx, int rows, int width, int taken,
                int lists, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) {
    const int64 place = i / width, group = place / rows, w = i - place * width;
    const int* bound = bounds + group % lists * (rows + 1) + (place - group * rows);
    float sum = 0.0f;
    for (int k = bound[0]; k < bound[1]; k++) sum += dy[(group * taken + places[k]) * width + w];
    dx[i] = sum;
  }
}
