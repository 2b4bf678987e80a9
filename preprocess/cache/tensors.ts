import { createHash } from 'node:crypto';
import { endianness } from 'node:os';
import { basename, join } from 'node:path';

import { SaccadeError } from '../../engine/support/errors.js';
import { type ClipSize, type Representation, representWindow } from '../representations/index.js';
import type { CacheHold } from './hold.js';
import { type FileMarks, firstOffset, readIndexed, readPart, writeIndexed } from './indexedFile.js';
import { keptOrMade } from './kept.js';
import type { Shard } from './shard.js';

/**
 * The represented windows of a shard, one part of the file (`indexedFile.ts`) each, as small as they can be
 * without loss: where all values are 0 or 1, as bits (value i is bit i mod 8 of byte ⌊i / 8⌋); where all are
 * whole numbers to 255, as bytes; otherwise as float32.
 */
const marks: FileMarks = { start: 'SACTENSR', end: 'SACTNEND' };

/** Raised whenever the same windows and settings give other tensors. */
const tensorVersion = 1;

type Packing = 'bits' | 'bytes' | 'floats';

interface TensorIndex {
  /** Values of a window. */
  readonly length: number;
  readonly windows: readonly { readonly packing: Packing; readonly offset: number }[];
  readonly end: number;
}

export interface TensorShard {
  readonly path: string;
  /** How each window is kept. */
  readonly packings: readonly Packing[];
  /** Reads a window into `out`, which has `clipLength` values. */
  read(position: number, out: Float32Array): void;
}

/** A representation's canonical call, where it has arguments, otherwise its name. */
export function representationCall(representation: Representation): string {
  const { name, description = name } = representation as Representation & { description?: string };
  return description;
}

/**
 * The tensors of a shard's windows, from the cache where they are there, otherwise made and kept. For clips
 * that nothing is augmented of, as in validation: they are the same in every epoch.
 *
 * @param folder of the cache.
 */
export async function cachedTensors(
  folder: string,
  shard: Shard,
  representation: Representation,
  size: ClipSize,
  hold?: CacheHold,
): Promise<{ tensors: TensorShard; made: boolean }> {
  const { bins, height, width } = size;
  const description = {
    tensorVersion,
    endianness: endianness(),
    // A shard's name stands for its windows.
    shard: basename(shard.path),
    representation: representationCall(representation),
    size: [bins, representation.channels, height, width],
  };
  const key = createHash('sha256').update(JSON.stringify(description)).digest('hex');
  const path = join(folder, key.slice(0, 2), `${key}.tensors`);
  const { kept, made } = await keptOrMade(path, openTensors, hold, () =>
    writeTensors(path, shard, representation, size),
  );
  return { tensors: kept, made };
}

async function writeTensors(
  path: string,
  shard: Shard,
  representation: Representation,
  size: ClipSize,
): Promise<void> {
  const windows: { packing: Packing; offset: number }[] = [];
  let offset = firstOffset;
  let length = 0;
  async function* parts(): AsyncGenerator<Uint8Array> {
    for (let position = 0; position < shard.length; position++) {
      const values = representWindow(shard.read(position), representation, size);
      const { packing, bytes } = pack(values);
      windows.push({ packing, offset });
      offset += bytes.length;
      ({ length } = values);
      yield bytes;
    }
  }
  const index = (): TensorIndex => ({ length, windows, end: offset });
  await writeIndexed(path, marks, parts(), index);
}

/** Opens tensors; undefined where there are none, or unfinished or damaged ones. */
export function openTensors(path: string): TensorShard | undefined {
  const index = readIndexed<TensorIndex>(path, marks, ({ end }) => end);
  if (index === undefined) return undefined;
  const { windows, length } = index;
  return {
    path,
    packings: windows.map(({ packing }) => packing),
    read(position, out) {
      const { packing, offset } = windows[position];
      unpack(readPart(path, offset, packedLength(packing, length)), packing, out);
    },
  };
}

/** Tensors that are opened when they are first read from. */
export function lazyTensors(path: string): Pick<TensorShard, 'path' | 'read'> {
  let tensors: TensorShard | undefined;
  return {
    path,
    read(position, out) {
      tensors ??= openTensors(path);
      if (tensors === undefined) {
        throw new SaccadeError('input', 'the cached tensors are gone or damaged', { file: path });
      }
      tensors.read(position, out);
    },
  };
}

function packedLength(packing: Packing, values: number): number {
  return packing === 'bits' ? Math.ceil(values / 8) : packing === 'bytes' ? values : 4 * values;
}

function pack(values: Float32Array): { packing: Packing; bytes: Uint8Array } {
  let packing: Packing = 'bits';
  for (const value of values) {
    if (value === 0 || value === 1) continue;
    packing = 'bytes';
    if (!(value >= 0 && value <= 255 && Number.isInteger(value))) {
      packing = 'floats';
      break;
    }
  }
  if (packing === 'floats') {
    return { packing, bytes: new Uint8Array(values.slice().buffer) };
  }
  if (packing === 'bytes') return { packing, bytes: Uint8Array.from(values) };
  const bytes = new Uint8Array(packedLength(packing, values.length));
  for (let i = 0; i < values.length; i++) bytes[i >> 3] |= values[i] << (i & 7);
  return { packing, bytes };
}

function unpack(bytes: Buffer, packing: Packing, out: Float32Array): void {
  if (packing === 'floats') out.set(new Float32Array(bytes.buffer, 0, out.length));
  else if (packing === 'bytes') out.set(bytes);
  else for (let i = 0; i < out.length; i++) out[i] = (bytes[i >> 3] >> (i & 7)) & 1;
}
