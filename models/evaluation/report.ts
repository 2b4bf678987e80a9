import Table from 'cli-table3';
import {
  accuracy,
  balancedAccuracy,
  classMetrics,
  type Accuracy,
  type ClassMetrics,
  type ConfusionMatrix,
} from './metrics.js';

/** What an evaluation found; holds nothing that JSON cannot. */
export interface ClassificationReport {
  readonly accuracy: Accuracy;
  /** Mean recall in [0, 1]. */
  readonly balancedAccuracy: number | null;
  readonly classes: readonly ({ readonly name: string } & ClassMetrics)[];
  /** Rows true, columns predicted, in the order of `classes`. */
  readonly confusion: ConfusionMatrix;
}

/**
 * @param classes the names, as many as the matrix has rows.
 * @throws RangeError where they are not.
 */
export function classificationReport(
  confusion: ConfusionMatrix,
  classes: readonly string[],
): ClassificationReport {
  if (classes.length !== confusion.length) {
    throw new RangeError(`${classes.length} class names for ${confusion.length} classes`);
  }
  return {
    accuracy: accuracy(confusion),
    balancedAccuracy: balancedAccuracy(confusion),
    classes: classMetrics(confusion).map((metrics, i) => ({ name: classes[i], ...metrics })),
    confusion,
  };
}

/** The report as text for a terminal, without colours: one line per class, then the totals. */
export function reportTable(report: ClassificationReport): string {
  const table = new Table({
    head: ['class', 'precision', 'recall', 'F1', 'support'],
    colAligns: ['left', 'right', 'right', 'right', 'right'],
    style: { head: [], border: [], compact: true },
  });
  for (const { name, precision, recall, f1, support } of report.classes) {
    table.push([name, percent(precision), percent(recall), percent(f1), support]);
  }
  return [
    table.toString(),
    accuracyLine(report.accuracy),
    `balanced accuracy ${percent(report.balancedAccuracy)}`,
  ].join('\n');
}

/** "accuracy 87.5 % (35 of 40; 95 % interval 73.9 … 94.5 %)". */
export function accuracyLine({ value, correct, total, interval95 }: Accuracy): string {
  if (value === null || interval95 === null) return 'accuracy – (no samples)';
  const [low, high] = interval95.map((end) => (end * 100).toFixed(1));
  return `accuracy ${percent(value)} (${correct} of ${total}; 95 % interval ${low} … ${high} %)`;
}

function percent(share: number | null): string {
  return share === null ? '–' : `${(share * 100).toFixed(1)} %`;
}
