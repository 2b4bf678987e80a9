void decay(float* out, const double* latest, double end, double tau, int64_t n) {
  constexpr int64_t block = 256;
  for (int64_t from = 0; from < n; from += block) {
    const int64_t length = n - from < block ? n - from : block;
    for (int64_t i = 0; i < length; i++) {
      out[from + i] = static_cast<float>((latest[from + i] - end) / tau);
    }
    mapVectors(out + from, out + from, length, [](Vec age) { return exponential(age); });
  }
}

bool sound(const double* tUs, const uint16_t* x, const uint16_t* y, const uint8_t* polarity,
           int64_t n, int64_t sensorWidth, int64_t sensorHeight) {
  uint16_t greatestX = 0, greatestY = 0;
  uint8_t greatestPolarity = 0;
  for (int64_t i = 0; i < n; i++) greatestX = x[i] > greatestX ? x[i] : greatestX;
  for (int64_t i = 0; i < n; i++) greatestY = y[i] > greatestY ? y[i] : greatestY;
  for (int64_t i = 0; i < n; i++) {
    greatestPolarity = polarity[i] > greatestPolarity ? polarity[i] : greatestPolarity;
  }
  // Infinities and NaN have all bits of the exponent.
  uint64_t infinite = 0;
  for (int64_t i = 0; i < n; i++) {
    uint64_t bits;
    memcpy(&bits, tUs + i, sizeof bits);
    infinite |= (bits & 0x7ff0000000000000u) == 0x7ff0000000000000u;
  }
  return infinite == 0 &&
         (n == 0 || (greatestX < sensorWidth && greatestY < sensorHeight && greatestPolarity <= 1));
}

bool whole(const double* tUs, const uint16_t* x, const uint16_t* y, int64_t n, int64_t sensorWidth,
           int64_t sensorHeight) {
  uint16_t greatestX = 0, greatestY = 0;
  for (int64_t i = 0; i < n; i++) greatestX = x[i] > greatestX ? x[i] : greatestX;
  for (int64_t i = 0; i < n; i++) greatestY = y[i] > greatestY ? y[i] : greatestY;
  // Added to a large number, a fraction is rounded away; times that are too large for that do not come back, either.
  constexpr double large = 6755399441055744.0;  // 1.5 * 2^52
  uint64_t fractions = 0;
  for (int64_t i = 0; i < n; i++) {
    const double rounded = (tUs[i] + large) - large;
    fractions |= !(rounded == tUs[i]);
    fractions |= !(tUs[i] < 2251799813685248.0 && tUs[i] > -2251799813685248.0);  // 2^51
  }
  return fractions == 0 && (n == 0 || (greatestX < sensorWidth && greatestY < sensorHeight));
}

bool finite(const float* values, int64_t n) {
  uint32_t infinite = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, values + i, sizeof bits);
    infinite |= (bits & 0x7f800000u) == 0x7f800000u;
  }
  return infinite == 0;
}
