import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createRandom } from '../../../engine/support/random.js';
import batchTasks from '../../../workers/service/batchTasks.js';
import { withRecording } from '../../models/recordingBackend.js';
import { writeFreshModel } from './testService.js';

type Tasks = Awaited<ReturnType<typeof batchTasks>>;

/** Streams of a step, as bits; and what else is asked for. */
interface Step {
  readonly streams: number;
  readonly repeats: number;
  readonly fresh: boolean;
  readonly release: boolean;
  readonly look: boolean;
}

/** More than numbers of streams are recorded for at a time. */
const count = 6;

describe('states of streams that are stepped together', () => {
  let folder: string;
  let path: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'saccade-resident-'));
    path = await writeFreshModel(folder);
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** All that the steps give. */
  function run(
    tasks: Tasks,
    steps: readonly Step[],
    frameLength: number,
    watched = false,
  ): unknown[] {
    const random = createRandom(1, 'bins');
    const known = new Set<number>();
    const found: unknown[] = [];
    for (const { streams: bits, repeats, fresh, release, look } of steps) {
      const streams = Array.from({ length: count }, (_, i) => i).filter((i) => bits & (1 << i));
      for (let i = 0; i < repeats; i++) {
        const { probabilities, frames } = tasks.step({
          streams,
          fresh: streams.map((stream) => !known.has(stream) || (fresh && i === 0)),
          watched: streams.map(() => watched),
          values: Float32Array.from({ length: streams.length * frameLength }, () =>
            random.uniform() < 0.3 ? 1 : 0,
          ),
        });
        streams.forEach((stream) => known.add(stream));
        found.push([...probabilities], [...frames]);
      }
      if (look) {
        const { frame, leaves } = tasks.state(streams[0])!;
        found.push(frame, ...[...leaves].map(([name, { data }]) => [name, [...data]]).sort());
      }
      if (release) {
        tasks.release(streams[0]);
        known.delete(streams[0]);
      }
    }
    return found;
  }

  it('give what they give where every step takes them along', async () => {
    const frame = (tasks: Tasks): number => {
      const { experiment } = tasks.describe();
      return 2 * experiment.preprocess.height * experiment.preprocess.width;
    };
    const [plain, other, third] = await Promise.all([1, 2, 3].map(() => batchTasks({ path, backend: 'native' }))); // prettier-ignore
    const step = fc.record({
      streams: fc.integer({ min: 1, max: (1 << count) - 1 }),
      repeats: fc.integer({ min: 1, max: 6 }),
      fresh: fc.boolean(),
      release: fc.boolean(),
      look: fc.boolean(),
    });
    let replays = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 6 }), (steps) => {
        // Steps that somebody watches take their states along.
        const expected = run(plain, steps, frame(plain), true);
        expect(run(third, steps, frame(third))).toEqual(expected);
        for (let stream = 0; stream < count; stream++) third.release(stream);
        withRecording((recordings) => {
          expect(run(other, steps, frame(other))).toEqual(expected);
          replays += recordings.replays;
          for (let stream = 0; stream < count; stream++) other.release(stream);
        });
        for (let stream = 0; stream < count; stream++) plain.release(stream);
      }),
      { numRuns: 15, examples: [[[{ streams: 5, repeats: 6, fresh: false, release: false, look: true }]]] }, // prettier-ignore
    );
    expect(replays).toBeGreaterThan(0);
  });
});
