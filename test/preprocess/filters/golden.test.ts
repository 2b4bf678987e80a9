import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { concatBatches, createBatch, type EventBatch } from '../../../ingest/eventBatch.js';
import { openRecording } from '../../../ingest/recording.js';
import { filterStream, parseFilter } from '../../../preprocess/filters/index.js';
import { collect } from '../../ingest/streams.js';

interface Golden {
  readonly events: number;
  readonly sensor: readonly [width: number, height: number];
  readonly sha256: string;
}

/** Made by `test/golden/filters.py`, which says what is hashed. */
const golden = JSON.parse(
  readFileSync(new URL('../../golden/filters.json', import.meta.url), 'utf8'),
) as Record<string, Record<string, Golden>>;

/** The same stream as that of `filters.py`. */
function synthetic(): EventBatch {
  const [count, width, height] = [20_000, 48, 40];
  const t = new Float64Array(count);
  const x = new Uint16Array(count);
  const y = new Uint16Array(count);
  const polarity = new Uint8Array(count);
  let state = 1;
  const draw = (bound: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % bound;
  };
  let time = 0;
  for (let i = 0; i < count; i++) {
    time += draw(60);
    const kind = draw(10);
    const row =
      kind < 6
        ? [(Math.floor(time / 2000) + draw(2)) % width, draw(height), Math.floor(draw(4) / 3)]
        : kind < 8
          ? [draw(width), draw(height), draw(2)]
          : kind < 9
            ? [7, 9, 1]
            : [30 + draw(3), 20 + draw(3), Math.floor(time / 5000) % 2];
    t[i] = time;
    [x[i], y[i], polarity[i]] = row;
  }
  return createBatch({ width, height }, t, x, y, polarity);
}

async function* cut(batch: EventBatch, length: number): AsyncGenerator<EventBatch> {
  for (let start = 0; start < batch.length; start += length) {
    yield createBatch(
      batch.sensor,
      batch.tUs.subarray(start, start + length),
      batch.x.subarray(start, start + length),
      batch.y.subarray(start, start + length),
      batch.polarity.subarray(start, start + length),
    );
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

async function resultOf(batch: EventBatch, call: string): Promise<Golden> {
  const filter = parseFilter(call);
  const sensor = filter.sensorAfter(batch.sensor);
  const passed = concatBatches(await collect(filterStream(cut(batch, 997), [filter])), sensor);
  const hash = createHash('sha256');
  for (const column of [passed.tUs, passed.x, passed.y, passed.polarity]) {
    hash.update(bytesOf(column));
  }
  const { width, height } = passed.sensor;
  return { events: passed.length, sensor: [width, height], sha256: hash.digest('hex') };
}

describe.each(Object.entries(golden))('filters on %s', (name, results) => {
  const root = process.env.SACCADE_TEST_DATA;
  const path = root === undefined ? undefined : join(root, name);
  const missing = name !== 'synthetic' && (path === undefined || !existsSync(path));
  const note = missing ? ' (skipped: SACCADE_TEST_DATA has no such recording)' : '';
  let events: EventBatch | undefined;

  it.skipIf(missing).each(Object.entries(results))(
    `give what NumPy gives for %s${note}`,
    async (call, expected) => {
      if (events === undefined && name === 'synthetic') events = synthetic();
      if (events === undefined) {
        const recording = await openRecording(path!, { sensor: sensorOf(name) });
        events = concatBatches(await collect(recording.batches()));
      }
      expect(await resultOf(events, call)).toEqual(expected);
    },
  );
});

/** The sensor, which these files do not state. */
function sensorOf(name: string): { width: number; height: number } {
  const side = name.startsWith('nmnist') ? 34 : 128;
  return { width: side, height: side };
}
