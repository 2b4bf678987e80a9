// LZ4 blocks (ingest/lz4.ts says how they are built). What is wrong in one is found again by the loop there, which says it.
#include <algorithm>
#include <cstring>

#include "registry.h"

namespace {

/// Bytes that are copied at a time, where so many may be read and written.
constexpr int64_t stride = 16;

/// Adds the bytes of a length above 15; false where it ends early.
inline bool readMore(const uint8_t*& from, const uint8_t* end, int64_t& length) {
  uint8_t more;
  do {
    if (from >= end) return false;
    more = *from++;
    length += more;
  } while (more == 255);
  return true;
}

}  // namespace

/// decodeLz4Block(block, start, end, out, to, limit, result): decompresses behind the first `to` bytes of out, up to
/// `limit` of them; result becomes their number, -1 where the block is damaged, or -2 where out is too short for it. Bytes
/// behind it may change.
SACCADE_KERNEL(decodeLz4Block) {
  const uint8_t* block = arguments.bytes(0);
  const int64_t blockLength = arguments.length(0);
  const uint8_t* from = block + std::clamp<int64_t>(arguments.integer(1), 0, blockLength);
  const uint8_t* end = block + std::clamp<int64_t>(arguments.integer(2), 0, blockLength);
  uint8_t* out = arguments.bytes(3);
  const int64_t capacity = arguments.length(3);
  int64_t to = std::clamp<int64_t>(arguments.integer(4), 0, capacity);
  const int64_t limit = std::min(arguments.integer(5), capacity);
  const double tooLong = arguments.integer(5) > capacity ? -2 : -1;
  double* result = arguments.doubles(6);
  result[0] = -1;
  for (;;) {
    if (from >= end) return;
    const uint8_t token = *from++;
    int64_t literals = token >> 4;
    if (literals == 15 && !readMore(from, end, literals)) return;
    if (literals > end - from) return;
    if (literals > limit - to) {
      result[0] = tooLong;
      return;
    }
    if (literals <= stride && end - from >= stride && capacity - to >= stride) {
      memcpy(out + to, from, stride);
    } else {
      memcpy(out + to, from, static_cast<size_t>(literals));
    }
    from += literals;
    to += literals;
    if (from == end) break;
    if (end - from < 2) return;
    const int64_t distance = from[0] | from[1] << 8;
    from += 2;
    int64_t match = token & 15;
    if (match == 15 && !readMore(from, end, match)) return;
    match += 4;
    if (distance == 0 || distance > to) return;
    if (match > limit - to) {
      result[0] = tooLong;
      return;
    }
    const uint8_t* source = out + to - distance;
    uint8_t* target = out + to;
    to += match;
    if (distance >= stride && capacity - to >= stride) {
      for (uint8_t* stop = out + to; target < stop; target += stride, source += stride) {
        memcpy(target, source, stride);
      }
    } else {
      // A match that reaches into itself repeats what it has just written.
      for (uint8_t* stop = out + to; target < stop;) *target++ = *source++;
    }
  }
  result[0] = static_cast<double>(to);
}
