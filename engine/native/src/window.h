// Sliding windows over [batch, depth, height, width, channels], for convolution and pooling.
#pragma once

#include <cstdint>

#include "arguments.h"

namespace saccade {

struct Window {
  int64_t batch, inChannels, outChannels;
  /// Per axis: depth, height, width.
  int64_t in[3], out[3], size[3], stride[3], pad[3], dilation[3];

  int64_t inPixels() const { return in[0] * in[1] * in[2]; }
  int64_t outPixels() const { return out[0] * out[1] * out[2]; }
  int64_t taps() const { return size[0] * size[1] * size[2]; }
};

/// From 21 integers in the order of the members.
inline Window windowOf(const Arguments& arguments, size_t position) {
  const int32_t* values = arguments.ints(position);
  Window w;
  w.batch = values[0];
  w.inChannels = values[1];
  w.outChannels = values[2];
  int64_t* members[] = {w.in, w.out, w.size, w.stride, w.pad, w.dilation};
  for (int m = 0; m < 6; m++) {
    for (int axis = 0; axis < 3; axis++) members[m][axis] = values[3 + 3 * m + axis];
  }
  return w;
}

/// The outputs `begin` … `end - 1` along an axis whose tap `tap` meets an input that is there.
inline void outputsOf(const Window& w, int axis, int64_t tap, int64_t& begin, int64_t& end) {
  const int64_t shift = tap * w.dilation[axis] - w.pad[axis];  // input = output · stride + shift
  const int64_t stride = w.stride[axis];
  begin = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
  const int64_t room = w.in[axis] - 1 - shift;
  end = room < 0 ? 0 : room / stride + 1;
  if (end > w.out[axis]) end = w.out[axis];
  if (begin > end) begin = end;
}

}  // namespace saccade
