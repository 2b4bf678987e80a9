// The element-wise operations by TensorFlow.js's kernel names.
#pragma once

#define SACCADE_UNARY(X)                                                                        \
  X(Abs) X(Ceil) X(ClipByValue) X(Cos) X(Elu) X(Erf) X(Exp) X(Expm1) X(Floor) X(LeakyRelu)      \
  X(Log) X(Log1p) X(Neg) X(Reciprocal) X(Relu) X(Relu6) X(Round) X(Rsqrt) X(Selu) X(Sigmoid)    \
  X(Sign) X(Sin) X(Softplus) X(Sqrt) X(Square) X(Step) X(Tanh)

#define SACCADE_BINARY(X)                                                                  \
  X(Add) X(EluGrad) X(Maximum) X(Minimum) X(Multiply) X(Pow) X(Prelu) X(RealDiv)           \
  X(SquaredDifference) X(Sub)

#define SACCADE_COMPARE(X) \
  X(Equal, ==) X(NotEqual, !=) X(Greater, >) X(GreaterEqual, >=) X(Less, <) X(LessEqual, <=)
