import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom } from '../../engine/support/random.js';
import { checkEvents } from '../../preprocess/checkEvents.js';
import { recallSequence } from '../../models/analysis/associativeRecall.js';
import { eventKeys, eventRecallClip } from '../../models/analysis/eventRecall.js';
import {
  motionRecall,
  recallRun,
  symbolRecall,
  type RecallTask,
} from '../../models/analysis/recallRun.js';
import { bestBackend } from '../engine/backends.js';

const configs = fc
  .record({
    keys: fc.integer({ min: 1, max: 20 }),
    values: fc.integer({ min: 1, max: 20 }),
    slack: fc.nat(20),
    powerLaw: fc.constantFrom(0.01, 0.5, 1, 2),
  })
  .chain(({ keys, values, slack, powerLaw }) =>
    fc.integer({ min: 1, max: Math.min(keys, values) }).map((pairs) => ({
      keys,
      values,
      pairs,
      length: 4 * pairs + slack,
      powerLaw,
    })),
  );

describe('recallSequence', () => {
  it('asks once for each key, for the value that came after it', () => {
    fc.assert(
      fc.property(configs, fc.nat(), (config, seed) => {
        const { keys, pairs, length } = config;
        const { symbols, targets } = recallSequence(config, createRandom(seed));
        expect(symbols.length).toBe(length);
        const known = new Map<number, number>();
        for (let i = 0; i < pairs; i++) known.set(symbols[2 * i], symbols[2 * i + 1]);
        expect(known.size).toBe(pairs);
        expect(new Set(known.values()).size).toBe(pairs);
        for (const [key, value] of known) {
          expect(key).toBeGreaterThan(0);
          expect(key).toBeLessThanOrEqual(keys);
          expect(value).toBeGreaterThan(keys);
          expect(value).toBeLessThanOrEqual(keys + config.values);
        }
        const asked = new Set<number>();
        for (let at = 2 * pairs; at < length; at++) {
          if (symbols[at] === 0) expect(targets[at]).toBe(-1);
          else {
            expect(targets[at]).toBe(known.get(symbols[at]));
            asked.add(symbols[at]);
          }
        }
        expect(asked.size).toBe(pairs);
        expect(targets.subarray(0, 2 * pairs).every((target) => target === -1)).toBe(true);
        expect(recallSequence(config, createRandom(seed)).symbols).toEqual(symbols);
      }),
    );
  });

  it('asks soon, where the power law is steep', () => {
    const meanQuery = (powerLaw: number): number => {
      let [sum, count] = [0, 0];
      for (let seed = 0; seed < 50; seed++) {
        const config = { keys: 8, values: 8, pairs: 2, length: 100, powerLaw };
        recallSequence(config, createRandom(seed)).targets.forEach((target, at) => {
          if (target >= 0) [sum, count] = [sum + at, count + 1];
        });
      }
      return sum / count;
    };
    expect(meanQuery(0.01)).toBeLessThan(meanQuery(1) - 10);
  });

  it.each([
    [{ pairs: 5 }, 'pairs'],
    [{ pairs: 0 }, 'pairs'],
    [{ length: 15 }, 'length'],
    [{ powerLaw: 0 }, 'powerLaw'],
  ])('refuses %j', (change, field) => {
    const config = { keys: 4, values: 8, pairs: 4, length: 16, powerLaw: 0.01, ...change };
    expect(() => recallSequence(config, createRandom(1))).toThrow(new RegExp(`^${field}: `));
  });
});

describe('eventRecallClip', () => {
  const config = {
    sensor: { width: 32, height: 24 },
    cell: 8,
    symbolUs: 10_000,
    values: 8,
    recall: { pairs: 5, length: 30, powerLaw: 0.5 },
  };

  /** Events of each span, as text without the time of its start. */
  const spans = (seed: number): { texts: string[]; clip: ReturnType<typeof eventRecallClip> } => {
    const clip = eventRecallClip(config, createRandom(seed));
    const texts = Array.from(clip.symbols, () => '');
    const { tUs, x, y, polarity } = clip.events;
    for (let i = 0; i < clip.events.length; i++) {
      const span = Math.floor(tUs[i] / config.symbolUs);
      texts[span] += `${tUs[i] - span * config.symbolUs} ${x[i]} ${y[i]} ${polarity[i]};`;
    }
    return { texts, clip };
  };

  it('has a motion for each symbol, the same one for the same symbol', () => {
    expect(eventKeys(config)).toBe(4 * 2 * 4);
    const bySymbol = new Map<number, string>();
    for (let seed = 0; seed < 40; seed++) {
      const { texts, clip } = spans(seed);
      clip.symbols.forEach((symbol, span) => {
        const known = bySymbol.get(symbol);
        if (known !== undefined) expect(texts[span]).toBe(known);
        bySymbol.set(symbol, texts[span]);
      });
    }
    expect(bySymbol.get(0)).toBe('');
    expect(bySymbol.size).toBe(1 + eventKeys(config) + config.values);
    expect(new Set(bySymbol.values()).size).toBe(bySymbol.size);
  });

  it('stays on its sensor, in order of time, and asks for values', () => {
    const { clip } = spans(1);
    expect(() => checkEvents(clip.events)).not.toThrow();
    const times = Array.from(clip.events.tUs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(Math.max(...clip.events.x)).toBeLessThan(32);
    expect(Math.max(...clip.events.y)).toBeLessThan(24);
    const asked = Array.from(clip.targets).filter((target) => target >= 0);
    expect(asked.length).toBe(5);
    expect(Math.max(...asked)).toBeLessThan(8);
  });

  it('refuses what has no room', () => {
    const random = createRandom(1);
    expect(() => eventRecallClip({ ...config, cell: 20 }, random)).toThrow(/no room/);
    expect(() => eventRecallClip({ ...config, values: 33 }, random)).toThrow(/no room/);
    expect(() => eventRecallClip({ ...config, values: 4 }, random)).toThrow(/pairs/);
  });
});

describe('recallRun', () => {
  beforeAll(async () => {
    await selectBackend(bestBackend);
  });
  const symbols = symbolRecall({ keys: 6, values: 6, pairs: 2, length: 10, powerLaw: 1 });
  const motions = motionRecall(
    {
      sensor: { width: 8, height: 8 },
      cell: 4,
      symbolUs: 4000,
      values: 4,
      recall: { pairs: 2, length: 10, powerLaw: 1 },
    },
    2,
  );
  const run = (
    name: string,
    steps: number,
    task: RecallTask = symbols,
  ): ReturnType<typeof recallRun> =>
    recallRun({
      mixers: [{ name }],
      width: 16,
      heads: 1,
      task,
      batch: 32,
      steps,
      learningRate: 0.02,
      seed: 1,
    });

  it.each(['softmaxAttention', 'gatedDeltaNet', 'linearAttention'])('trains %s', async (name) => {
    const before = tf.memory().numTensors;
    const trained = await run(name, 150);
    expect(trained.losses[149]).toBeLessThan(0.5 * trained.losses[0]);
    expect(trained.accuracy).toBeGreaterThan(0.9);
    expect((await run(name, 1)).accuracy).toBeLessThan(0.5);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('trains on motions, each token the events of one', async () => {
    const { inputs, targets } = motions.draw(createRandom(1));
    expect(inputs.length).toBe(motions.length * motions.features);
    expect(targets.filter((target) => target >= 0).length).toBe(2);
    const trained = await run('gatedDeltaNet', 150, motions);
    expect(trained.accuracy).toBeGreaterThan(0.9);
  });

  it('ends where it is told to, and leaves nothing', async () => {
    const before = tf.memory().numTensors;
    const { inputs } = symbols.draw(createRandom(1));
    expect(inputs.reduce((a, b) => a + b)).toBe(symbols.length);
    await expect(
      recallRun(
        {
          mixers: [{ name: 'linearAttention' }],
          width: 8,
          heads: 1,
          task: symbols,
          batch: 2,
          steps: 9,
          learningRate: 0.01,
          seed: 1,
        },
        (step) => {
          if (step === 2) throw new Error('enough');
        },
      ),
    ).rejects.toThrow('enough');
    expect(tf.memory().numTensors).toBe(before);
  });
});
