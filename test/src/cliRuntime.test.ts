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
