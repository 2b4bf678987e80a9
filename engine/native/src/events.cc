// Event camera words to events, for the decoders in ingest/formats, whose own loops say what is computed, and
// (at the end) events to text. Each loop stops in front of what is out of the ordinary (words to report); the
// decoder goes on from there.
//
// Arguments of decoders: bytes, position, end, tUs, x, y, polarity, count, full, width, height, state. The state's first two
// values are where the loop stopped, in bytes and events; the others belong to the format.
#include <algorithm>
#include <cstring>

#include "registry.h"

namespace {

constexpr double wrapUs = 4294967296.0;  // 2^32
constexpr double halfWrapUs = wrapUs / 2;

/// What all loops read and write, within the bounds of the arrays.
struct Task {
  const uint8_t* bytes;
  int64_t position, end;
  double* tUs;
  uint16_t* x;
  uint16_t* y;
  uint8_t* polarity;
  int64_t count, full;
  int64_t width, height;
  double* state;

  explicit Task(const saccade::Arguments& arguments)
      : bytes(arguments.bytes(0)),
        position(std::max<int64_t>(0, arguments.integer(1))),
        end(std::min(arguments.integer(2), arguments.length(0))),
        tUs(arguments.doubles(3)),
        x(arguments.shorts(4)),
        y(arguments.shorts(5)),
        polarity(arguments.bytes(6)),
        count(std::max<int64_t>(0, arguments.integer(7))),
        full(std::min({arguments.integer(8), arguments.length(3), arguments.length(4),
                       arguments.length(5), arguments.length(6)})),
        width(arguments.integer(9)),
        height(arguments.integer(10)),
        state(arguments.doubles(11)) {}

  void stop(int64_t at, int64_t events) const {
    state[0] = static_cast<double>(at);
    state[1] = static_cast<double>(events);
  }
};

template <typename Word>
inline Word load(const uint8_t* bytes) {
  Word word;
  memcpy(&word, bytes, sizeof(Word));
  return word;
}

inline int32_t loadBigEndian(const uint8_t* bytes) {
  return static_cast<int32_t>(__builtin_bswap32(load<uint32_t>(bytes)));
}

/// Continues 32-bit times over their wraps (timeUnwrapper.ts).
struct TimeUnwrapper {
  double last, offsetUs;

  inline double next(double raw) {
    const double step = raw - last;
    if (__builtin_expect(step < -halfWrapUs || step > halfWrapUs, 0)) {
      if (step < 0) offsetUs += wrapUs;
      else if (offsetUs > 0) offsetUs -= wrapUs;
    }
    last = raw;
    return raw + offsetUs;
  }
};

/// Writes one event and says whether it is inside the sensor; outside, the next one takes its place.
#define SACCADE_PUT(time, column, row, on) \
  (tUs[count] = (time), x[count] = static_cast<uint16_t>(column), \
   y[count] = static_cast<uint16_t>(row), polarity[count] = static_cast<uint8_t>(on), \
   static_cast<int64_t>((column) < width) & static_cast<int64_t>((row) < height))

#define SACCADE_OUTPUT(task) \
  double* __restrict tUs = (task).tUs; \
  uint16_t* __restrict x = (task).x; \
  uint16_t* __restrict y = (task).y; \
  uint8_t* __restrict polarity = (task).polarity; \
  const int64_t width = (task).width, height = (task).height, full = (task).full; \
  int64_t count = (task).count

}  // namespace

/// EVT 2.0. State: last, loops, us of the times (evtTimeHigh.ts); outside, early; words of the 16 types.
SACCADE_KERNEL(decodeEvt2) {
  const Task task(arguments);
  SACCADE_OUTPUT(task);
  double* state = task.state;
  double last = state[2], loops = state[3], us = state[4];
  int64_t outside = 0, early = 0;
  int64_t others[16] = {};
  int64_t at = task.position;
  for (; at + 4 <= task.end && count < full; at += 4) {
    const uint32_t word = load<uint32_t>(task.bytes + at);
    const uint32_t type = word >> 28;
    if (type <= 1) {
      if (us < 0) {
        early++;
        continue;
      }
      const int64_t column = (word >> 11) & 0x7ff, row = word & 0x7ff;
      const int64_t inside = SACCADE_PUT(us + static_cast<int32_t>((word >> 22) & 0x3f), column, row, type);
      count += inside;
      outside += 1 - inside;
    } else if (type == 0x8) {
      const double value = word & 0xfffffff;
      constexpr double wrapJump = (1 << 28) - (1 << 22);
      if (last >= 0) {
        const double step = value - last;
        if (step <= -wrapJump) loops++;
        else if (step >= wrapJump && loops > 0) loops--;
      }
      last = value;
      us = loops * 17179869184.0 + value * 64;
    } else if (type == 0xa || type >= 0xd) {
      others[type]++;
    } else {
      break;
    }
  }
  task.stop(at, count);
  state[2] = last;
  state[3] = loops;
  state[4] = us;
  state[5] = static_cast<double>(outside);
  state[6] = static_cast<double>(early);
  for (int type = 0; type < 16; type++) state[7 + type] = static_cast<double>(others[type]);
}

namespace {

/// What an EVT 3.0 word of one type changes, as masks: words of all types take the same way, as they come in no
/// order that a processor could foresee. The state is one word: row from bit 0 on, polarity from 16, low
/// time from 20, x of the next vector from 32.
struct Evt3Word {
  uint64_t taken;     // the bits that are taken over from the word
  uint64_t advance;   // how far the next vector's x is
  uint32_t mask;      // a vector's bits
  uint32_t isX;       // 1: an event at the word's own x
};

constexpr uint64_t rowBits = 0xffff, onBits = uint64_t{0xf} << 16, lowBits = uint64_t{0xfff} << 20,
                   baseBits = uint64_t{0xffffffff} << 32;
constexpr Evt3Word evt3Words[16] = {
    {rowBits, 0, 0, 0},                    // ADDR_Y
    {},                                    // none
    {onBits, 0, 0, 1},                     // ADDR_X
    {onBits | baseBits, 0, 0, 0},          // VECT_BASE_X
    {0, uint64_t{12} << 32, 0xfff, 0},     // VECT_12
    {0, uint64_t{8} << 32, 0xff, 0},       // VECT_8
    {lowBits, 0, 0, 0},                    // TIME_LOW
    {},                                    // others change nothing
};

/// A word that gives events: bit i of the mask is one at `x + i`.
struct Evt3Events {
  uint64_t state;
  uint32_t x, mask;
};

/// Takes over a word of a type up to 6, or one that changes nothing.
inline Evt3Events takeEvt3(uint64_t state, uint32_t word) {
  const Evt3Word& changes = evt3Words[word >> 12];
  const uint64_t low = word & 0x7ff;
  const uint64_t fields =
      low | uint64_t{(word >> 11) & 1} << 16 | uint64_t{word & 0xfff} << 20 | low << 32;
  const uint64_t next = state ^ ((state ^ fields) & changes.taken);
  const uint32_t base = static_cast<uint32_t>(state >> 32);
  const uint32_t x = base ^ ((base ^ static_cast<uint32_t>(low)) & (0 - changes.isX));
  return {next + changes.advance, x, (word & changes.mask) | changes.isX};
}

/// The places of the bits in four bits, lowest first and 16 bits each, and their number.
struct FourBits {
  uint64_t places[16] = {};
  uint8_t count[16] = {};

  constexpr FourBits() {
    for (int mask = 0; mask < 16; mask++) {
      for (uint64_t bit = 0; bit < 4; bit++) {
        if ((mask >> bit & 1) != 0) places[mask] |= bit << (16 * count[mask]++);
      }
    }
  }
};

constexpr FourBits fourBits;
constexpr uint64_t inEach = 0x0001000100010001;
/// Words that are looked through at a time, for those that give events.
constexpr int evt3Block = 32;
constexpr int mostEventsOfWord = 12;

}  // namespace

/// EVT 3.0, from the first TIME_HIGH on. State: high, loops, highUs, lowUs, row, baseX, on, mask, maskX; outside.
SACCADE_KERNEL(decodeEvt3) {
  const Task task(arguments);
  SACCADE_OUTPUT(task);
  double* values = task.state;
  double high = values[2], loops = values[3], highUs = values[4];
  const auto number = [&](int i) { return static_cast<uint64_t>(values[i]); };
  uint64_t state = number(5) << 20 | number(6) | number(8) << 16 | number(7) << 32;
  uint32_t mask = static_cast<uint32_t>(number(9)), maskX = static_cast<uint32_t>(number(10));
  int64_t outside = 0;
  int64_t at = task.position;
  const auto timeOf = [&](uint64_t of) {
    return highUs + static_cast<int32_t>((of >> 20) & 0xfff);
  };
  for (;;) {
    // The lowest bit of a vector first. Only what is near the end of the batch comes here.
    while (mask != 0 && count < full) {
      const int64_t column = int64_t{maskX} + __builtin_ctz(mask);
      mask &= mask - 1;
      const int64_t row = state & rowBits;
      const int64_t inside = SACCADE_PUT(timeOf(state), column, row, (state >> 16) & 1);
      count += inside;
      outside += 1 - inside;
    }
    if (count >= full || at + 2 > task.end) break;
    if (count + evt3Block * mostEventsOfWord <= full) {
      // First the words, then the events of those that have some.
      Evt3Events found[evt3Block];
      int words = 0;
      const int64_t end = std::min(at + 2 * evt3Block, task.end - 1);
      const uint32_t sameHigh = 0x8000 | static_cast<uint32_t>(high);
      for (; at < end; at += 2) {
        const uint32_t word = load<uint16_t>(task.bytes + at);
        if ((word >= 0x7000 && word != sameHigh) || word >> 12 == 1) break;
        found[words] = takeEvt3(state, word);
        state = found[words].state;
        words += found[words].mask != 0;
      }
      for (int i = 0; i < words; i++) {
        const uint64_t of = found[i].state;
        const double timeUs = timeOf(of);
        const int64_t row = of & rowBits;
        uint32_t left = found[i].mask, x0 = found[i].x;
        if (int64_t{x0} + mostEventsOfWord > width || row >= height) {
          for (; left != 0; left &= left - 1) {
            const int64_t column = int64_t{x0} + __builtin_ctz(left);
            const int64_t inside = SACCADE_PUT(timeUs, column, row, (of >> 16) & 1);
            count += inside;
            outside += 1 - inside;
          }
          continue;
        }
        // Four places at a time, also where they hold fewer events: the next ones write over the rest.
        const uint64_t rows = static_cast<uint64_t>(row) * inEach;
        const uint32_t polarities = static_cast<uint32_t>((of >> 16) & 1) * 0x01010101;
        for (; left != 0; left >>= 4, x0 += 4) {
          const uint64_t columns = fourBits.places[left & 15] + x0 * inEach;
          memcpy(x + count, &columns, sizeof columns);
          memcpy(y + count, &rows, sizeof rows);
          memcpy(polarity + count, &polarities, sizeof polarities);
          for (int k = 0; k < 4; k++) tUs[count + k] = timeUs;
          count += fourBits.count[left & 15];
        }
      }
      if (at >= end) continue;
    }
    const uint32_t word = load<uint16_t>(task.bytes + at);
    const uint32_t type = word >> 12;
    if (type <= 6 && type != 1) {
      const Evt3Events events = takeEvt3(state, word);
      state = events.state;
      mask = events.mask;
      maskX = events.x;
    } else if (type == 8) {
      const double value = static_cast<double>(word & 0xfff);
      if (value != high) {
        const double step = value - high;
        if (step <= -2304) loops++;
        else if (step >= 4032 && loops > 0) loops--;
        high = value;
        highUs = loops * 16777216.0 + value * 4096;
        state &= ~lowBits;
      }
    } else {
      break;
    }
    at += 2;
  }
  task.stop(at, count);
  const double results[] = {high,
                            loops,
                            highUs,
                            static_cast<double>((state >> 20) & 0xfff),
                            static_cast<double>(state & rowBits),
                            static_cast<double>(state >> 32),
                            static_cast<double>((state >> 16) & 1),
                            static_cast<double>(mask),
                            static_cast<double>(maskX),
                            static_cast<double>(outside)};
  std::copy(std::begin(results), std::end(results), values + 2);
}

/// DAT. State: last, offsetUs of the times; outside; width and height of the layout's fields, shifts of y and polarity.
SACCADE_KERNEL(decodeDat) {
  const Task task(arguments);
  SACCADE_OUTPUT(task);
  double* state = task.state;
  TimeUnwrapper time{state[2], state[3]};
  const uint32_t xMask = static_cast<uint32_t>(state[5]) - 1;
  const uint32_t yMask = static_cast<uint32_t>(state[6]) - 1;
  const int yShift = static_cast<int>(state[7]) & 31, polarityShift = static_cast<int>(state[8]) & 31;
  int64_t outside = 0;
  int64_t at = task.position;
  for (; at + 8 <= task.end && count < full; at += 8) {
    const double t = time.next(load<uint32_t>(task.bytes + at));
    const uint32_t word = load<uint32_t>(task.bytes + at + 4);
    const int64_t column = word & xMask, row = (word >> yShift) & yMask;
    const int64_t inside = SACCADE_PUT(t, column, row, (word >> polarityShift) & 1);
    count += inside;
    outside += 1 - inside;
  }
  task.stop(at, count);
  state[2] = time.last;
  state[3] = time.offsetUs;
  state[4] = static_cast<double>(outside);
}

/// AEDAT 2.0. State: last, offsetUs of the times; outside, external, special or frames, IMU; whether of a DAVIS.
SACCADE_KERNEL(decodeAedat2) {
  const Task task(arguments);
  SACCADE_OUTPUT(task);
  double* state = task.state;
  TimeUnwrapper time{state[2], state[3]};
  const bool davis = state[8] != 0;
  int64_t outside = 0, external = 0, special = 0, imu = 0;
  int64_t at = task.position;
  for (; at + 8 <= task.end && count < full; at += 8) {
    const int32_t address = loadBigEndian(task.bytes + at);
    const uint32_t word = static_cast<uint32_t>(address);
    int64_t column, row;
    uint32_t on;
    if (davis) {
      if (address < 0) {
        if ((word & 0xc00) == 0xc00) imu++;
        else special++;
        continue;
      }
      if ((word & 0x400) != 0) {
        external++;
        continue;
      }
      column = (word >> 12) & 0x3ff;
      row = word >> 22;
      on = (word >> 11) & 1;
    } else {
      if (word >> 15 != 0) {
        if (word >> 16 == 0) external++;
        else special++;
        continue;
      }
      column = (word >> 1) & 0x7f;
      row = word >> 8;
      on = (word & 1) ^ 1;
    }
    const double t = time.next(loadBigEndian(task.bytes + at + 4));
    const int64_t inside = SACCADE_PUT(t, column, row, on);
    count += inside;
    outside += 1 - inside;
  }
  task.stop(at, count);
  state[2] = time.last;
  state[3] = time.offsetUs;
  state[4] = static_cast<double>(outside);
  state[5] = static_cast<double>(external);
  state[6] = static_cast<double>(special);
  state[7] = static_cast<double>(imu);
}

/// The records of AEDAT 4.0, up to a time out of range. State: outside.
SACCADE_KERNEL(decodeAedat4) {
  const Task task(arguments);
  SACCADE_OUTPUT(task);
  constexpr int64_t mostUs = int64_t{1} << 53;
  int64_t outside = 0;
  int64_t at = task.position;
  for (; at + 16 <= task.end && count < full; at += 16) {
    const int64_t t = load<int64_t>(task.bytes + at);
    if (t >= mostUs || t < -mostUs) break;
    const int64_t column = load<uint16_t>(task.bytes + at + 8);
    const int64_t row = load<uint16_t>(task.bytes + at + 10);
    const int64_t inside = SACCADE_PUT(static_cast<double>(t), column, row, task.bytes[at + 12] & 1);
    count += inside;
    outside += 1 - inside;
  }
  task.stop(at, count);
  task.state[2] = static_cast<double>(outside);
}

namespace {

/// Two digits each of 0 to 99.
struct DigitPairs {
  char text[200] = {};
  constexpr DigitPairs() {
    for (int i = 0; i < 100; i++) {
      text[2 * i] = static_cast<char>('0' + i / 10);
      text[2 * i + 1] = static_cast<char>('0' + i % 10);
    }
  }
};

constexpr DigitPairs digitPairs;

/// Writes a number in decimal digits and returns the place behind them.
inline uint8_t* writeDecimal(uint8_t* to, uint64_t value) {
  char digits[20];
  char* first = digits + sizeof digits;
  while (value >= 100) {
    memcpy(first -= 2, digitPairs.text + 2 * (value % 100), 2);
    value /= 100;
  }
  if (value >= 10) memcpy(first -= 2, digitPairs.text + 2 * value, 2);
  else *--first = static_cast<char>('0' + value);
  const size_t length = static_cast<size_t>(digits + sizeof digits - first);
  memcpy(to, first, length);
  return to + length;
}

/// The same for numbers that mostly have up to three digits.
inline uint8_t* writeCoordinate(uint8_t* to, uint32_t value) {
  if (value >= 1000) return writeDecimal(to, value);
  if (value >= 100) {
    *to++ = static_cast<uint8_t>('0' + value / 100);
    value %= 100;
  } else if (value < 10) {
    *to = static_cast<uint8_t>('0' + value);
    return to + 1;
  }
  memcpy(to, digitPairs.text + 2 * value, 2);
  return to + 2;
}

/// Writes times, of which most have the same digits as the last one but for two.
class TimeText {
 public:
  inline uint8_t* write(uint8_t* to, int64_t us) {
    if (us < 100) {
      if (us < 0) *to++ = '-';
      return writeDecimal(to, static_cast<uint64_t>(us < 0 ? -us : us));
    }
    const int64_t hundreds = us / 100;
    if (hundreds != hundreds_) {
      hundreds_ = hundreds;
      length_ = writeDecimal(text_, static_cast<uint64_t>(hundreds)) - text_;
    }
    memcpy(to, text_, sizeof text_);
    memcpy(to + length_, digitPairs.text + 2 * (us - 100 * hundreds), 2);
    return to + length_ + 2;
  }

 private:
  int64_t hundreds_ = 0;
  int64_t length_ = 0;
  uint8_t text_[16] = {};
};

}  // namespace

/// Events as lines "t,x,y,p" (csv.ts), at most 40 bytes each; stops where those may not fit.
/// Arguments: bytes, position, tUs, x, y, polarity, start, end, length (out: bytes behind the last line).
SACCADE_KERNEL(encodeCsv) {
  uint8_t* bytes = arguments.bytes(0);
  uint8_t* to = bytes + std::clamp<int64_t>(arguments.integer(1), 0, arguments.length(0));
  const double* tUs = arguments.doubles(2);
  const uint16_t* x = arguments.shorts(3);
  const uint16_t* y = arguments.shorts(4);
  const uint8_t* polarity = arguments.bytes(5);
  const int64_t end = std::min({arguments.integer(7), arguments.length(2), arguments.length(3),
                                arguments.length(4), arguments.length(5)});
  const uint8_t* last = bytes + arguments.length(0) - 40;
  TimeText time;
  for (int64_t i = std::max<int64_t>(0, arguments.integer(6)); i < end && to <= last; i++) {
    to = time.write(to, static_cast<int64_t>(tUs[i]));
    *to++ = ',';
    to = writeCoordinate(to, x[i]);
    *to++ = ',';
    to = writeCoordinate(to, y[i]);
    *to++ = ',';
    *to++ = polarity[i] == 0 ? '0' : '1';
    *to++ = '\n';
  }
  arguments.doubles(8)[0] = static_cast<double>(to - bytes);
}

namespace {

/// Writes what waits (evt3.ts) as one vector or as single events; returns the place behind it.
inline uint16_t* writeEvt3Waiting(uint16_t* to, uint32_t waiting, uint32_t x, uint32_t on, double* base) {
  const uint32_t address = 0x2000 | on << 11;
  if (waiting == 1) {
    *to++ = static_cast<uint16_t>(address | x);
    return to;
  }
  const bool goesOn = x == base[0] && on == base[1];
  const int count = __builtin_popcount(waiting);
  if (count >= 3 || (goesOn && count == 2)) {
    if (!goesOn) *to++ = static_cast<uint16_t>(0x3000 | on << 11 | x);
    *to++ = static_cast<uint16_t>(0x4000 | waiting);
    base[0] = x + 12;
    base[1] = on;
    return to;
  }
  for (; waiting != 0; waiting &= waiting - 1) {
    *to++ = static_cast<uint16_t>(address | (x + static_cast<uint32_t>(__builtin_ctz(waiting))));
  }
  return to;
}

}  // namespace

/// EVT 3.0, written as `writeRun` of evt3.ts does, up to an event outside the current TIME_HIGH.
/// Arguments: halfWords, position, tUs, x, y, polarity, start, end, state: highUs, lowUs, row, waiting, waitingX,
/// waitingOn, baseX, baseOn; out: position, and the first event that was not written.
SACCADE_KERNEL(encodeEvt3) {
  uint16_t* words = arguments.shorts(0);
  uint16_t* to = words + std::clamp<int64_t>(arguments.integer(1), 0, arguments.length(0));
  const double* tUs = arguments.doubles(2);
  const uint16_t* x = arguments.shorts(3);
  const uint16_t* y = arguments.shorts(4);
  const uint8_t* polarity = arguments.bytes(5);
  const int64_t end = std::min({arguments.integer(7), arguments.length(2), arguments.length(3),
                                arguments.length(4), arguments.length(5)});
  double* state = arguments.doubles(8);
  const double highUs = state[0];
  double lowUs = state[1];
  int32_t row = static_cast<int32_t>(state[2]);
  uint32_t waiting = static_cast<uint32_t>(state[3]), waitingX = static_cast<uint32_t>(state[4]),
           waitingOn = static_cast<uint32_t>(state[5]);
  // At most five words an event, and the vector that waits.
  const uint16_t* last = words + arguments.length(0) - 17;
  int64_t i = std::max<int64_t>(0, arguments.integer(6));
  for (; i < end && to <= last; i++) {
    const double newUs = tUs[i] - highUs;
    const uint32_t on = polarity[i] == 0 ? 0 : 1;
    const uint32_t offset = x[i] - waitingX;
    if (newUs == lowUs && y[i] == row && on == waitingOn && offset < 12 && 1u << offset > waiting) {
      // Only a bit above all others keeps the order.
      waiting |= 1u << offset;
      continue;
    }
    if (waiting != 0) to = writeEvt3Waiting(to, waiting, waitingX, waitingOn, state + 6);
    waiting = 0;
    if (newUs != lowUs) {
      if (!(newUs >= 0 && newUs < 4096)) break;
      lowUs = newUs;
      *to++ = static_cast<uint16_t>(0x6000 | static_cast<uint32_t>(newUs));
    }
    if (y[i] != row) {
      row = y[i];
      *to++ = static_cast<uint16_t>(row);
    }
    waiting = 1;
    waitingX = x[i];
    waitingOn = on;
  }
  const double results[] = {highUs, lowUs, static_cast<double>(row), static_cast<double>(waiting),
                            static_cast<double>(waitingX), static_cast<double>(waitingOn)};
  std::copy(std::begin(results), std::end(results), state);
  state[8] = static_cast<double>(to - words);
  state[9] = static_cast<double>(i);
}
