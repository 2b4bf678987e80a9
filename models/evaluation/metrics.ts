/**
 * Counts of (true class, predicted class): `matrix[t][p]` is the number of samples of class t that were
 * predicted as p. Square, whole numbers from 0.
 */
export type ConfusionMatrix = readonly (readonly number[])[];

/** [low, high]. */
export type Interval = readonly [low: number, high: number];

export interface Accuracy {
  readonly correct: number;
  readonly total: number;
  /** correct / total in [0, 1]; null where there is no sample. */
  readonly value: number | null;
  /** Wilson 95 % interval; null where there is no sample. */
  readonly interval95: Interval | null;
}

/** One class against the rest. A share whose denominator is 0 is null. */
export interface ClassMetrics {
  /** TP / (TP + FP): how many of those predicted as this class are of it. */
  readonly precision: number | null;
  /** TP / (TP + FN): how many of this class were found. */
  readonly recall: number | null;
  /** 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall. */
  readonly f1: number | null;
  /** Samples of this class. */
  readonly support: number;
}

export interface MeanInterval {
  readonly count: number;
  readonly mean: number;
  /** Of the sample, with n - 1; null for a single value. */
  readonly standardDeviation: number | null;
  /** Student's t 95 % interval of the mean; null for a single value. */
  readonly interval95: Interval | null;
}

/** The 97.5 % quantile of the standard normal distribution. */
const normalQuantile = 1.959963984540054;

/**
 * @param trueClasses class index of each sample, in 0 … classCount - 1.
 * @param predictedClasses the predictions, in the same order.
 * @throws RangeError where the lengths differ or an index is out of range.
 */
export function confusionMatrix(
  trueClasses: ArrayLike<number>,
  predictedClasses: ArrayLike<number>,
  classCount: number,
): number[][] {
  if (trueClasses.length !== predictedClasses.length) {
    throw new RangeError(
      `${trueClasses.length} true classes but ${predictedClasses.length} predictions`,
    );
  }
  const matrix = Array.from({ length: classCount }, () => new Array<number>(classCount).fill(0));
  for (let i = 0; i < trueClasses.length; i++) {
    const row = matrix[trueClasses[i]];
    if (row?.[predictedClasses[i]] === undefined) {
      throw new RangeError(
        `sample ${i}: class ${trueClasses[i]} or prediction ${predictedClasses[i]} is not in 0 … ${classCount - 1}`,
      );
    }
    row[predictedClasses[i]]++;
  }
  return matrix;
}

/** The share of samples on the diagonal, with its Wilson interval. */
export function accuracy(matrix: ConfusionMatrix): Accuracy {
  const correct = sum(matrix.map((row, i) => row[i]));
  const total = sum(matrix.map(sum));
  if (total === 0) return { correct, total, value: null, interval95: null };
  return { correct, total, value: correct / total, interval95: wilsonInterval(correct, total) };
}

/**
 * Wilson score interval of a share k / n (Wilson, JASA 22, 1927), p = k / n:
 *
 *     (p + z² / 2n ± z sqrt(p (1 - p) / n + z² / 4n²)) / (1 + z² / n)
 *
 * Unlike the normal interval it stays in [0, 1] and keeps its coverage for small n and p near 0 or 1.
 *
 * @param z normal quantile; the default gives 95 %.
 * @throws RangeError unless n is positive and 0 <= k <= n.
 */
export function wilsonInterval(k: number, n: number, z = normalQuantile): Interval {
  if (!(n > 0 && k >= 0 && k <= n)) throw new RangeError(`no share: ${k} of ${n}`);
  const share = k / n;
  const centre = share + (z * z) / (2 * n);
  const half = z * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n));
  const scale = 1 + (z * z) / n;
  // At k = 0 and k = n one end is exactly 0 or 1; rounding must not carry it out of the range.
  return [
    k === 0 ? 0 : Math.max(0, (centre - half) / scale),
    k === n ? 1 : Math.min(1, (centre + half) / scale),
  ];
}

/** Precision, recall, F1 and support of each class, in the order of the classes. */
export function classMetrics(matrix: ConfusionMatrix): ClassMetrics[] {
  return matrix.map((row, i) => {
    const truePositives = row[i];
    const support = sum(row);
    const predicted = sum(matrix.map((other) => other[i]));
    return {
      precision: ratio(truePositives, predicted),
      recall: ratio(truePositives, support),
      f1: ratio(2 * truePositives, support + predicted),
      support,
    };
  });
}

/** The mean recall of the classes that have samples; null where none has. */
export function balancedAccuracy(matrix: ConfusionMatrix): number | null {
  const recalls = classMetrics(matrix).flatMap(({ recall }) => (recall === null ? [] : [recall]));
  return ratio(sum(recalls), recalls.length);
}

/**
 * The mean of independent repetitions, for instance the accuracy over seeds, with Student's t interval
 *
 *     mean ± t(0.975, n - 1) s / sqrt(n)
 *
 * It is not cut to the range of the values: few or scattered repetitions may give an interval beyond 1.
 *
 * @throws RangeError without values.
 */
export function meanInterval(values: readonly number[]): MeanInterval {
  const count = values.length;
  if (count === 0) throw new RangeError('the mean of no values');
  const mean = sum(values) / count;
  if (count === 1) return { count, mean, standardDeviation: null, interval95: null };
  const squares = values.map((value) => (value - mean) ** 2);
  const standardDeviation = Math.sqrt(sum(squares) / (count - 1));
  const half = (studentQuantile(count - 1) * standardDeviation) / Math.sqrt(count);
  return { count, mean, standardDeviation, interval95: [mean - half, mean + half] };
}

/** t(0.975) for 1 … 10 degrees of freedom, where the expansion below is not good enough. */
const studentQuantiles = [
  12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157,
  2.228139,
];

/**
 * The 97.5 % quantile of Student's t distribution: from the table, above it by the Cornish-Fisher
 * expansion in 1 / degrees of freedom (Abramowitz & Stegun 26.7.5), within 1e-5.
 */
export function studentQuantile(degreesOfFreedom: number): number {
  const v = degreesOfFreedom;
  if (!Number.isInteger(v) || v < 1) throw new RangeError(`${v} degrees of freedom`);
  if (v <= studentQuantiles.length) return studentQuantiles[v - 1];
  const z = normalQuantile;
  return (
    z +
    (z ** 3 + z) / (4 * v) +
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * v ** 2) +
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * v ** 3) +
    (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / (92160 * v ** 4)
  );
}

function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
