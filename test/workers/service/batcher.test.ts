import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { SaccadeError } from '../../../engine/support/errors.js';
import { Batcher } from '../../../workers/service/batcher.js';
import type { BinBatch, BinBatchResult } from '../../../workers/service/batchTasks.js';
import { decide, type DecisionState } from '../../../workers/service/decision.js';

/** A model that answers with what it got; `batches` is what it got. */
function echo(batches: BinBatch[]): (batch: BinBatch) => Promise<BinBatchResult> {
  return async (batch) => {
    batches.push(batch);
    await new Promise((resolve) => setImmediate(resolve));
    return {
      probabilities: batch.values.slice(),
      frames: batch.streams.map((stream) => stream),
      spikes: batch.streams.map(() => undefined),
    };
  };
}

const job = (value: number) => ({
  values: Float32Array.of(value, -value),
  fresh: false,
  watched: false,
});

describe('Batcher', () => {
  it('answers every bin with its own result, in order, one of each stream a batch, and in turn', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 1, max: 4 }),
        async (streams, maxBatch) => {
          const batches: BinBatch[] = [];
          const batcher = new Batcher({ step: echo(batches), maxBatch, waitMs: 0 });
          for (const stream of new Set(streams)) batcher.add(stream);
          const results = await Promise.all(
            streams.map((stream, i) => batcher.submit(stream, job(i + 1))),
          );
          results.forEach((result, i) => {
            const { probabilities, frames } = result!;
            expect([...probabilities]).toEqual([i + 1, -(i + 1)]);
            expect(frames).toBe(streams[i]);
          });
          const left = new Map<number, number>();
          for (const stream of streams) left.set(stream, (left.get(stream) ?? 0) + 1);
          const sinceTurn = new Map<number, number>();
          for (const { streams: taken } of batches) {
            expect(new Set(taken).size).toBe(taken.length);
            expect(taken.length).toBeLessThanOrEqual(maxBatch);
            for (const stream of taken) {
              left.set(stream, left.get(stream)! - 1);
              sinceTurn.set(stream, 0);
            }
            for (const [stream, count] of left) {
              if (taken.includes(stream) || count === 0) continue;
              const waited = (sinceTurn.get(stream) ?? 0) + 1;
              sinceTurn.set(stream, waited);
              expect(waited).toBeLessThanOrEqual(Math.ceil(left.size / maxBatch));
            }
          }
          expect([...left.values()].every((count) => count === 0)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('leaves out what is not needed when its turn comes, as whoever has heard of the bins before says', async () => {
    const batches: BinBatch[] = [];
    const batcher = new Batcher({ step: echo(batches), maxBatch: 2, waitMs: 0 });
    batcher.add(1);
    batcher.add(2);
    let heard = 0;
    const bins = Array.from({ length: 6 }, (_, i) =>
      batcher
        .submit(1, { ...job(i), isNeeded: () => heard < 2 || i === 5 })
        .then((result) => (heard++, result?.probabilities[0])),
    );
    const other = Promise.all([job(10), job(11)].map((one) => batcher.submit(2, one)));
    expect(await Promise.all(bins)).toEqual([0, 1, undefined, undefined, undefined, 5]);
    expect((await other).map((result) => result!.probabilities[0])).toEqual([10, 11]);
    expect(batches.map(({ streams }) => streams)).toEqual([[1], [1, 2], [1, 2]]);
  });

  it('gathers what comes while the model computes', async () => {
    const batches: BinBatch[] = [];
    const batcher = new Batcher({ step: echo(batches), maxBatch: 8, waitMs: 10_000 });
    for (let stream = 0; stream < 5; stream++) batcher.add(stream);
    // All five are there, so nobody waits for more.
    await Promise.all([0, 1, 2, 3, 4].map((stream) => batcher.submit(stream, job(1))));
    expect(batches.map(({ streams }) => streams)).toEqual([[0, 1, 2, 3, 4]]);
    batcher.remove(4);
    batcher.remove(3);
    await Promise.all([0, 1, 2].map((stream) => batcher.submit(stream, job(1))));
    expect(batches.at(-1)!.streams).toEqual([0, 1, 2]);
  });

  it('fails the bins of a batch that fails, and no others', async () => {
    let calls = 0;
    const batches: BinBatch[] = [];
    const step = echo(batches);
    const batcher = new Batcher({
      step: (batch) => (++calls === 1 ? Promise.reject(new Error('broken')) : step(batch)),
      maxBatch: 1,
      waitMs: 0,
    });
    const outcomes = await Promise.allSettled(
      [1, 2].map((stream) => batcher.submit(stream, job(1))),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);

    const waiting = [
      batcher.submit(1, job(1)),
      batcher.submit(2, job(1)),
      batcher.submit(3, job(1)),
    ];
    const settled = Promise.allSettled(waiting);
    batcher.remove(2);
    const reason = new SaccadeError('interrupted', 'closed');
    batcher.close(reason);
    expect((await settled).map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'rejected',
    ]);
    await expect(batcher.submit(1, job(1))).rejects.toBe(reason);
  });
});

describe('decide', () => {
  const options = { smoothing: 0.5, confidence: 0.8, patience: 2, restartBins: 0 };

  it('smooths, and decides once a class is confident for long enough', () => {
    const bins = [
      [1, 0],
      [0, 1],
      [0, 1],
      [0, 1],
      [0, 1],
      [1, 0],
      [1, 0],
      [1, 0],
    ];
    let state: DecisionState | undefined;
    const decided: (number | undefined)[] = [];
    bins.forEach((probabilities, bin) => {
      state = decide(state, probabilities, bin, options, bin + 1);
      decided.push(state.decided?.class);
    });
    // By hand: of class 1, 0, 1/2, 3/4, 7/8, 15/16, 15/32, …
    expect(decided).toEqual([undefined, undefined, undefined, undefined, 1, 1, 1, 1]);
    expect(state!.decided).toEqual({ class: 1, bin: 4, frames: 5, confidence: 15 / 16 });
    expect(state!.smoothed[0]).toBeCloseTo(1 - 15 / 128, 12);
  });

  it('leaves it to early exit, where there is one, and to the last bin of the clip', () => {
    const policy = { temperature: 4, threshold: 0.6 };
    const decidedAt = (share: number, bins: number): DecisionState['decided'] => {
      let state: DecisionState | undefined;
      for (let bin = 0; bin < bins; bin++) {
        const exit = { policy, isLast: bin === 7 };
        state = decide(state, [share, 1 - share], 10 + bin, options, bin + 1, exit);
      }
      return state!.decided;
    };
    // By hand: (4 ^ t/4) / (1 + 4 ^ t/4) is 0.586 after one bin and 2/3 after two.
    expect(decidedAt(0.8, 1)).toBeUndefined();
    expect(decidedAt(0.8, 5)).toEqual({ class: 0, bin: 11, frames: 2, confidence: 0.8 });
    expect(decidedAt(0.5, 7)).toBeUndefined();
    expect(decidedAt(0.5, 8)).toMatchObject({ bin: 17, frames: 8 });
  });

  it('keeps probabilities that sum to 1, and equal ones as they are', () => {
    const share = fc.double({ min: 0.01, max: 1, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(share, share, share), { minLength: 1, maxLength: 20 }),
        share,
        (rows, smoothing) => {
          let state: DecisionState | undefined;
          rows.forEach((row, bin) => {
            const sum = row.reduce((a, b) => a + b);
            state = decide(
              state,
              row.map((p) => p / sum),
              bin,
              { ...options, smoothing },
              bin + 1,
            );
            expect(state.smoothed.reduce((a, b) => a + b)).toBeCloseTo(1, 9);
          });
          const settled = decide(state, state!.smoothed, rows.length, { ...options, smoothing }, 1);
          settled.smoothed.forEach((p, c) => expect(p).toBeCloseTo(state!.smoothed[c], 12));
        },
      ),
    );
  });
});
