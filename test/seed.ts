import fc from 'fast-check';

/**
 * Properties draw the same inputs in every run, so that a change is judged by what it changed. Another number in
 * `SACCADE_TEST_SEED` looks elsewhere, `random` at what was never seen; a failure prints the seed that repeats it.
 */
const seed = process.env.SACCADE_TEST_SEED ?? '20241116';
if (seed !== 'random') {
  if (!/^-?\d+$/.test(seed))
    throw new Error(`SACCADE_TEST_SEED is '${seed}': a whole number or 'random' was expected`);
  fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(seed) });
}
