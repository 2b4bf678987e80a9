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
