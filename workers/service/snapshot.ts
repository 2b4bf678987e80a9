import { z } from 'zod';

import { SaccadeError } from '../../engine/support/errors.js';
import { createBatch, type EventBatch, type SensorSize } from '../../ingest/eventBatch.js';
import {
  decodeSafetensors,
  encodeSafetensors,
  type StoredTensor,
  type TensorToStore,
} from '../../models/checkpoints/safetensors.js';
import type { StateLeaf, StoredClipState } from '../../models/clipStates.js';
import {
  type EventFilter,
  type FilterState,
  sensorAfterFilters,
  startFilters,
} from '../../preprocess/filters/index.js';
import type { BinnerState } from '../binning.js';
import type { DecisionState } from './decision.js';
import type { ServiceLimits } from './limits.js';
import { decisionOptions } from './messages.js';

const whole = z.number().int().min(0);

/** What a snapshot holds beside tensors. */
const description = z.object({
  version: z.literal(1),
  model: z.string(),
  options: decisionOptions,
  sensor: z
    .object({ width: whole.min(1).max(65_536), height: whole.min(1).max(65_536) })
    .nullable(),
  taken: whole,
  report: z.object({ lateEvents: whole, jumps: whole, droppedEvents: whole }),
  bins: whole,
  frames: whole,
  decision: z
    .object({
      smoothed: z.array(z.number()),
      probabilities: z.array(z.number()).optional(),
      streak: whole,
      candidate: whole,
      decided: z
        .object({ class: whole, bin: whole, frames: whole.optional(), confidence: z.number() })
        .optional(),
    })
    .nullable(),
  binner: z.object({ originUs: z.number().nullable(), current: whole, afterJump: z.boolean() }),
  clipFrames: whole,
});

export type SnapshotDescription = z.infer<typeof description>;

/** All that a stream knows, so that it can go on later or elsewhere with the same model. */
export interface StreamSnapshot extends Omit<
  SnapshotDescription,
  'version' | 'clipFrames' | 'binner' | 'decision'
> {
  readonly decision: DecisionState | null;
  readonly binner: BinnerState;
  /** State of the model; undefined before the first bin. */
  readonly clip: StoredClipState | undefined;
  /** States of the filters; undefined before the first event. */
  readonly filters: readonly FilterState[] | undefined;
}

const file = 'snapshot';
const wrong = (field: string, message: string): SaccadeError =>
  new SaccadeError('input', message, { file, field });

/** A snapshot as the bytes of a safetensors file: data that nothing executes. */
export function encodeSnapshot({
  binner,
  clip,
  filters,
  decision,
  ...rest
}: StreamSnapshot): Uint8Array {
  const { originUs, current, afterJump, open } = binner;
  const tensors = new Map<string, TensorToStore>();
  for (const [path, leaf] of clip?.leaves ?? []) tensors.set(`clip.${path}`, leaf);
  if (open !== undefined) {
    const flat = (data: Float64Array | Int32Array | Uint8Array): TensorToStore => ({
      shape: [data.length],
      data,
    });
    tensors.set('open.t', flat(open.tUs));
    tensors.set('open.x', flat(Int32Array.from(open.x)));
    tensors.set('open.y', flat(Int32Array.from(open.y)));
    tensors.set('open.polarity', flat(open.polarity));
  }
  filters?.forEach(({ own }, i) => storePlain(own, `filters.${i}`, tensors));
  const document: SnapshotDescription = {
    ...rest,
    version: 1,
    decision: decision && {
      ...decision,
      smoothed: [...decision.smoothed],
      probabilities: [...decision.probabilities],
    },
    binner: { originUs: originUs ?? null, current, afterJump },
    clipFrames: clip?.frame ?? 0,
  };
  return encodeSafetensors(tensors, { stream: JSON.stringify(document) });
}

/**
 * Reads a snapshot, which may come from anywhere.
 *
 * @throws SaccadeError of kind `input` that names the part that is wrong.
 */
export function decodeSnapshot(
  bytes: Uint8Array,
  chain: readonly EventFilter[],
  { sensorPixels, binEvents }: Pick<ServiceLimits, 'sensorPixels' | 'binEvents'>,
): StreamSnapshot {
  const { tensors, metadata } = decodeSafetensors(bytes, file);
  const parsed = description.safeParse(parseJson(metadata.stream));
  if (!parsed.success) {
    const [{ path, message }] = parsed.error.issues;
    throw wrong(path.join('.'), message);
  }
  const { binner, clipFrames, decision, sensor, ...rest } = parsed.data;
  const leaves = new Map<string, StateLeaf>();
  for (const [name, { shape, data }] of tensors) {
    if (!name.startsWith('clip.')) continue;
    if (!(data instanceof Float32Array)) throw wrong(name, 'expected float32');
    leaves.set(name.slice('clip.'.length), { shape, data });
  }
  if (sensor !== null && sensor.width * sensor.height > sensorPixels) {
    throw wrong('sensor', `expected at most ${sensorPixels} pixels`);
  }
  const open =
    sensor === null ? undefined : openEvents(tensors, sensorAfterFilters(chain, sensor), binEvents);
  if (binner.originUs !== null && open === undefined) throw wrong('open.t', 'is missing');
  const filters = sensor === null ? undefined : startFilters(chain, sensor);
  filters?.forEach(({ own }, i) => restorePlain(own, `filters.${i}`, tensors));
  return {
    ...rest,
    sensor,
    decision: decision && {
      ...decision,
      // Snapshots that were made before there was early exit lack them.
      probabilities: decision.probabilities ?? decision.smoothed,
      decided: decision.decided,
    },
    binner: { ...binner, originUs: binner.originUs ?? undefined, open },
    clip: clipFrames === 0 ? undefined : { frame: clipFrames, leaves },
    filters,
  };
}

function openEvents(
  tensors: ReadonlyMap<string, StoredTensor>,
  sensor: SensorSize,
  most: number,
): EventBatch | undefined {
  const [t, x, y, polarity] = ['t', 'x', 'y', 'polarity'].map(
    (name) => tensors.get(`open.${name}`)?.data,
  );
  if (t === undefined) return undefined;
  const below = (limit: number) => (value: number) => value >= 0 && value < limit;
  if (!(t instanceof Float64Array) || t.length > most || !t.every(Number.isSafeInteger)) {
    throw wrong('open.t', `expected at most ${most} times in whole µs`);
  }
  if (!(x instanceof Int32Array) || x.length !== t.length || !x.every(below(sensor.width))) {
    throw wrong('open.x', 'expected a column of the sensor for each event');
  }
  if (!(y instanceof Int32Array) || y.length !== t.length || !y.every(below(sensor.height))) {
    throw wrong('open.y', 'expected a row of the sensor for each event');
  }
  if (
    !(polarity instanceof Uint8Array) ||
    polarity.length !== t.length ||
    !polarity.every(below(2))
  ) {
    throw wrong('open.polarity', 'expected 0 or 1 for each event');
  }
  return createBatch(sensor, t, Uint16Array.from(x), Uint16Array.from(y), polarity);
}

/** Plain data of filters: objects of numbers, some of them not known yet, and typed arrays. */
type Plain = { [name: string]: unknown };

const isObject = (value: unknown): value is Plain => typeof value === 'object' && value !== null;

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function storePlain(value: unknown, path: string, tensors: Map<string, TensorToStore>): void {
  if (ArrayBuffer.isView(value)) {
    const data = bytesOf(value);
    tensors.set(path, { shape: [data.length], data });
  } else if (typeof value === 'number') {
    tensors.set(path, { shape: [1], data: Float64Array.of(value) });
  } else if (isObject(value)) {
    for (const [name, child] of Object.entries(value))
      storePlain(child, `${path}.${name}`, tensors);
  }
}

/** Puts what was stored into a fresh state of the same filter, and nothing that does not fit. */
function restorePlain(
  fresh: unknown,
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
): void {
  const stored = tensors.get(path)?.data;
  if (ArrayBuffer.isView(fresh)) {
    if (!(stored instanceof Uint8Array) || stored.length !== fresh.byteLength) {
      throw wrong(path, `expected ${fresh.byteLength} bytes`);
    }
    bytesOf(fresh).set(stored);
  } else if (isObject(fresh)) {
    for (const [name, child] of Object.entries(fresh)) {
      const childPath = `${path}.${name}`;
      if (isObject(child)) {
        restorePlain(child, childPath, tensors);
        continue;
      }
      const number = tensors.get(childPath)?.data;
      if (number === undefined) continue;
      if (!(number instanceof Float64Array) || number.length !== 1) {
        throw wrong(childPath, 'expected one number');
      }
      fresh[name] = number[0];
    }
  }
}

function parseJson(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    throw wrong('stream', 'is not JSON');
  }
}
