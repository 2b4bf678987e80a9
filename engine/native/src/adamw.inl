static void adamwUpdate(const AdamwCall& call, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += width) {
    const int64_t lanes = std::min(width, end - i);
    const auto read = [&](const float* p) {
      return lanes == width ? load(p + i) : loadPart(p + i, lanes);
    };
    const auto write = [&](float* p, Vec v) {
      if (lanes == width) store(p + i, v);
      else storePart(p + i, v, lanes);
    };
    const Vec parameter = read(call.parameter);
    const Vec g = read(call.gradient) * call.gradientScale;
    const Vec m = call.beta1 * read(call.m) + (1.0f - call.beta1) * g;
    const Vec v = call.beta2 * read(call.v) + (1.0f - call.beta2) * g * g;
    const Vec update = m * call.correction1 / (squareRoot(v * call.correction2) + call.epsilon);
    write(call.nextM, m);
    write(call.nextV, v);
    write(call.nextParameter,
          parameter - call.learningRate * (update + call.weightDecay * parameter));
  }
}
