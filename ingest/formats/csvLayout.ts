import type { LayoutOptions } from '../format.js';
import { type ColumnRole, columnRoles, namedColumn } from './columns.js';

/** Which column of a text recording is what. */
export interface CsvLayout {
  readonly columns: Readonly<Record<ColumnRole, number>>;
  /** µs per unit of the time column. */
  readonly usPerUnit: number;
  /** Offset of the first line that may be an event. */
  readonly firstLine: number;
  /** Whether a polarity of 0 says that nothing happened, as a CeleX-V has it, and not OFF. */
  readonly zeroIsNoEvent?: boolean;
}

/** Orders that files without names are tried for; where several fit, the first is taken. */
const usualOrders: readonly (readonly ColumnRole[])[] = [
  ['t', 'x', 'y', 'p'],
  ['x', 'y', 'p', 't'],
  ['x', 'y', 't', 'p'],
  ['p', 'x', 'y', 't'],
];

/** Of a CeleX-V: y, x, brightness, polarity, time. */
const celexColumns = { y: 0, x: 1, p: 3, t: 4 } as const;
const celexLength = 5;

const maxRows = 200;
const byteOrderMark = [0xef, 0xbb, 0xbf];
const number = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
const flag = /^(true|false|on|off)$/i;

/**
 * Tells the columns of a text recording from its first bytes: by a line of names (which may be a comment),
 * else by their values, for four columns in a usual order: polarities are -1, 0 or 1, coordinates are
 * integers up to 65535, times hardly ever fall, and are preferably the column with a decimal point
 * or the largest value; or for the five columns of a CeleX-V: y, x, brightness, polarity, time.
 *
 * @param whole whether `sample` is the whole file, so that its last line is not cut.
 * @param given what is known: each column by its number from 1 on, and the unit of the times. A first line that
 *   is no data is passed over as names.
 * @returns undefined where the text does not look like events.
 */
export function guessCsvLayout(
  sample: Uint8Array,
  whole: boolean,
  given: LayoutOptions = {},
): CsvLayout | undefined {
  const order = numberedColumns(given);
  let names: CsvNames | undefined;
  const rows: string[][] = [];
  let firstLine = byteOrderMark.every((byte, i) => sample[i] === byte) ? byteOrderMark.length : 0;
  for (const { text, end } of lines(sample, whole)) {
    if (rows.length >= maxRows) break;
    const comment = /^\s*[#%]/.test(text);
    const fields = text.replace(/^\s*[#%]+/, '').trim();
    if (fields === '') continue;
    const row = splitFields(fields);
    const isData = !comment && row.every((field) => number.test(field) || flag.test(field));
    if (isData) {
      rows.push(row);
    } else if (rows.length === 0 && names === undefined) {
      names = columnNames(fields);
      if (names !== undefined || (order !== undefined && !comment)) firstLine = end;
      else if (!comment) return undefined;
    }
  }
  const zeroIsNoEvent = order === undefined && names === undefined && looksLikeCelex(rows);
  const columns = order ?? names?.columns ?? (zeroIsNoEvent ? celexColumns : guessColumns(rows));
  if (columns === undefined) return undefined;
  // Most lines, so that a damaged one does not change the unit of the others.
  const decimals = rows.filter((row) => /[.e]/i.test(row[columns.t] ?? '')).length;
  const decimal = 2 * decimals > rows.length;
  const usPerUnit = given.usPerUnit ?? names?.usPerUnit ?? (decimal ? 1e6 : 1);
  return { columns, usPerUnit, firstLine, zeroIsNoEvent };
}

/** The columns where they are given by their numbers from 1 on. */
function numberedColumns({ columns = {} }: LayoutOptions): CsvLayout['columns'] | undefined {
  const [t, x, y, p] = columnRoles.map((role) => Number(columns[role]) - 1);
  const isColumn = (column: number): boolean => Number.isInteger(column) && column >= 0;
  return [t, x, y, p].every(isColumn) ? { t, x, y, p } : undefined;
}

interface CsvNames {
  readonly columns: CsvLayout['columns'];
  readonly usPerUnit?: number;
}

function columnNames(line: string): CsvNames | undefined {
  const columns: Partial<Record<ColumnRole, number>> = {};
  let usPerUnit: number | undefined;
  // Names may hold blanks (`time [s]`), so these separate only where there is nothing else.
  const fields = /[,;\t]/.test(line) ? line.split(/[,;\t]/) : line.split(/\s+(?![[(])/);
  fields.forEach((field, i) => {
    const column = namedColumn(field);
    if (column === undefined || columns[column.role] !== undefined) return;
    columns[column.role] = i;
    usPerUnit ??= column.usPerUnit;
  });
  const { t, x, y, p } = columns;
  if (t === undefined || x === undefined || y === undefined || p === undefined) return undefined;
  return { columns: { t, x, y, p }, usPerUnit };
}

/** The columns of rows without names, by their values; undefined where no usual order fits. */
export function guessColumns(rows: readonly string[][]): CsvLayout['columns'] | undefined {
  const whole = rows.filter((row) => row.length === columnRoles.length);
  if (whole.length === 0 || whole.length < 0.8 * rows.length) return undefined;
  const columns = columnRoles.map((_, i) => whole.map((row) => row[i]));
  let best: { columns: CsvLayout['columns']; score: number } | undefined;
  for (const order of usualOrders) {
    const [t, x, y, p] = columnRoles.map((role) => order.indexOf(role));
    const times = columns[t].map(Number);
    const fits =
      columns[p].every((field) => flag.test(field) || Math.abs(Number(field)) <= 1) &&
      columns[p].every((field) => flag.test(field) || Number.isInteger(Number(field))) &&
      isCoordinate(columns[x]) &&
      isCoordinate(columns[y]) &&
      hardlyEverFalls(times);
    if (!fits) continue;
    const score = columns[t].some((field) => field.includes('.')) ? Infinity : Math.max(...times);
    if (best === undefined || score > best.score) best = { columns: { t, x, y, p }, score };
  }
  return best?.columns;
}

function looksLikeCelex(rows: readonly string[][]): boolean {
  const whole = rows.filter((row) => row.length === celexLength);
  if (whole.length === 0 || whole.length < 0.8 * rows.length) return false;
  const { y, x, p, t } = celexColumns;
  const brightness = 2;
  return (
    [y, x, brightness].every((column) => isCoordinate(whole.map((row) => row[column]))) &&
    whole.every((row) => ['-1', '0', '1'].includes(row[p])) &&
    hardlyEverFalls(whole.map((row) => Number(row[t])))
  );
}

function isCoordinate(fields: readonly string[]): boolean {
  return fields.every((field) => {
    const value = Number(field);
    return Number.isInteger(value) && value >= 0 && value <= 65_535;
  });
}

function hardlyEverFalls(times: readonly number[]): boolean {
  const falls = times.filter((t, i) => i > 0 && t < times[i - 1]).length;
  return times.every(Number.isFinite) && falls <= times.length / 20;
}

function splitFields(line: string): string[] {
  return line.split(/[\s,;]+/).filter((field) => field !== '');
}

function* lines(sample: Uint8Array, whole: boolean): Generator<{ text: string; end: number }> {
  const decoder = new TextDecoder();
  let start = 0;
  while (start < sample.length) {
    const newline = sample.indexOf(0x0a, start);
    if (newline < 0 && !whole) return;
    const end = newline < 0 ? sample.length : newline + 1;
    yield { text: decoder.decode(sample.subarray(start, end)), end };
    start = end;
  }
}
