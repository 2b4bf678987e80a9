// Element-wise operations with broadcasting.
#include "elementwise.h"

#include "registry.h"

#define SACCADE_FILE "elementwise.inl"
#include "targets.h"

namespace saccade {
namespace {

constexpr int64_t grain = 16384;

typedef void (*UnaryRow)(float*, const float*, int64_t, float, float);

/// (x, y, p, q)
void unary(const Arguments& arguments, UnaryRow run) {
  const float* x = arguments.floats(0);
  float* y = arguments.floats(1);
  const float p = static_cast<float>(arguments.number(2));
  const float q = static_cast<float>(arguments.number(3));
  parallelFor(arguments.length(1), grain, [=](int64_t begin, int64_t end) {
    run(y + begin, x + begin, end - begin, p, q);
  });
}

/// Broadcasting: `dims` holds (extent, stride of a, stride of b) per axis, the innermost last, whose
/// strides are 1 or 0. y is dense.
template <class T, class Row>
void binary(const Row rows[3], T* y, const float* a, const float* b, const int32_t* dims,
            int64_t rank) {
  const int32_t* inner = dims + 3 * (rank - 1);
  const int64_t n = inner[0];
  const Row run = inner[1] == 0 && inner[2] != 0 ? rows[2] : inner[2] == 0 ? rows[1] : rows[0];
  if (rank == 1) {
    const int64_t aStride = inner[1], bStride = inner[2];
    if (aStride == 0 && bStride == 0) {
      // Both are one value, and so is y, n times.
      for (int64_t i = 0; i < n; i++) run(y + i, a, b, 1);
      return;
    }
    parallelFor(n, grain, [=](int64_t begin, int64_t end) {
      run(y + begin, a + begin * aStride, b + begin * bStride, end - begin);
    });
    return;
  }
  int64_t count = 1;
  for (int64_t d = 0; d + 1 < rank; d++) count *= dims[3 * d];
  parallelFor(count, grain / (n + 8) + 1, [=](int64_t begin, int64_t end) {
    int64_t index[16], aAt = 0, bAt = 0, rest = begin;
    for (int64_t d = rank - 2; d >= 0; d--) {
      index[d] = rest % dims[3 * d];
      rest /= dims[3 * d];
      aAt += index[d] * dims[3 * d + 1];
      bAt += index[d] * dims[3 * d + 2];
    }
    for (int64_t row = begin; row < end; row++) {
      run(y + row * n, a + aAt, b + bAt, n);
      for (int64_t d = rank - 2; d >= 0; d--) {
        aAt += dims[3 * d + 1];
        bAt += dims[3 * d + 2];
        if (++index[d] < dims[3 * d]) break;
        aAt -= index[d] * dims[3 * d + 1];
        bAt -= index[d] * dims[3 * d + 2];
        index[d] = 0;
      }
    }
  });
}

}  // namespace
}  // namespace saccade

// <Unary>(x, y, p, q)
#define SACCADE_DEFINE(NAME) \
  SACCADE_KERNEL(NAME) { saccade::unary(arguments, SACCADE_CALL(row##NAME)); }
SACCADE_UNARY(SACCADE_DEFINE)
#undef SACCADE_DEFINE

// <Binary>(a, b, y, dims, rank)
#define SACCADE_DEFINE(NAME)                                                                    \
  SACCADE_KERNEL(NAME) {                                                                        \
    saccade::binary<float, saccade::portable::BinaryRow>(                                       \
        SACCADE_CALL(rows##NAME), arguments.floats(2), arguments.floats(0), arguments.floats(1), \
        arguments.ints(3), arguments.integer(4));                                               \
  }
SACCADE_BINARY(SACCADE_DEFINE)
#undef SACCADE_DEFINE

#define SACCADE_DEFINE(NAME, OPERATOR)                                                          \
  SACCADE_KERNEL(NAME) {                                                                        \
    saccade::binary<uint8_t, saccade::portable::CompareRow>(                                    \
        SACCADE_CALL(rows##NAME), arguments.bytes(2), arguments.floats(0), arguments.floats(1), \
        arguments.ints(3), arguments.integer(4));                                               \
  }
SACCADE_COMPARE(SACCADE_DEFINE)
#undef SACCADE_DEFINE

/// Select(condition, yes, no, y)
SACCADE_KERNEL(Select) {
  const uint8_t* condition = arguments.bytes(0);
  const float* yes = arguments.floats(1);
  const float* no = arguments.floats(2);
  float* y = arguments.floats(3);
  const auto run = SACCADE_CALL(selectRow);
  saccade::parallelFor(arguments.length(3), saccade::grain, [=](int64_t begin, int64_t end) {
    run(y + begin, condition + begin, yes + begin, no + begin, end - begin);
  });
}

/// AddN(y, x, x, …): adds each x to y.
SACCADE_KERNEL(AddN) {
  float* y = arguments.floats(0);
  const auto run = SACCADE_CALL(addRow);
  for (size_t i = 1; i < arguments.count(); i++) {
    const float* x = arguments.floats(i);
    saccade::parallelFor(arguments.length(0), saccade::grain, [=](int64_t begin, int64_t end) {
      run(y + begin, x + begin, end - begin);
    });
  }
}

/// floatsToInts(x, y)
SACCADE_KERNEL(floatsToInts) {
  const float* x = arguments.floats(0);
  int32_t* y = arguments.ints(1);
  const auto run = SACCADE_CALL(toInts);
  saccade::parallelFor(arguments.length(1), saccade::grain, [=](int64_t begin, int64_t end) {
    run(y + begin, x + begin, end - begin);
  });
}

/// intsToFloats(x, y)
SACCADE_KERNEL(intsToFloats) {
  const int32_t* x = arguments.ints(0);
  float* y = arguments.floats(1);
  const auto run = SACCADE_CALL(toFloats);
  saccade::parallelFor(arguments.length(1), saccade::grain, [=](int64_t begin, int64_t end) {
    run(y + begin, x + begin, end - begin);
  });
}

/// bytesToInts(x, y)
SACCADE_KERNEL(bytesToInts) {
  const uint8_t* x = arguments.bytes(0);
  std::copy(x, x + arguments.length(0), arguments.ints(1));
}

/// bytesToFloats(x, y)
SACCADE_KERNEL(bytesToFloats) {
  const uint8_t* x = arguments.bytes(0);
  float* y = arguments.floats(1);
  const auto run = SACCADE_CALL(bytesToFloats);
  saccade::parallelFor(arguments.length(1), saccade::grain, [=](int64_t begin, int64_t end) {
    run(y + begin, x + begin, end - begin);
  });
}
