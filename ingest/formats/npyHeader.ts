/** Scalar types that an array element or a field may have. */
export type NpyScalar = 'i1' | 'i2' | 'i4' | 'i8' | 'u1' | 'u2' | 'u4' | 'u8' | 'f4' | 'f8' | 'b1';

export interface NpyField {
  readonly name: string;
  /** Undefined for padding, text and other fields that are passed over. */
  readonly scalar: NpyScalar | undefined;
  readonly littleEndian: boolean;
  /** Offset in the record, bytes. */
  readonly offset: number;
  readonly length: number;
}

export interface NpyHeader {
  /** One field without a name for plain arrays. */
  readonly fields: readonly NpyField[];
  readonly structured: boolean;
  /** Length of one element or record, bytes. */
  readonly itemLength: number;
  readonly shape: readonly number[];
  readonly columnMajor: boolean;
}

/** Longer than the record of an event can be, whatever else is in it. */
const maxItemLength = 65_536;

type Literal = string | number | boolean | null | Literal[] | Map<string, Literal>;

/** Parses the dictionary of an NPY header. Throws an `Error` that says what was expected. */
export function parseNpyHeader(text: string): NpyHeader {
  const dictionary = parseLiteral(text);
  if (!(dictionary instanceof Map)) throw new Error('expected a dictionary');
  const descr = dictionary.get('descr');
  const shape = dictionary.get('shape');
  const columnMajor = dictionary.get('fortran_order');
  if (
    !Array.isArray(shape) ||
    !shape.every((size) => Number.isSafeInteger(size) && Number(size) >= 0)
  ) {
    throw new Error('expected a tuple of sizes as "shape"');
  }
  if (typeof columnMajor !== 'boolean') throw new Error('expected a boolean as "fortran_order"');
  const structured = Array.isArray(descr);
  const fields: NpyField[] = [];
  let itemLength = 0;
  for (const entry of structured ? descr : [['', descr ?? null]]) {
    const field = parseField(entry, itemLength);
    fields.push(field);
    itemLength += field.length;
  }
  if (itemLength < 1 || itemLength > maxItemLength) {
    throw new Error(`elements of ${itemLength} bytes, expected 1 to ${maxItemLength}`);
  }
  return { fields, structured, itemLength, shape: shape as number[], columnMajor };
}

function parseField(entry: Literal, offset: number): NpyField {
  if (!Array.isArray(entry) || entry.length < 2) {
    throw new Error('expected (name, type) pairs as "descr"');
  }
  const [title, type, shape] = entry;
  const name = Array.isArray(title) ? title[1] : title; // (title, name)
  const parts = typeof type === 'string' ? /^([<>|=])?([a-zA-Z])(\d+)$/.exec(type) : null;
  if (typeof name !== 'string' || parts === null) {
    throw new Error(`expected a name and a plain type such as "<i8", got ${JSON.stringify(entry)}`);
  }
  const [, order, kind, digits] = parts;
  const size = Number(digits) * (kind === 'U' ? 4 : 1);
  const count = Array.isArray(shape) ? shape.reduce<number>((all, n) => all * Number(n), 1) : 1;
  const scalar = scalarOf(`${kind}${digits}`);
  const length = size * count;
  if (!Number.isSafeInteger(length) || length < 0) throw new Error(`type ${type} has no size`);
  return {
    name,
    scalar: count === 1 && shape === undefined ? scalar : undefined,
    littleEndian: order !== '>',
    offset,
    length,
  };
}

/** The scalar type of that name, where there is one. */
export function scalarOf(name: string): NpyScalar | undefined {
  return scalars.find((known) => known === name);
}

const scalars: readonly NpyScalar[] = [
  'i1',
  'i2',
  'i4',
  'i8',
  'u1',
  'u2',
  'u4',
  'u8',
  'f4',
  'f8',
  'b1',
];

const deepest = 16;

/** Parses a Python literal of strings, integers, booleans, lists, tuples (both as arrays) and dictionaries. */
function parseLiteral(text: string): Literal {
  let position = 0;
  const skipBlanks = (): void => {
    while (/\s/.test(text[position] ?? '')) position++;
  };
  const take = (token: string): boolean => {
    skipBlanks();
    if (!text.startsWith(token, position)) return false;
    position += token.length;
    return true;
  };
  const expect = (token: string): void => {
    if (!take(token)) throw new Error(`expected "${token}" at character ${position} of the header`);
  };
  const sequence = (close: string, depth: number): Literal[] => {
    const items: Literal[] = [];
    while (!take(close)) {
      items.push(value(depth));
      if (!take(',')) {
        expect(close);
        break;
      }
    }
    return items;
  };
  const value = (depth: number): Literal => {
    if (depth > deepest) throw new Error('header is nested too deeply');
    if (take('(')) return sequence(')', depth + 1);
    if (take('[')) return sequence(']', depth + 1);
    if (take('True')) return true;
    if (take('False')) return false;
    if (take('None')) return null;
    if (take('{')) {
      const map = new Map<string, Literal>();
      while (!take('}')) {
        const key = value(depth + 1);
        expect(':');
        map.set(String(key), value(depth + 1));
        if (!take(',')) {
          expect('}');
          break;
        }
      }
      return map;
    }
    skipBlanks();
    const token = /^(?:'([^'\\]*)'|"([^"\\]*)"|(-?\d+)L?)/.exec(text.slice(position));
    if (token === null) throw new Error(`expected a value at character ${position} of the header`);
    position += token[0].length;
    return token[1] ?? token[2] ?? Number(token[3]);
  };
  return value(0);
}
