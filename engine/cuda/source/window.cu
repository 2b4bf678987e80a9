// Sliding windows over [batch, depth, height, width, channels]: convolutions as matrix products, depthwise
// convolutions, pooling. In order of depth, height, width where there are three.
struct Window {
  int batch, inChannels, outChannels;
  int in[3], out[3], size[3], stride[3], pad[3], dilation[3];

  __device__ __forceinline__ int taps() const { return size[0] * size[1] * size[2]; }
  __device__ __forceinline__ int outPixels() const { return out[0] * out[1] * out[2]; }
  /// The input pixel of an image that a tap of an output pixel meets; -1 outside.
  __device__ __forceinline__ int input(int pixel, int tap) const {
    const int place[3] = {pixel / (out[1] * out[2]), pixel / out[2] % out[1], pixel % out[2]};
    const int step[3] = {tap / (size[1] * size[2]), tap / size[2] % size[1], tap % size[2]};
    int at = 0;
#pragma unroll
    for (int axis = 0; axis < 3; axis++) {
      const int i = place[axis] * stride[axis] - pad[axis] + step[axis] * dilation[axis];
      if (i < 0 || i >= in[axis]) return -1;
      at = at * in[axis] + i;
    }
    return at;
  }
  /// The output pixel whose tap meets an input pixel; -1 where there is none.
  __device__ __forceinline__ int output(int pixel, int tap) const {
    const int place[3] = {pixel / (in[1] * in[2]), pixel / in[2] % in[1], pixel % in[2]};
    const int step[3] = {tap / (size[1] * size[2]), tap / size[2] % size[1], tap % size[2]};
    int at = 0;
#pragma unroll
    for (int axis = 0; axis < 3; axis++) {
      const int i = place[axis] + pad[axis] - step[axis] * dilation[axis], o = i / stride[axis];
      if (i < 0 || o * stride[axis] != i || o >= out[axis]) return -1;
      at = at * out[axis] + o;
    }
    return at;
  }
  __device__ __forceinline__ int inPixels() const { return in[0] * in[1] * in[2]; }
};

/// What each tap of each output pixel meets: [pixels, taps, channels].
template <typename Value>
__device__ __forceinline__ void columns(const Value* x, Value* to, const Window& w, int channels, unsigned n) {
  const int taps = w.taps(), pixels = w.outPixels(), inPixels = w.inPixels();
  for (unsigned i = gridThread(); i < n; i += gridThreads()) {
    const unsigned row = i / channels, c = i - row * channels, pixel = row / taps, image = pixel / pixels;
    const int from = w.input(pixel - image * pixels, row - pixel * taps);
    to[i] = from < 0 ? Value{} : x[((int64)image * inPixels + from) * channels + c];
  }
}
KERNEL windowColumns(const float* x, float* to, const Window w, int64 n) { columns(x, to, w, w.inChannels, n); }
KERNEL windowColumns4(const float4* x, float4* to, const Window w, int64 n) {
  columns(x, to, w, w.inChannels / 4, n);
}

/// The way back: sums over all taps that met an input.
KERNEL sumColumns(const float* from, float* dx, const Window w, int64 n) {
  const int channels = w.inChannels, taps = w.taps(), inPixels = w.inPixels();
  for (unsigned i = gridThread(); i < n; i += gridThreads()) {
    const unsigned pixel = i / channels, c = i - pixel * channels, image = pixel / inPixels;
    float sum = 0.0f;
    for (int tap = 0; tap < taps; tap++) {
      const int o = w.output(pixel - image * inPixels, tap);
      if (o >= 0) sum += from[(((int64)image * w.outPixels() + o) * taps + tap) * channels + c];
    }
    dx[i] = sum;
  }
}

/// One filter for each channel. Where `turned`, the gradient of the input from that of the output.
KERNEL depthwise(const float* x, const float* filter, float* y, const Window w, int turned, int64 n) {
  const int channels = w.inChannels, taps = w.taps();
  const int pixels = turned ? w.inPixels() : w.outPixels(), others = turned ? w.outPixels() : w.inPixels();
  for (unsigned i = gridThread(); i < n; i += gridThreads()) {
    const unsigned pixel = i / channels, c = i - pixel * channels, image = pixel / pixels;
    const int place = pixel - image * pixels;
    float sum = 0.0f;
    for (int tap = 0; tap < taps; tap++) {
      const int from = turned ? w.output(place, tap) : w.input(place, tap);
      if (from >= 0) sum += filter[tap * channels + c] * x[((int64)image * others + from) * channels + c];
    }
    y[i] = sum;
  }
}

/// [pieces, taps, channels]: output pixels of all images are cut into pieces; blocks of 32 × 8.
KERNEL depthwiseFilter(const float* x, const float* dy, float* partial, const Window w, int pieces) {
  __shared__ float shared[8][32];
  const int channels = w.inChannels, c = blockIdx.x * 32 + threadIdx.x, tap = blockIdx.z;
  const int64 pixels = (int64)w.batch * w.outPixels(), span = (pixels + pieces - 1) / pieces;
  const int64 from = blockIdx.y * span, to = min(pixels, from + span);
  float sum = 0.0f;
  if (c < channels) {
    for (int64 p = from + threadIdx.y; p < to; p += 8) {
      const int64 image = p / w.outPixels();
      const int i = w.input(p - image * w.outPixels(), tap);
      if (i >= 0) sum += dy[p * channels + c] * x[(image * w.inPixels() + i) * channels + c];
    }
  }
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && c < channels) {
    for (int i = 1; i < 8; i++) sum += shared[i][threadIdx.x];
    partial[((int64)blockIdx.y * w.taps() + tap) * channels + c] = sum;
  }
}

KERNEL pool(const float* x, float* y, const Window w, int average, int64 n) {
  const int channels = w.inChannels, taps = w.taps(), pixels = w.outPixels();
  for (unsigned i = gridThread(); i < n; i += gridThreads()) {
    const unsigned pixel = i / channels, c = i - pixel * channels, image = pixel / pixels;
    float result = average ? 0.0f : -INFINITE;
    int count = 0;
    for (int tap = 0; tap < taps; tap++) {
      const int from = w.input(pixel - image * pixels, tap);
      if (from < 0) continue;
      const float v = x[((int64)image * w.inPixels() + from) * channels + c];
      result = average ? result + v : v > result ? v : result;
      count++;
    }
    y[i] = average ? result / (float)max(count, 1) : result;
  }
}

/// The maximum's gradient goes to the first input that has it, the average's to all under the window in equal
/// shares of its size.
KERNEL poolGradient(const float* x, const float* dy, float* dx, const Window w, int average, int64 n) {
  const int channels = w.inChannels, taps = w.taps(), inPixels = w.inPixels();
  for (unsigned i = gridThread(); i < n; i += gridThreads()) {
    const unsigned pixel = i / channels, c = i - pixel * channels, image = pixel / inPixels;
    const float* inputs = x + (int64)image * inPixels * channels + c;
    float sum = 0.0f;
    for (int tap = 0; tap < taps; tap++) {
      const int o = w.output(pixel - image * inPixels, tap);
      if (o < 0) continue;
      const float d = dy[((int64)image * w.outPixels() + o) * channels + c];
      if (average) {
        sum += d / (float)taps;
        continue;
      }
      float most = -INFINITE;
      int first = -1;
      for (int other = 0; other < taps; other++) {
        const int from = w.input(o, other);
        if (from < 0 || !(inputs[(int64)from * channels] > most)) continue;
        most = inputs[(int64)from * channels], first = other;
      }
      if (first == tap) sum += d;
    }
    dx[i] = sum;
  }
}
