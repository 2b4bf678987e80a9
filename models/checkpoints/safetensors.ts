import { SaccadeError } from '../../engine/support/errors.js';

/**
 * The safetensors format (https://huggingface.co/docs/safetensors): 8 bytes of header length (unsigned,
 * little-endian), a JSON header padded with spaces to a multiple of 8 bytes, then the tensors' values,
 * row-major, without holes. Values are read and written in the host's byte order, which on every
 * platform that Node's releases support in practice is the format's little-endian.
 */

const valueArrays = {
  I64: BigInt64Array,
  F64: Float64Array,
  F32: Float32Array,
  I32: Int32Array,
  U8: Uint8Array,
} as const;

export type TensorDtype = keyof typeof valueArrays;
export type TensorValues = BigInt64Array | Float64Array | Float32Array | Int32Array | Uint8Array;

export interface StoredTensor {
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
  /** Row-major values; as many as the product of `shape`. */
  readonly data: TensorValues;
}

/** A tensor to store: the type may be left out, it follows from the array. */
export type TensorToStore = Omit<StoredTensor, 'dtype'> & { readonly dtype?: TensorDtype };

export interface Safetensors {
  readonly tensors: Map<string, StoredTensor>;
  readonly metadata: Record<string, string>;
}

/** Widest type first, as in the reference writer: then every tensor is aligned to its value size. */
const dtypeOrder = Object.keys(valueArrays) as TensorDtype[];
const metadataKey = '__metadata__';
const lengthBytes = 8;
const alignment = 8;
/** The reference reader's bound on the header. */
const maxHeaderBytes = 100_000_000;

/**
 * Lays tensors out as the bytes of a safetensors file. The bytes depend on the content alone: tensors
 * are ordered by type (widest first), then by name; metadata by key.
 *
 * @throws RangeError where a shape does not fit its values, or a type its array.
 */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, TensorToStore>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const stored = [...tensors].map(([name, tensor]) => ({ name, ...checked(name, tensor) }));
  stored.sort(
    (a, b) =>
      dtypeOrder.indexOf(a.dtype) - dtypeOrder.indexOf(b.dtype) || compareText(a.name, b.name),
  );

  // Written entry by entry: an object would move names that look like numbers to the front.
  const entries: string[] = [];
  const metadataEntries = Object.entries(metadata).sort(([a], [b]) => compareText(a, b));
  if (metadataEntries.length > 0) {
    const fields = metadataEntries.map(([key, text]) => `${quoted(key)}:${quoted(text)}`);
    entries.push(`${quoted(metadataKey)}:{${fields.join(',')}}`);
  }
  let dataBytes = 0;
  for (const { name, dtype, shape, data } of stored) {
    const end = dataBytes + data.byteLength;
    entries.push(
      `${quoted(name)}:${JSON.stringify({ dtype, shape, data_offsets: [dataBytes, end] })}`,
    );
    dataBytes = end;
  }

  const header = new TextEncoder().encode(`{${entries.join(',')}}`);
  const headerBytes = Math.ceil(header.length / alignment) * alignment;
  const bytes = new Uint8Array(lengthBytes + headerBytes + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerBytes), true);
  bytes.set(header, lengthBytes);
  bytes.fill(0x20, lengthBytes + header.length, lengthBytes + headerBytes);
  let offset = lengthBytes + headerBytes;
  for (const { data } of stored) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
    offset += data.byteLength;
  }
  return bytes;
}

/**
 * Reads the bytes of a safetensors file. The values are copies, so `bytes` may be dropped or changed.
 *
 * @param file the name that errors give.
 * @throws SaccadeError `input` naming the file, the tensor and what was expected, where the header is
 *   cut off or malformed, a type is not one of I64, F64, F32, I32, U8, a shape does not fit its bytes, or
 *   the tensors overlap, leave holes or do not cover the data exactly.
 */
export function decodeSafetensors(bytes: Uint8Array, file: string): Safetensors {
  const fail = (message: string, field?: string, offset?: number): never => {
    throw new SaccadeError('input', message, { file, field, offset });
  };

  if (bytes.length < lengthBytes) {
    fail(`a safetensors file starts with 8 bytes of header length; it has ${bytes.length} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = Number(view.getBigUint64(0, true));
  if (headerBytes > maxHeaderBytes || headerBytes < 2) {
    fail(`header length ${headerBytes} is not in 2 … ${maxHeaderBytes}: not a safetensors file`);
  }
  const dataStart = lengthBytes + headerBytes;
  if (dataStart > bytes.length) {
    fail(`cut off in the header: it should end at byte ${dataStart}`, undefined, bytes.length);
  }

  const header = parseHeader(bytes.subarray(lengthBytes, dataStart));
  if (header === undefined) return fail('the header is not a JSON object', undefined, lengthBytes);

  const dataBytes = bytes.length - dataStart;
  const tensors = new Map<string, StoredTensor>();
  const ranges: { name: string; begin: number; end: number }[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === metadataKey) {
      if (!isObject(entry) || Object.values(entry).some((text) => typeof text !== 'string')) {
        fail('expected an object of strings', metadataKey);
      }
      metadata = entry as Record<string, string>;
      continue;
    }
    const field = `tensor ${JSON.stringify(name)}`;
    const { dtype, shape, begin, end } = parseEntry(entry, (message) => fail(message, field));
    const size = product(shape);
    const expectedBytes = size * valueArrays[dtype].BYTES_PER_ELEMENT;
    if (expectedBytes !== end - begin) {
      fail(
        `shape [${shape.join(', ')}] of ${dtype} takes ${expectedBytes} bytes; data_offsets give ${end - begin}`,
        field,
      );
    }
    if (end > dataBytes) {
      fail(
        `its values end at byte ${dataStart + end}, beyond the end of the file: cut off?`,
        field,
        bytes.length,
      );
    }
    // Not `bytes.slice`: that of a Node buffer is a view on memory that others use too.
    const copy = new Uint8Array(bytes.subarray(dataStart + begin, dataStart + end));
    tensors.set(name, { dtype, shape, data: new valueArrays[dtype](copy.buffer, 0, size) });
    ranges.push({ name, begin, end });
  }

  // The format forbids overlaps and holes: sorted, each tensor begins where the one before it ends.
  ranges.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end } of ranges) {
    if (begin !== covered) {
      fail(
        `its values begin at data byte ${begin}, ${begin < covered ? 'inside another tensor' : 'after a hole'}; expected ${covered}`,
        `tensor ${JSON.stringify(name)}`,
      );
    }
    covered = end;
  }
  if (covered !== dataBytes) {
    fail(
      `${dataBytes - covered} bytes after the last tensor belong to none`,
      undefined,
      dataStart + covered,
    );
  }
  return { tensors, metadata };
}

function checked(name: string, { dtype, shape, data }: TensorToStore): StoredTensor {
  const actual = dtypeOrder.find((candidate) => data instanceof valueArrays[candidate]);
  if (name === metadataKey) throw new RangeError(`${metadataKey} is not a name for a tensor`);
  if (actual === undefined || (dtype !== undefined && dtype !== actual)) {
    throw new RangeError(`tensor ${name}: ${data.constructor.name} does not hold ${dtype}`);
  }
  if (!isShape(shape) || product(shape) !== data.length) {
    throw new RangeError(`tensor ${name}: shape [${shape.join()}] for ${data.length} values`);
  }
  return { dtype: actual, shape, data };
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const header: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    return isObject(header) ? header : undefined;
  } catch {
    return undefined;
  }
}

function parseEntry(
  entry: unknown,
  fail: (message: string) => never,
): { dtype: TensorDtype; shape: number[]; begin: number; end: number } {
  if (!isObject(entry)) return fail('expected an object of dtype, shape and data_offsets');
  const { dtype, shape, data_offsets: offsets } = entry;
  const known = dtypeOrder.find((candidate) => candidate === dtype);
  if (known === undefined) {
    return fail(`dtype ${JSON.stringify(dtype)} is not one of ${dtypeOrder.join(', ')}`);
  }
  if (!isShape(shape)) return fail('shape is not a list of whole numbers from 0');
  if (!isShape(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    return fail('data_offsets is not [begin, end] with 0 <= begin <= end');
  }
  return { dtype: known, shape, begin: offsets[0], end: offsets[1] };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isShape(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function product(shape: readonly number[]): number {
  return shape.reduce((size, length) => size * length, 1);
}

function quoted(text: string): string {
  return JSON.stringify(text);
}

/** By code unit: unlike localeCompare, the same on every machine. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
