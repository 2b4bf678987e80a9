import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  accuracy,
  balancedAccuracy,
  classMetrics,
  confusionMatrix,
  meanInterval,
  studentQuantile,
  wilsonInterval,
} from '../../models/evaluation/metrics.js';
import { classificationReport, reportTable } from '../../models/evaluation/report.js';

describe('confusionMatrix', () => {
  it('counts true classes in rows and predictions in columns', () => {
    expect(confusionMatrix([0, 0, 1, 2, 2], [0, 2, 1, 2, 0], 3)).toEqual([
      [1, 0, 1],
      [0, 1, 0],
      [1, 0, 1],
    ]);
  });

  it('refuses classes out of range and lists of different length', () => {
    expect(() => confusionMatrix([0, 3], [0, 0], 3)).toThrow(/sample 1/);
    expect(() => confusionMatrix([0], [-1], 3)).toThrow(/sample 0/);
    expect(() => confusionMatrix([0], [0.5], 3)).toThrow(/sample 0/);
    expect(() => confusionMatrix([0, 1], [0], 3)).toThrow(/2 true classes but 1/);
  });
});

describe('wilsonInterval', () => {
  it('gives published values', () => {
    // Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    const published = [
      [81, 263, 0.2553, 0.3662],
      [15, 148, 0.0624, 0.1605],
      [0, 20, 0, 0.1611],
      [1, 29, 0.0061, 0.1718],
    ];
    for (const [k, n, low, high] of published) {
      expect(wilsonInterval(k, n)[0]).toBeCloseTo(low, 4);
      expect(wilsonInterval(k, n)[1]).toBeCloseTo(high, 4);
    }
  });

  it('holds the share, stays in [0, 1] and mirrors', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.nat(5000), (n, k) => {
        fc.pre(k <= n);
        const [low, high] = wilsonInterval(k, n);
        expect(low).toBeGreaterThanOrEqual(0);
        expect(high).toBeLessThanOrEqual(1);
        expect(low).toBeLessThanOrEqual(k / n);
        expect(high).toBeGreaterThanOrEqual(k / n);
        expect(wilsonInterval(n - k, n)[0]).toBeCloseTo(1 - high, 12);
      }),
    );
  });

  it('refuses what is no share', () => {
    expect(() => wilsonInterval(0, 0)).toThrow(RangeError);
    expect(() => wilsonInterval(3, 2)).toThrow(RangeError);
  });
});

describe('metrics of a confusion matrix', () => {
  const matrix = [
    [8, 2, 0],
    [1, 4, 0],
    [5, 0, 0],
  ];

  it('gives precision, recall, F1 and support of each class', () => {
    const [first, second, third] = classMetrics(matrix);
    expect(first).toEqual({ precision: 8 / 14, recall: 0.8, f1: 16 / 24, support: 10 });
    expect(second).toEqual({ precision: 4 / 6, recall: 0.8, f1: 8 / 11, support: 5 });
    expect(third).toEqual({ precision: null, recall: 0, f1: 0, support: 5 });
  });

  it('gives the accuracy with its interval, and the balanced accuracy', () => {
    expect(accuracy(matrix)).toEqual({
      correct: 12,
      total: 20,
      value: 0.6,
      interval95: wilsonInterval(12, 20),
    });
    expect(balancedAccuracy(matrix)).toBeCloseTo((0.8 + 0.8 + 0) / 3, 12);
  });

  it('leaves classes without samples out of the balanced accuracy', () => {
    expect(
      balancedAccuracy([
        [3, 1],
        [0, 0],
      ]),
    ).toBe(0.75);
  });

  it('has no numbers for no samples', () => {
    const empty = [
      [0, 0],
      [0, 0],
    ];
    expect(accuracy(empty)).toEqual({ correct: 0, total: 0, value: null, interval95: null });
    expect(balancedAccuracy(empty)).toBeNull();
    expect(classMetrics(empty)[0]).toEqual({ precision: null, recall: null, f1: null, support: 0 });
  });
});

describe('studentQuantile', () => {
  /** P(T <= t) by Simpson's rule over the density, its constant by the same rule over all of it. */
  function cumulative(t: number, v: number): number {
    // With x = sqrt(v) tan(a) the density is proportional to cos(a)^(v - 1) on (-pi/2, pi/2).
    const integral = (from: number, to: number): number => {
      const steps = 4000;
      const h = (to - from) / steps;
      let total = 0;
      for (let i = 0; i <= steps; i++) {
        const weight = i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2;
        total += weight * Math.cos(from + i * h) ** (v - 1);
      }
      return (total * h) / 3;
    };
    return 0.5 + integral(0, Math.atan(t / Math.sqrt(v))) / (2 * integral(0, Math.PI / 2));
  }

  it('leaves 2.5 % above it, whatever the degrees of freedom', () => {
    for (const v of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 20, 30, 100]) {
      expect(cumulative(studentQuantile(v), v)).toBeCloseTo(0.975, 6);
    }
  });
});

describe('meanInterval', () => {
  it('gives the t interval over seeds', () => {
    const result = meanInterval([0.8, 0.9, 0.85]);
    expect(result.mean).toBeCloseTo(0.85, 12);
    expect(result.standardDeviation).toBeCloseTo(0.05, 12);
    const half = (4.302653 * 0.05) / Math.sqrt(3);
    expect(result.interval95?.[0]).toBeCloseTo(0.85 - half, 6);
    expect(result.interval95?.[1]).toBeCloseTo(0.85 + half, 6);
  });

  it('has no interval for one value and refuses none', () => {
    expect(meanInterval([0.5])).toEqual({
      count: 1,
      mean: 0.5,
      standardDeviation: null,
      interval95: null,
    });
    expect(() => meanInterval([])).toThrow(RangeError);
  });
});

describe('classificationReport', () => {
  const confusion = [
    [8, 2],
    [0, 0],
  ];

  it('survives JSON unchanged', () => {
    const report = classificationReport(confusion, ['wave', 'clap']);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect(report.classes[0]).toMatchObject({ name: 'wave', recall: 0.8, support: 10 });
  });

  it('prints a line per class and the totals, without escape codes', () => {
    const text = reportTable(classificationReport(confusion, ['wave', 'clap']));
    expect(text).not.toContain('\u001b');
    expect(text).toMatch(/wave\s*│\s*100\.0 %\s*│\s*80\.0 %\s*│\s*88\.9 %\s*│\s*10 /);
    expect(text).toMatch(/clap\s*│\s*0\.0 %\s*│\s*–\s*│\s*0\.0 %\s*│\s*0 /);
    expect(text).toContain('accuracy 80.0 % (8 of 10; 95 % interval 49.0 … 94.3 %)');
    expect(text).toContain('balanced accuracy 80.0 %');
  });

  it('says so where there are no samples', () => {
    expect(reportTable(classificationReport([[0]], ['wave']))).toContain('no samples');
  });

  it('refuses names that do not fit', () => {
    expect(() => classificationReport(confusion, ['wave'])).toThrow(/1 class names for 2/);
  });
});
