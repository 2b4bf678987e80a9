import type { Interval } from '../models/evaluation/metrics.js';

/** A table in Markdown: the first column to the left, numbers to the right. */
export function markdownTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '--:'))), ...rows.map(line)].join('\n'); // prettier-ignore
}

export function fixed(value: number | null | undefined, digits: number): string {
  return value === null || value === undefined ? '-' : value.toFixed(digits);
}

export function percent(share: number | null | undefined): string {
  return share === null || share === undefined ? '-' : `${(100 * share).toFixed(1)} %`;
}

/** The interval of a share ends at 0 and 100 %. */
export function interval(ends: Interval | null): string {
  if (ends === null) return '-';
  return ends.map((end) => (100 * Math.min(1, Math.max(0, end))).toFixed(1)).join(' … ');
}
