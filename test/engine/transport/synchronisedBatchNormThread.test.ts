import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { createRandom } from '../../../engine/support/random.js';
import { askAll, Members } from './members.js';

interface Problem {
  /** `[rows, features]` of each process. */
  readonly x: number[][][];
  readonly dy: number[][][];
  readonly scale: number[];
  readonly shift: number[];
}

type Answer = Readonly<Record<'y' | 'mean' | 'variance' | 'dx' | 'dScale' | 'dShift', number[]>> & {
  readonly tensors: number;
};

const epsilon = 1e-5;

/** @param rows of each process. */
function drawProblem(
  rows: readonly number[],
  features: number,
  offset: number,
  seed: number,
): Problem {
  const random = createRandom(seed, 'rows');
  const vector = (mean: number): number[] =>
    Array.from({ length: features }, () => Math.fround(mean + random.normal()));
  const parts = (mean: number): number[][][] =>
    rows.map((count) => Array.from({ length: count }, () => vector(mean)));
  return { x: parts(offset), dy: parts(0), scale: vector(1), shift: vector(0) };
}

interface Expected {
  readonly value: number;
  /** Room for rounding. */
  readonly within: number;
}

/**
 * One feature of the joined batch in float64: Ioffe & Szegedy 2015, Algorithm 1 and sec. 3. How far float32 may be from it follows
 * from the sums, which lose a rounding for each row, and from how each result depends on them.
 */
function joined({ x, dy, scale, shift }: Problem, feature: number) {
  const column = (parts: number[][][]): number[] => parts.flat().map((row) => row[feature]);
  const [values, slopes] = [column(x), column(dy)];
  const n = values.length;
  const mean = values.reduce((a, b) => a + b) / n;
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / n;
  const inverse = 1 / Math.sqrt(variance + epsilon);
  const normal = values.map((v) => (v - mean) * inverse);
  const [g, b] = [scale[feature], shift[feature]];
  const dShift = slopes.reduce((a, c) => a + c);
  const dScale = slopes.reduce((sum, d, i) => sum + d * normal[i], 0);

  const largest = (list: number[]): number => Math.max(...list.map(Math.abs));
  const [size, reach, slope] = [largest(values), largest(normal), largest(slopes)];
  const sum = (n + 8) * 2 ** -24;
  const ofMean = sum * size;
  // The square root halves what the variance is off, which the mean shifts and each difference has rounded.
  const ofInverse = sum + 2 * inverse * ofMean;
  const ofNormal = inverse * 2 * ofMean + reach * ofInverse;
  const ofShared = 2 * slope * (sum * (1 + reach * reach) + 2 * reach * ofNormal);
  const terms = slope * (2 + reach * reach);
  const near = (value: number, within: number): Expected => ({ value, within: 4 * within });
  return {
    y: normal.map((v) =>
      near(v * g + b, Math.abs(g) * ofNormal + sum * (Math.abs(v * g) + Math.abs(b))),
    ),
    mean: near(mean, ofMean),
    variance: near(variance, variance * sum + 2 * Math.sqrt(variance) * ofMean + ofMean ** 2),
    dx: slopes.map((d, i) =>
      near(
        g * inverse * (d - (dShift + normal[i] * dScale) / n),
        Math.abs(g) * inverse * (ofShared + terms * (ofInverse + sum)),
      ),
    ),
    dScale: near(dScale, n * slope * (ofNormal + sum * reach)),
    dShift: near(dShift, n * slope * sum),
  };
}

function expectNear(actual: number, { value, within }: Expected, what: string): void {
  expect(Math.abs(actual - value), `${what}: ${actual}, not ${value}`).toBeLessThanOrEqual(within);
}

describe('synchronisedBatchNorm', { timeout: 120_000 }, () => {
  const processes = new Members();

  it.each([1, 2, 3])(
    'gives %i processes what one has of the joined batch: values, statistics, gradients',
    async (world) => {
      const members = await processes.start(world);
      const problems = fc
        .record({
          rows: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: world, maxLength: world }),
          features: fc.integer({ min: 1, max: 5 }),
          offset: fc.constantFrom(0, 1, -30),
          seed: fc.nat(),
        })
        .map(({ rows, features, offset, seed }) => drawProblem(rows, features, offset, seed));
      await fc.assert(
        fc.asyncProperty(problems, async (problem) => {
          const { x, dy, scale, shift } = problem;
          const answers = (await askAll(members, (rank) => ({
            call: 'batchNorm',
            value: { x: x[rank], dy: dy[rank], scale, shift },
          }))) as Answer[];
          expect(answers.map(({ tensors }) => tensors)).toEqual(Array(world).fill(0));
          const features = scale.length;
          const all = (name: 'y' | 'dx'): number[] => answers.flatMap((answer) => answer[name]);
          const total = (name: 'dScale' | 'dShift', f: number): number =>
            answers.reduce((sum, answer) => sum + answer[name][f], 0);
          for (let f = 0; f < features; f++) {
            const expected = joined(problem, f);
            for (const name of ['y', 'dx'] as const) {
              expected[name].forEach((value, i) =>
                expectNear(all(name)[i * features + f], value, `${name} ${i}, ${f}`),
              );
            }
            for (const name of ['mean', 'variance'] as const) {
              for (const answer of answers) {
                expectNear(answer[name][f], expected[name], `${name} ${f}`);
                // The same bits everywhere.
                expect(answer[name][f]).toBe(answers[0][name][f]);
              }
            }
            // Shares, as of other parameters: what averages gradients adds them up.
            for (const name of ['dScale', 'dShift'] as const) {
              expectNear(total(name, f), expected[name], `${name} ${f}`);
            }
          }
        }),
        { numRuns: 40 },
      );
    },
  );
});
