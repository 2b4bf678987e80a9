// Loops over events: engine/ops/eventLoops.ts says what is computed, here in double precision as there. No sum
// depends on the order of events: they are whole numbers, or, for a voxel grid, whole multiples of 2⁻³².
enum Kind { histogram, spikes, voxel, signedFrame, binary };

/// Events as columns, and the frames that they fall into.
struct Events {
  const double* tUs;
  const unsigned short *x, *y;
  const uint8* polarity;
  const int *rows, *columns;
  const double* interval;  // fromUs and toUs.
  int bins, width, plane;
  int64 count;

  __device__ __forceinline__ int bin(double time) const {
    const double from = interval[0], to = interval[1];
    if (time >= to) return bins - 1;
    return time > from ? (int)floor(bins * (time - from) / (to - from)) : 0;
  }
};

KERNEL binEvents(const Events events, int kind, float* out) {
  for (int64 i = gridThread(); i < events.count; i += gridThreads()) {
    const int pixel = events.rows[events.y[i]] * events.width + events.columns[events.x[i]];
    const int bin = events.bin(events.tUs[i]), polarity = events.polarity[i];
    const int frame = kind == histogram || kind == spikes ? 2 * bin + polarity : bin;
    float* cell = out + (int64)frame * events.plane + pixel;
    if (kind == histogram) atomicAdd(cell, 1.0f);
    else if (kind == signedFrame) atomicAdd(cell, polarity == 1 ? 1.0f : -1.0f);
    else *cell = 1.0f;
  }
}

/// Sums in fixed point; negative ones wrap around, as two's complement has it.
KERNEL addVoxels(const Events events, unsigned long long* sums) {
  const double from = events.interval[0], duration = events.interval[1] - from;
  for (int64 i = gridThread(); i < events.count; i += gridThreads()) {
    const int pixel = events.rows[events.y[i]] * events.width + events.columns[events.x[i]];
    const double since = fmax(0.0, fmin(duration, events.tUs[i] - from));
    const double position = duration > 0 ? (events.bins - 1) * since / duration : 0.0;
    const int lower = (int)position;
    const int64 whole = 1ll << 32, upper = llrint((position - lower) * whole);
    const int64 sign = events.polarity[i] == 1 ? 1 : -1;
    unsigned long long* cell = sums + (int64)lower * events.plane + pixel;
    atomicAdd(cell, (unsigned long long)(sign * (whole - upper)));
    if (upper > 0) atomicAdd(cell + events.plane, (unsigned long long)(sign * upper));
  }
}
KERNEL voxelsOf(const int64* sums, float* out, int64 n) {
  for (int64 i = gridThread(); i < n; i += gridThreads()) out[i] = (float)(sums[i] * 0x1p-32);
}
