// One group and head at a time; its memory S, `[headWidth, headWidth]`, stays in the first-level cache.
// The sum of keys z is kept as one more column of numbers after S. Spikes make queries and keys sparse:
// rows of S that a token does not touch cost a comparison.

/// to[i] += factor · from[i]
static SACCADE_INLINE void addScaled(float* to, float factor, const float* from, int64_t n) {
  int64_t i = 0;
  for (; i + width <= n; i += width) store(to + i, load(to + i) + factor * load(from + i));
  if (i < n) storePart(to + i, loadPart(to + i, n - i) + factor * loadPart(from + i, n - i), n - i);
}

static SACCADE_INLINE float dotProduct(const float* a, const float* b, int64_t n) {
  Vec sum{};
  int64_t i = 0;
  for (; i + width <= n; i += width) sum = sum + load(a + i) * load(b + i);
  if (i < n) sum = sum + loadPart(a + i, n - i) * loadPart(b + i, n - i);
  return sumOf(sum);
}

static inline void scaleMemory(float* S, const float* factors, int64_t count, int64_t w) {
  for (int64_t i = 0; i < w; i++) {
    const float factor = factors[count == 1 ? 0 : i];
    for (int64_t j = 0; j < w; j++) S[i * w + j] *= factor;
    S[w * w + i] *= factor;
  }
}

/// Adds the keys and values of tokens from … to-1 to the memory.
static inline void absorb(const AttentionCall& call, float* S, int64_t group, int64_t head,
                          int64_t from, int64_t to) {
  const int64_t w = call.headWidth();
  for (int64_t token = from; token < to; token++) {
    const int64_t at = call.rowAt(group, token, head);
    for (int64_t i = 0; i < w; i++) {
      const float key = call.k[at + i];
      if (key == 0) continue;
      S[w * w + i] += key;
      addScaled(S + i * w, key, call.v + at, w);
    }
  }
}

static void attentionForward(const AttentionCall& call, int64_t begin, int64_t end) {
  const int64_t w = call.headWidth();
  float* S = scratch(0, w * w + w);
  float* sum = scratch(1, w);
  for (int64_t task = begin; task < end; task++) {
    const int64_t group = task / call.heads, head = task % call.heads;
    memcpy(S, call.memory + task * w * w, w * w * sizeof(float));
    memcpy(S + w * w, call.keySum + task * w, w * sizeof(float));
    for (int64_t frame = 0; frame < call.frames; frame += call.span()) {
      const int64_t from = frame * call.tokens, to = (frame + call.span()) * call.tokens;
      if (call.decay != nullptr) {
        scaleMemory(S, call.decay + call.decayAt(group, frame, head), call.decays, w);
      }
      absorb(call, S, group, head, from, to);
      for (int64_t token = from; token < to; token++) {
        const int64_t at = call.rowAt(group, token, head);
        float normaliser = call.epsilon;
        memset(sum, 0, w * sizeof(float));
        for (int64_t i = 0; i < w; i++) {
          const float query = call.q[at + i];
          if (query == 0) continue;
          if (call.normalise) normaliser += query * S[w * w + i];
          addScaled(sum, query, S + i * w, w);
        }
        const float inverse = 1 / normaliser;
        for (int64_t j = 0; j < w; j++) call.out[at + j] = sum[j] * inverse;
      }
    }
    memcpy(call.lastMemory + task * w * w, S, w * w * sizeof(float));
    memcpy(call.lastKeySum + task * w, S + w * w, w * sizeof(float));
  }
}

static void attentionBackward(const AttentionCall& call, int64_t begin, int64_t end) {
  const int64_t w = call.headWidth();
  const int64_t size = w * w + w;
  const int64_t spans = call.frames / call.span();
  // Memories after each span, then backwards through the spans; dS gathers the gradients of everything
  // that read the memory later. Only a decay needs the memory before its span as well.
  float* memories = scratch(0, (spans + 1) * size);
  float* dS = scratch(1, size);
  float* dNumerator = scratch(2, w);
  float* sum = scratch(3, w);
  for (int64_t task = begin; task < end; task++) {
    const int64_t group = task / call.heads, head = task % call.heads;
    memcpy(memories, call.memory + task * w * w, w * w * sizeof(float));
    memcpy(memories + w * w, call.keySum + task * w, w * sizeof(float));
    for (int64_t span = 0; span < spans; span++) {
      const int64_t frame = span * call.span();
      float* S = memories + (span + 1) * size;
      memcpy(S, memories + span * size, size * sizeof(float));
      if (call.decay != nullptr) {
        scaleMemory(S, call.decay + call.decayAt(group, frame, head), call.decays, w);
      }
      absorb(call, S, group, head, frame * call.tokens, (frame + call.span()) * call.tokens);
    }
    memcpy(dS, call.dLastMemory + task * w * w, w * w * sizeof(float));
    memcpy(dS + w * w, call.dLastKeySum + task * w, w * sizeof(float));
    for (int64_t span = spans - 1; span >= 0; span--) {
      const int64_t frame = span * call.span();
      const int64_t from = frame * call.tokens, to = (frame + call.span()) * call.tokens;
      const float* S = memories + (span + 1) * size;
      const float* z = S + w * w;
      for (int64_t token = from; token < to; token++) {
        const int64_t at = call.rowAt(group, token, head);
        float normaliser = call.epsilon;
        if (call.normalise) normaliser += dotProduct(call.q + at, z, w);
        const float inverse = 1 / normaliser;
        float dNormaliser = 0;
        for (int64_t j = 0; j < w; j++) dNumerator[j] = call.dOut[at + j] * inverse;
        if (call.normalise) dNormaliser = -dotProduct(dNumerator, call.result + at, w);
        for (int64_t i = 0; i < w; i++) {
          const float query = call.q[at + i];
          call.dQ[at + i] = dNormaliser * z[i] + dotProduct(dNumerator, S + i * w, w);
          if (query == 0) continue;
          dS[w * w + i] += query * dNormaliser;
          addScaled(dS + i * w, query, dNumerator, w);
        }
      }
      for (int64_t token = from; token < to; token++) {
        const int64_t at = call.rowAt(group, token, head);
        memset(sum, 0, w * sizeof(float));
        for (int64_t i = 0; i < w; i++) {
          const float key = call.k[at + i];
          call.dK[at + i] = dS[w * w + i] + dotProduct(dS + i * w, call.v + at, w);
          if (key != 0) addScaled(sum, key, dS + i * w, w);
        }
        memcpy(call.dV + at, sum, w * sizeof(float));
      }
      if (call.decay != nullptr) {
        const float* before = memories + span * size;
        const int64_t decayAt = call.decayAt(group, frame, head);
        for (int64_t i = 0; i < call.decays; i++) call.dDecay[decayAt + i] = 0;
        for (int64_t i = 0; i < w; i++) {
          call.dDecay[decayAt + (call.decays == 1 ? 0 : i)] +=
              dotProduct(dS + i * w, before + i * w, w) + dS[w * w + i] * before[w * w + i];
        }
        scaleMemory(dS, call.decay + decayAt, call.decays, w);
      }
    }
    memcpy(call.dMemory + task * w * w, dS, w * w * sizeof(float));
    memcpy(call.dKeySum + task * w, dS + w * w, w * sizeof(float));
  }
}
