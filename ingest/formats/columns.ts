import type { BatchBuilder } from '../eventBatch.js';
import { countSkipped, type DecodeReport, reportDamage } from '../format.js';

/** What a column or field of a table of events holds. */
export type ColumnRole = 't' | 'x' | 'y' | 'p';

export const columnRoles: readonly ColumnRole[] = ['t', 'x', 'y', 'p'];

/** A named column that was recognised. */
export interface NamedColumn {
  readonly role: ColumnRole;
  /** For times whose name states the unit (`t_us`, `time [s]`): µs per unit. */
  readonly usPerUnit?: number;
}

const names: Readonly<Record<string, ColumnRole>> = {
  t: 't',
  ts: 't',
  time: 't',
  timestamp: 't',
  timestamps: 't',
  x: 'x',
  y: 'y',
  p: 'p',
  pol: 'p',
  polarity: 'p',
  on: 'p',
  'on/off': 'p',
};

const usPerUnit: Readonly<Record<string, number>> = {
  s: 1e6,
  sec: 1e6,
  seconds: 1e6,
  ms: 1e3,
  us: 1,
  usec: 1,
  µs: 1,
  microseconds: 1,
  ns: 1e-3,
};

/** Recognises a column by its name, whatever its case, with an optional unit behind times; else undefined. */
export function namedColumn(name: string): NamedColumn | undefined {
  const plain = name.trim().toLowerCase().replace(/["']/g, '');
  // `time`, `time_us`, `time [us]`, `time(us)`
  const [, base, , unit] = /^([a-z/]+)([\s_[(]+([a-zµ]+)[\])]?)?$/.exec(plain) ?? [];
  if (base === undefined) return undefined;
  const role = Object.hasOwn(names, base) ? names[base] : undefined;
  if (role === undefined) return undefined;
  if (unit === undefined) return { role };
  if (role !== 't' || !Object.hasOwn(usPerUnit, unit)) return undefined;
  return { role, usPerUnit: usPerUnit[unit] };
}

/**
 * Adds the events of `count` rows. Rows that are no event (NaN, fractions of a pixel, a polarity of 7) are
 * reported; those outside the sensor are counted.
 *
 * @param columns t in units of `usPerUnit` µs; p 1 = ON, 0 and -1 = OFF.
 * @param offsetOf byte offset of a row, for the report.
 */
export function pushRows(
  { t, x, y, p }: Readonly<Record<ColumnRole, ArrayLike<number>>>,
  count: number,
  usPerUnit: number,
  events: BatchBuilder,
  report: DecodeReport,
  offsetOf: (row: number) => number,
): void {
  const { width, height } = events.sensor;
  let outside = 0;
  for (let i = 0; i < count; i++) {
    const tUs = Math.round(t[i] * usPerUnit) + 0; // no -0
    const valid =
      Number.isSafeInteger(tUs) &&
      x[i] === Math.floor(x[i]) &&
      y[i] === Math.floor(y[i]) &&
      (p[i] === 0 || p[i] === 1 || p[i] === -1);
    if (!valid) {
      const message = `no event: t ${t[i]}, x ${x[i]}, y ${y[i]}, p ${p[i]}`;
      reportDamage(report, offsetOf(i), message);
    } else if (!(x[i] >= 0 && x[i] < width && y[i] >= 0 && y[i] < height)) {
      outside++;
    } else {
      events.push(tUs, x[i], y[i], p[i] === 1 ? 1 : 0);
    }
  }
  countSkipped(report, 'outsideSensor', outside);
}
