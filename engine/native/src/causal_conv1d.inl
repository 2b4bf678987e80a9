/// to[i] += a[i] · b[i]
static SACCADE_INLINE void addProducts(float* to, const float* a, const float* b, int64_t n) {
  int64_t i = 0;
  for (; i + width <= n; i += width) store(to + i, load(to + i) + load(a + i) * load(b + i));
  for (; i < n; i++) to[i] += a[i] * b[i];
}

static SACCADE_INLINE void addValues(float* to, const float* from, int64_t n) {
  int64_t i = 0;
  for (; i + width <= n; i += width) store(to + i, load(to + i) + load(from + i));
  for (; i < n; i++) to[i] += from[i];
}

/// Channels at a time, so that all rows in use stay in the first-level cache.
constexpr int64_t convolutionTile = 512;

static void convolutionForward(const ConvolutionCall& call, int64_t begin, int64_t end) {
  const int64_t tail = call.taps - 1;
  for (int64_t piece = begin; piece < end; piece++) {
    const int64_t b = piece / call.pieces();
    const int64_t start = piece % call.pieces() * convolutionSteps;
    const int64_t stop = std::min(start + convolutionSteps, call.length);
    for (int64_t c = 0; c < call.channels; c += convolutionTile) {
      const int64_t n = std::min(convolutionTile, call.channels - c);
      for (int64_t step = start; step < stop; step++) {
        float* y = call.y + call.at(b, step) + c;
        memcpy(y, call.bias + c, n * sizeof(float));
        for (int64_t k = 0; k < call.taps; k++) {
          addProducts(y, call.weight + k * call.channels + c, call.source(b, step - tail + k) + c, n);
        }
      }
    }
  }
}

static void convolutionBackward(const ConvolutionCall& call, int64_t begin, int64_t end) {
  const int64_t tail = call.taps - 1;
  const int64_t size = (call.taps + 1) * call.channels;
  for (int64_t piece = begin; piece < end; piece++) {
    const int64_t b = piece / call.pieces();
    const int64_t start = piece % call.pieces() * convolutionSteps;
    const int64_t stop = std::min(start + convolutionSteps, call.length);
    float* partial = call.partial + piece * size;
    memset(partial, 0, size * sizeof(float));
    for (int64_t c = 0; c < call.channels; c += convolutionTile) {
      const int64_t n = std::min(convolutionTile, call.channels - c);
      for (int64_t step = start; step < stop; step++) {
        const float* dY = call.dY + call.at(b, step) + c;
        for (int64_t k = 0; k < call.taps; k++) {
          addProducts(partial + k * call.channels + c, dY, call.source(b, step - tail + k) + c, n);
        }
        addValues(partial + call.taps * call.channels + c, dY, n);
      }
      // Each input gathers from the outputs that it reached; the first piece has the state as well.
      for (int64_t step = start == 0 ? -tail : start; step < stop; step++) {
        float* dX = call.gradient(b, step) + c;
        const int64_t kept = step - (call.length - tail);
        if (kept >= 0) memcpy(dX, call.dLast + (b * tail + kept) * call.channels + c, n * sizeof(float));
        else memset(dX, 0, n * sizeof(float));
        for (int64_t k = 0; k < call.taps; k++) {
          const int64_t reached = step + tail - k;
          if (reached < 0 || reached >= call.length) continue;
          addProducts(dX, call.weight + k * call.channels + c, call.dY + call.at(b, reached) + c, n);
        }
      }
    }
  }
}
