import { readFile, rm, writeFile } from 'node:fs/promises';

import { beforeAll, describe, expect, it } from 'vitest';

import { tinyWindowUs, writeTinySet } from '../workers/tinySet.js';
import { Workplace } from './cliProcess.js';

const place = new Workplace();
const bins = 4;
const recording = 'dots/left/3.es';

const configuration = `
name: dots
seed: 5
dataset: { path: dots, validation: 0.25, test: 0.25 }
preprocess:
  window: { kind: time, windowUs: ${tinyWindowUs} }
  bins: ${bins}
  height: 8
  width: 8
model:
  kind: spikmamba
  patch: 4
  embedding: 16
  stateChannels: 16
  states: 4
  feedForward: 16
training: { epochs: 8, batchSize: 8, learningRate: 0.01 }
`;

beforeAll(async () => {
  await writeTinySet(place.path('dots'));
  await writeFile(place.path('dots.yaml'), configuration);
  await place.print('train', 'dots.yaml', '--out', 'run');
});

describe('saccade calibrate, and --exit', () => {
  it('calibrates on validation, and says on the test part how early answers come', async () => {
    await place.fails('input', ['eval', 'run', '--exit'], [/exit\.json/, /saccade calibrate/]);
    const calibration = await place.json('calibrate', 'run', '--loss', '0.5');
    expect(calibration).toMatchObject({ file: 'run/exit.json', bins, loss: 0.5 });
    const stored: unknown = JSON.parse(await readFile(place.path('run/exit.json'), 'utf8'));
    expect(calibration).toMatchObject(stored as object);
    const outcome = await place.json('eval', 'run', '--exit');
    const { exit } = outcome.selected as { exit: { meanBins: number; accuracy: object } };
    expect(exit).toMatchObject({ bins, accuracy: { total: 8 } });
    expect(exit.meanBins).toBeLessThanOrEqual(bins);
    expect(await place.print('eval', 'run', '--exit')).toMatch(/early exit above .* of 4 bins/);
  });

  it('says of recordings and streams after how many bins each answer came', async () => {
    const { windows } = (await place.json('infer', 'run', recording, '--exit')) as {
      windows: { decidedBins: number; prediction: string }[];
    };
    const lines = (await place.print('stream', 'run', recording, '--exit')).trimEnd().split('\n');
    windows.forEach(({ decidedBins, prediction }, i) => {
      expect(lines[i]).toMatch(new RegExp(`${prediction}.*decided after ${decidedBins} bins`));
    });
    const mean = windows.reduce((sum, { decidedBins }) => sum + decidedBins, 0) / windows.length;
    expect(lines.slice(-2)).toEqual([
      expect.stringMatching(/after 8 bins: (left|right)$/),
      `${windows.length} clips decided after ${mean.toFixed(2)} bins on average`,
    ]);
  });

  it('refuses thresholds, parts and weights that it cannot be for', async () => {
    await place.fails('usage', ['calibrate', 'run', '--loss', '2'], [/--loss/]);
    await place.fails('input', ['calibrate', 'gone'], [/gone/]);
    await place.fails('usage', ['eval', 'run', '--exit', '--part', 'validation'], [/--part/]);
    await place.fails('input', ['infer', 'run/last.safetensors', recording, '--exit'], [/weights/]);
    await rm(place.path('run/exit.json'));
    await place.fails('input', ['serve', 'run', '--port', '0', '--exit'], [/exit\.json/]);
  });
});

describe('saccade stream --delta', () => {
  it('says the same at threshold 0, and what was saved', async () => {
    const plain = await place.print('stream', 'run', recording);
    const found = await place.print('stream', 'run', recording, '--delta', '0');
    const [macs, dense, saved] = /^([\d,]+) of ([\d,]+) mult.*: ([\d.]+) % saved$/m
      .exec(found)!
      .slice(1)
      .map((text) => Number(text.replaceAll(',', '')));
    expect(saved).toBeCloseTo(100 * (1 - macs / dense), 1);
    expect(found.split('\n').slice(0, -2)).toEqual(plain.split('\n').slice(0, -1));
    const { stdout } = await place.run(['stream', 'run', recording, '--delta', '0', '--json']);
    const works = stdout
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { work: { macs: number } }).work);
    expect(works.reduce((sum, work) => sum + work.macs, 0)).toBe(macs);
  });

  it('refuses thresholds and units that are none', async () => {
    await place.fails('usage', ['stream', 'run', recording, '--delta', '-1'], [/--delta/]);
    await place.fails('usage', ['stream', 'run', recording, '--delta-unit', 'row'], [/token/]);
    await place.fails('usage', ['stream', 'run', recording, '--delta-unit', 'value'], [/--delta/]);
  });
});

describe('saccade eval --spike-code', () => {
  it('says what is lost where spikes replace numbers', async () => {
    const outcome = await place.json('eval', 'run', '--spike-code', 'bitwise', '--bits', '4');
    const { spikeCode, accuracy } = outcome.selected as Record<
      'spikeCode' | 'accuracy',
      { accuracy: { value: number }; value: number; drop: number }
    >;
    expect(spikeCode).toMatchObject({ code: 'bitwise', bits: 4, resolution: 3, steps: 4 });
    expect(spikeCode.drop).toBeCloseTo(accuracy.value - spikeCode.accuracy.value, 10);
    expect(await place.print('eval', 'run', '--spike-code', 'ternary')).toMatch(
      /by ternary spikes, k = 3: accuracy .* layers converted, \d+ steps at most/s,
    );
  });

  it('refuses codes that are none, and settings without one', async () => {
    await place.fails('usage', ['eval', 'run', '--spike-code', 'morse'], [/ternary/]);
    await place.fails('usage', ['eval', 'run', '--bits', '4'], [/--bits/, /--spike-code/]);
    await place.fails(
      'usage',
      ['eval', 'run', '--spike-code', 'binary', '--bits', '0'],
      [/--bits/],
    );
  });
});

describe('saccade eval --delta', () => {
  it('says what each threshold saves and loses', async () => {
    const lines = (
      await place.print('eval', 'run', '--delta', '0,0.5', '--delta-unit', 'value')
    ).split('\n');
    const points = lines.filter((line) => line.startsWith('by values that changed'));
    expect(points[0]).toMatch(/more than 0: accuracy .*, 0\.0 % lost, [\d.]+ % of .* saved$/);
    expect(points[1]).toMatch(/more than 0\.5: accuracy /);
    expect(points).toHaveLength(2);
  });

  it('refuses thresholds that are none, and a unit alone', async () => {
    await place.fails('usage', ['eval', 'run', '--delta', '0,-1'], [/--delta/]);
    await place.fails('usage', ['eval', 'run', '--delta', '0,,1'], [/--delta/]);
    await place.fails('usage', ['eval', 'run', '--delta-unit', 'value'], [/--delta/]);
  });
});
