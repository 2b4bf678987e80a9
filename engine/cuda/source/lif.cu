// Leaky integrate-and-fire over time: engine/ops/lif.ts says what is computed. A thread runs WIDTH
// neighbouring neurons (1, 2 or 4) through all steps, their membranes in registers. Compiled for each choice of
// HARD, DECAY_INPUT, DETACH_RESET, SURROGATE, PARAMETRIC and ADAPTIVE, and for STEPS steps; where STEPS is 0
// their number is given at run time.
struct Neuron {
  float leak, gain, threshold, width, strength, decay;
};

__device__ __forceinline__ void coefficientsOf(float tau, float& leak, float& gain) {
  leak = 1.0f - 1.0f / tau;
  gain = DECAY_INPUT && !isinf(tau) ? 1.0f / tau : 1.0f;
}

/// The products are kept apart from the sum, as on the CPU: a spike hangs on the last digit.
__device__ __forceinline__ float charge(float leak, float membrane, float gain, float input) {
  return __fadd_rn(__fmul_rn(leak, membrane), __fmul_rn(gain, input));
}

/// The membrane after a step that charged it to h.
__device__ __forceinline__ float afterwards(float h, float limit) {
  return h >= limit ? (HARD ? 0.0f : h - limit) : h;
}

__device__ __forceinline__ float surrogateOf(float x, const Neuron& n) {
  const float scale = 1.0f / n.width, u = x * scale;
  if constexpr (SURROGATE == 0) return __fdividef(scale, 1.0f + 9.869604401089358f * u * u);
  if constexpr (SURROGATE == 1) {
    const float s = sigmoid(u);
    return s * (1.0f - s) * scale;
  }
  if constexpr (SURROGATE == 2) return fmaxf(0.0f, 1.0f - fabsf(u)) * scale;
  return fabsf(u) < 0.5f ? scale : 0.0f;
}

struct Lanes {
  float at[WIDTH];
  __device__ __forceinline__ void load(const float* from) {
    if constexpr (WIDTH == 4) {
      const float4 v = *reinterpret_cast<const float4*>(from);
      at[0] = v.x, at[1] = v.y, at[2] = v.z, at[3] = v.w;
    } else if constexpr (WIDTH == 2) {
      const float2 v = *reinterpret_cast<const float2*>(from);
      at[0] = v.x, at[1] = v.y;
    } else {
      at[0] = *from;
    }
  }
  __device__ __forceinline__ void store(float* to) const {
    if constexpr (WIDTH == 4) *reinterpret_cast<float4*>(to) = make_float4(at[0], at[1], at[2], at[3]);
    else if constexpr (WIDTH == 2) *reinterpret_cast<float2*>(to) = make_float2(at[0], at[1]);
    else *to = at[0];
  }
};
#define EACH_LANE _Pragma("unroll") for (int w = 0; w < WIDTH; w++)

/// Keeps the compiler from working out the places of all steps beforehand, which would take all registers.
__device__ __forceinline__ unsigned onTheWay(unsigned place) {
  asm volatile("" : "+r"(place));
  return place;
}

/// Steps that are read before the first of them is needed: memory is slow to answer, not to deliver.
constexpr int ahead = 8;

KERNEL __launch_bounds__(128) lifForward(
    const float* __restrict__ x, const float* __restrict__ initial, const float* __restrict__ taus,
    const float* __restrict__ adaptation, float* __restrict__ spikes, float* __restrict__ last,
    float* __restrict__ lastAdaptation, unsigned batch, unsigned steps, unsigned features, unsigned tauCount,
    const Neuron n) {
  const unsigned groups = features / WIDTH;
  for (unsigned i = gridThread(); i < batch * groups; i += gridThreads()) {
    const unsigned b = i / groups, f = (i - b * groups) * WIDTH, state = b * features + f;
    const float* from = x + (int64)b * steps * features + f;
    float* to = spikes + (int64)b * steps * features + f;
    Lanes membrane, adapted, leak, gain;
    membrane.load(initial + state);
    if constexpr (ADAPTIVE) adapted.load(adaptation + state);
    EACH_LANE {
      leak.at[w] = n.leak, gain.at[w] = n.gain;
      if constexpr (PARAMETRIC) coefficientsOf(taus[(f + w) % tauCount], leak.at[w], gain.at[w]);
    }
    const auto step = [&](const Lanes& input, unsigned at) {
      Lanes spike;
      EACH_LANE {
        const float h = charge(leak.at[w], membrane.at[w], gain.at[w], input.at[w]);
        float limit = n.threshold;
        if constexpr (ADAPTIVE) limit += n.strength * adapted.at[w];
        spike.at[w] = h >= limit ? 1.0f : 0.0f;
        membrane.at[w] = afterwards(h, limit);
        if constexpr (ADAPTIVE) adapted.at[w] = n.decay * adapted.at[w] + (1.0f - n.decay) * spike.at[w];
      }
      spike.store(to + at);
    };
    unsigned t = 0, in = 0, out = 0;
    for (; t + ahead <= steps; t += ahead) {
      Lanes inputs[ahead];
#pragma unroll
      for (int k = 0; k < ahead; k++, in = onTheWay(in + features)) inputs[k].load(from + in);
#pragma unroll
      for (int k = 0; k < ahead; k++, out = onTheWay(out + features)) step(inputs[k], out);
    }
    for (; t < steps; t++, in += features) {
      Lanes input;
      input.load(from + in);
      step(input, in);
    }
    membrane.store(last + state);
    if constexpr (ADAPTIVE) adapted.store(lastAdaptation + state);
  }
}

#if !ADAPTIVE
/// What the backward pass needs of each step, H, is computed again: it stays in registers, in the place of the
/// inputs, where STEPS is known; otherwise it lies in dX until it is replaced.
KERNEL __launch_bounds__(128, STEPS > 0 ? 5 : 1) lifBackward(
    const float* __restrict__ x, const float* __restrict__ initial, const float* __restrict__ taus,
    const float* __restrict__ dS, const float* __restrict__ dLast, float* dX, float* __restrict__ dV,
    float* __restrict__ dRates, unsigned batch, unsigned givenSteps, unsigned features, unsigned tauCount,
    const Neuron n) {
  const unsigned groups = features / WIDTH;
  for (unsigned i = gridThread(); i < batch * groups; i += gridThreads()) {
    const unsigned b = i / groups, f = (i - b * groups) * WIDTH, state = b * features + f;
    const unsigned steps = STEPS > 0 ? STEPS : givenSteps;
    const int64 at = (int64)b * steps * features + f;
#if STEPS > 0
    constexpr int early = STEPS < ahead ? STEPS : ahead;
    Lanes charged[STEPS], gradients[early];
    unsigned place = 0;
#pragma unroll
    for (int t = 0; t < STEPS; t++, place = onTheWay(place + features)) charged[t].load(x + at + place);
    unsigned next = place;
#pragma unroll
    for (int k = 0; k < early; k++) gradients[k].load(dS + at + (next = onTheWay(next - features)));
#endif
    Lanes first, leak, gain, gradient, rate;
    first.load(initial + state);
    gradient.load(dLast + state);
    EACH_LANE {
      leak.at[w] = n.leak, gain.at[w] = n.gain, rate.at[w] = 0.0f;
      if constexpr (PARAMETRIC) coefficientsOf(taus[(f + w) % tauCount], leak.at[w], gain.at[w]);
    }
    Lanes membrane = first;
    const auto charging = [&](Lanes& inputOrH) {
      EACH_LANE {
        inputOrH.at[w] = charge(leak.at[w], membrane.at[w], gain.at[w], inputOrH.at[w]);
        membrane.at[w] = afterwards(inputOrH.at[w], n.threshold);
      }
    };
    /// `before`: H of the step before this one; at the first step, nothing.
    const auto back = [&](int t, unsigned place, const Lanes& h, const Lanes& dSpikes, const Lanes& before) {
      Lanes result;
      EACH_LANE {
        const bool fired = h.at[w] >= n.threshold;
        float dSpike = dSpikes.at[w];
        if constexpr (!DETACH_RESET) dSpike -= gradient.at[w] * (HARD ? h.at[w] : n.threshold);
        const float crossing = dSpike * surrogateOf(h.at[w] - n.threshold, n);
        const float dH = (HARD && fired ? 0.0f : gradient.at[w]) + crossing;
        result.at[w] = dH * gain.at[w];
        gradient.at[w] = dH * leak.at[w];
        if constexpr (PARAMETRIC) {
          const float v = t > 0 ? afterwards(before.at[w], n.threshold) : first.at[w];
          const float input = DECAY_INPUT ? x[at + place + w] : 0.0f;
          rate.at[w] += dH * (input - v);
        }
      }
      result.store(dX + at + place);
    };
#if STEPS > 0
#pragma unroll
    for (int t = 0; t < STEPS; t++) charging(charged[t]);
#pragma unroll
    for (int t = STEPS - 1; t >= 0; t--) {
      const Lanes dSpikes = gradients[(STEPS - 1 - t) % early];
      if (t >= early) gradients[(STEPS - 1 - t) % early].load(dS + at + (next = onTheWay(next - features)));
      back(t, place = onTheWay(place - features), charged[t], dSpikes, charged[t > 0 ? t - 1 : 0]);
    }
#else
#pragma unroll 4
    for (unsigned t = 0, place = 0; t < steps; t++, place += features) {
      Lanes h;
      h.load(x + at + place);
      charging(h);
      h.store(dX + at + place);
    }
    for (int t = (int)steps - 1; t >= 0; t--) {
      const unsigned place = t * features;
      Lanes h, dSpikes, before;
      dSpikes.load(dS + at + place);
      h.load(dX + at + place);
      if constexpr (PARAMETRIC) before.load(dX + at + (t > 0 ? place - features : 0));
      back(t, place, h, dSpikes, before);
    }
#endif
    gradient.store(dV + state);
    if constexpr (PARAMETRIC) {
      EACH_LANE {
        const float tau = taus[(f + w) % tauCount];
        rate.at[w] = -rate.at[w] / (tau * tau);
      }
      rate.store(dRates + state);
    }
  }
}
#else
/// H lies in dX and the adaptation in `adapted`, [batch, steps, features], until they are replaced.
KERNEL adaptiveLifBackward(const float* x, const float* initial, const float* initialAdaptation,
                           const float* dS, const float* dLast, const float* dLastAdaptation, float* dX,
                           float* dV, float* dAdaptation, float* adapted, unsigned batch, unsigned steps,
                           unsigned features, const Neuron n) {
  for (unsigned i = gridThread(); i < batch * features; i += gridThreads()) {
    const unsigned b = i / features, f = i - b * features;
    const int64 at = (int64)b * steps * features + f;
    float membrane = initial[i], a = initialAdaptation[i];
    for (unsigned t = 0; t < steps; t++) {
      const int64 here = at + t * features;
      const float h = charge(n.leak, membrane, n.gain, x[here]);
      const float limit = n.threshold + n.strength * a;
      adapted[here] = a;
      dX[here] = h;
      membrane = afterwards(h, limit);
      a = n.decay * a + (1.0f - n.decay) * (h >= limit ? 1.0f : 0.0f);
    }
    float gradient = dLast[i], dA = dLastAdaptation[i];
    for (int t = (int)steps - 1; t >= 0; t--) {
      const int64 here = at + t * features;
      const float h = dX[here], limit = n.threshold + n.strength * adapted[here];
      const bool fired = h >= limit;
      float dSpike = dS[here] + (1.0f - n.decay) * dA;
      if constexpr (!DETACH_RESET) dSpike -= gradient * (HARD ? h : limit);
      const float crossing = dSpike * surrogateOf(h - limit, n);
      const float dH = (HARD && fired ? 0.0f : gradient) + crossing;
      const float dLimit = -crossing - (HARD || !fired ? 0.0f : gradient);
      dA = n.decay * dA + n.strength * dLimit;
      dX[here] = dH * n.gain;
      gradient = dH * n.leak;
    }
    dV[i] = gradient;
    dAdaptation[i] = dA;
  }
}
#endif
