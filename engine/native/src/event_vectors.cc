// Loops over events that run in vectors: engine/ops/eventLoops.ts says what is computed.
#include <algorithm>

#include "registry.h"

#define SACCADE_FILE "event_vectors.inl"
#include "targets.h"

/// decaySince(out, latest, endUs, tauUs)
SACCADE_KERNEL(decaySince) {
  const auto run = SACCADE_CALL(decay);
  run(arguments.floats(0), arguments.doubles(1), arguments.number(2), arguments.number(3),
      std::min(arguments.length(0), arguments.length(1)));
}

/// soundEvents(tUs, x, y, polarity, flag, width, height): flag becomes 1 where all events are, otherwise 0.
SACCADE_KERNEL(soundEvents) {
  const auto run = SACCADE_CALL(sound);
  const int64_t count = std::min({arguments.length(0), arguments.length(1), arguments.length(2),
                                  arguments.length(3)});
  arguments.ints(4)[0] =
      run(arguments.doubles(0), arguments.shorts(1), arguments.shorts(2), arguments.bytes(3), count,
          arguments.integer(5), arguments.integer(6));
}

/// wholeEvents(tUs, x, y, flag, width, height): flag becomes 1 where all events are, otherwise 0.
SACCADE_KERNEL(wholeEvents) {
  const auto run = SACCADE_CALL(whole);
  const int64_t count = std::min({arguments.length(0), arguments.length(1), arguments.length(2)});
  arguments.ints(3)[0] = run(arguments.doubles(0), arguments.shorts(1), arguments.shorts(2), count,
                             arguments.integer(4), arguments.integer(5));
}

/// finiteValues(values, flag): flag becomes 1 where all are, otherwise 0.
SACCADE_KERNEL(finiteValues) {
  const auto run = SACCADE_CALL(finite);
  arguments.ints(1)[0] = run(arguments.floats(0), arguments.length(0));
}
