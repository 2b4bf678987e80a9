/// What one step does to a vector of neurons.
struct LifStep {
  Vec charged, limit, spike;
};

template <bool parametric, bool adaptive>
static SACCADE_INLINE LifStep lifStep(const LifCall& call, Vec x, Vec& membrane, Vec& adaptation,
                                      Vec rate) {
  LifStep now;
  if (parametric) {
    now.charged =
        call.decayInput ? membrane + rate * (x - membrane) : membrane - rate * membrane + x;
  } else {
    now.charged = (1.0f - call.rate) * membrane + call.gain() * x;
  }
  now.limit = splat(call.threshold);
  if (adaptive) now.limit = now.limit + call.strength * adaptation;
  const IVec fires = now.charged >= now.limit;
  now.spike = select(fires, splat(1.0f), Vec{});
  membrane = call.hard ? select(fires, Vec{}, now.charged)
                       : select(fires, now.charged - now.limit, now.charged);
  if (adaptive) adaptation = call.keep * adaptation + (1.0f - call.keep) * now.spike;
  return now;
}

static SACCADE_INLINE Vec loadTail(const float* p, int64_t left) {
  return left >= width ? load(p) : loadPart(p, left);
}

static SACCADE_INLINE void storeTail(float* p, Vec v, int64_t left) {
  if (left >= width) store(p, v);
  else storePart(p, v, left);
}

/// Results that exceed the caches are stored past them, which spares fetching their lines first.
static SACCADE_INLINE void storeResult(const LifCall& call, float* p, Vec v, int64_t left) {
  if (call.streams() && left >= width) stream(p, v);
  else storeTail(p, v, left);
}

static inline void lifRates(const LifCall& call, int64_t from, int64_t count, float* rates) {
  for (int64_t i = 0; i < count; i++) rates[i] = 1.0f / call.tau[(from + i) % call.tauPeriod];
}

template <bool parametric, bool adaptive>
static void lifForwardOf(const LifCall& call, int64_t begin, int64_t end) {
  const int64_t tile = call.tile();
  float* membrane = scratch(0, tile);
  float* adaptation = scratch(1, tile);
  float* rates = scratch(2, tile);
  for (int64_t task = begin; task < end; task++) {
    const int64_t b = task / call.tiles();
    const int64_t from = task % call.tiles() * tile;
    const int64_t count = std::min(tile, call.features - from);
    const int64_t stateAt = b * call.features + from;
    memcpy(membrane, call.membrane + stateAt, count * sizeof(float));
    if (adaptive) memcpy(adaptation, call.adaptation + stateAt, count * sizeof(float));
    if (parametric) lifRates(call, from, count, rates);
    for (int64_t t = 0; t < call.steps; t++) {
      const int64_t at = (b * call.steps + t) * call.features + from;
      for (int64_t f = 0; f < count; f += width) {
        const int64_t left = count - f;
        // A step's neurons lie on pages of their own, which processors don't fetch ahead by themselves.
        __builtin_prefetch(call.input + at + call.features + f);
        Vec v = load(membrane + f);
        Vec a = adaptive ? load(adaptation + f) : Vec{};
        const Vec rate = parametric ? load(rates + f) : Vec{};
        const LifStep now =
            lifStep<parametric, adaptive>(call, loadTail(call.input + at + f, left), v, a, rate);
        storeResult(call, call.spikes + at + f, now.spike, left);
        store(membrane + f, v);
        if (adaptive) store(adaptation + f, a);
      }
    }
    memcpy(call.lastMembrane + stateAt, membrane, count * sizeof(float));
    if (adaptive) memcpy(call.lastAdaptation + stateAt, adaptation, count * sizeof(float));
  }
  endStreaming();
}

static void lifForward(const LifCall& call, int64_t begin, int64_t end) {
  if (call.tau != nullptr) lifForwardOf<true, false>(call, begin, end);
  else if (call.adaptation != nullptr) lifForwardOf<false, true>(call, begin, end);
  else lifForwardOf<false, false>(call, begin, end);
}

/// The surrogate's derivative at x = membrane - threshold.
template <Surrogate surrogate>
static SACCADE_INLINE Vec lifSlope(Vec x, float inverseWidth) {
  if (surrogate == Surrogate::atan) {
    const Vec scaled = x * (inverseWidth * 3.14159265358979f);
    return inverseWidth / (scaled * scaled + 1.0f);
  }
  if (surrogate == Surrogate::sigmoid) {
    const Vec s = logistic(x * inverseWidth);
    return s * (1.0f - s) * inverseWidth;
  }
  if (surrogate == Surrogate::triangle) {
    return maximum(1.0f - absolute(x) * inverseWidth, Vec{}) * inverseWidth;
  }
  return select(absolute(x) * inverseWidth < splat(0.5f), splat(inverseWidth), Vec{});
}

template <bool parametric, bool adaptive, Surrogate surrogate>
static void lifBackwardOf(const LifCall& call, int64_t begin, int64_t end) {
  const int64_t tile = call.tile();
  const float inverseWidth = 1 / call.surrogateWidth;
  // States of each step, computed again from the input rather than kept by the forward pass; the membranes
  // before the step are needed by a learned tau only.
  const int64_t membraneStep = parametric ? tile : 0;
  float* membranes = scratch(0, parametric ? (call.steps + 1) * tile : tile);
  float* charges = scratch(6, call.steps * tile);
  float* adaptations = scratch(1, adaptive ? (call.steps + 1) * tile : 0);
  float* rates = scratch(2, tile);
  float* dMembrane = scratch(3, tile);
  float* dAdaptation = scratch(4, tile);
  float* dRate = scratch(5, tile);
  for (int64_t task = begin; task < end; task++) {
    const int64_t b = task / call.tiles();
    const int64_t from = task % call.tiles() * tile;
    const int64_t count = std::min(tile, call.features - from);
    const int64_t bytes = count * sizeof(float);
    const int64_t stateAt = b * call.features + from;
    memcpy(membranes, call.membrane + stateAt, bytes);
    memcpy(dMembrane, call.dLastMembrane + stateAt, bytes);
    if (adaptive) {
      memcpy(adaptations, call.adaptation + stateAt, bytes);
      memcpy(dAdaptation, call.dLastAdaptation + stateAt, bytes);
    }
    if (parametric) {
      lifRates(call, from, count, rates);
      memset(dRate, 0, bytes);
    }
    for (int64_t t = 0; t < call.steps; t++) {
      const int64_t at = (b * call.steps + t) * call.features + from;
      for (int64_t f = 0; f < count; f += width) {
        float* state = membranes + t * membraneStep + f;
        __builtin_prefetch(call.input + at + call.features + f);
        Vec v = load(state);
        Vec a = adaptive ? load(adaptations + t * tile + f) : Vec{};
        const Vec rate = parametric ? load(rates + f) : Vec{};
        const Vec x = loadTail(call.input + at + f, count - f);
        const LifStep now = lifStep<parametric, adaptive>(call, x, v, a, rate);
        store(charges + t * tile + f, now.charged);
        store(state + membraneStep, v);
        if (adaptive) store(adaptations + (t + 1) * tile + f, a);
      }
    }
    for (int64_t t = call.steps - 1; t >= 0; t--) {
      const int64_t at = (b * call.steps + t) * call.features + from;
      for (int64_t f = 0; f < count; f += width) {
        const int64_t left = count - f;
        __builtin_prefetch(call.dSpikes + at - call.features + f);
        const Vec charged = load(charges + t * tile + f);
        Vec limit = splat(call.threshold);
        if (adaptive) limit = limit + call.strength * load(adaptations + t * tile + f);
        const IVec fires = charged >= limit;
        const Vec dV = load(dMembrane + f);
        Vec dSpike = loadTail(call.dSpikes + at + f, left);
        if (!call.detachReset) dSpike = dSpike - dV * (call.hard ? charged : limit);
        const Vec dA = adaptive ? load(dAdaptation + f) : Vec{};
        if (adaptive) dSpike = dSpike + (1.0f - call.keep) * dA;
        const Vec crossing = dSpike * lifSlope<surrogate>(charged - limit, inverseWidth);
        const Vec dH = (call.hard ? select(fires, Vec{}, dV) : dV) + crossing;
        if (adaptive) {
          const Vec dLimit = call.hard ? -crossing : -crossing - select(fires, dV, Vec{});
          store(dAdaptation + f, call.keep * dA + call.strength * dLimit);
        }
        if (parametric) {
          const Vec rate = load(rates + f);
          const Vec before = load(membranes + t * tile + f);
          const Vec change =
              call.decayInput ? loadTail(call.input + at + f, left) - before : -before;
          store(dRate + f, load(dRate + f) + dH * change);
          storeResult(call, call.dInput + at + f, call.decayInput ? dH * rate : dH, left);
          store(dMembrane + f, dH * (1.0f - rate));
        } else {
          storeResult(call, call.dInput + at + f, dH * call.gain(), left);
          store(dMembrane + f, dH * (1.0f - call.rate));
        }
      }
    }
    memcpy(call.dMembrane + stateAt, dMembrane, bytes);
    if (adaptive) memcpy(call.dAdaptation + stateAt, dAdaptation, bytes);
    if (parametric) memcpy(call.dRates + stateAt, dRate, bytes);
  }
  endStreaming();
}

template <Surrogate surrogate>
static void lifBackwardWith(const LifCall& call, int64_t begin, int64_t end) {
  if (call.tau != nullptr) lifBackwardOf<true, false, surrogate>(call, begin, end);
  else if (call.adaptation != nullptr) lifBackwardOf<false, true, surrogate>(call, begin, end);
  else lifBackwardOf<false, false, surrogate>(call, begin, end);
}

static void lifBackward(const LifCall& call, int64_t begin, int64_t end) {
  switch (call.surrogate) {
    case Surrogate::atan: return lifBackwardWith<Surrogate::atan>(call, begin, end);
    case Surrogate::sigmoid: return lifBackwardWith<Surrogate::sigmoid>(call, begin, end);
    case Surrogate::triangle: return lifBackwardWith<Surrogate::triangle>(call, begin, end);
    case Surrogate::rectangle: return lifBackwardWith<Surrogate::rectangle>(call, begin, end);
  }
}
