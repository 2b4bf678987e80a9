import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { tinyWindowUs, writeTinySet } from '../workers/tinySet.js';
import { Workplace } from './cliProcess.js';

const place = new Workplace();

const configuration = (workers: number): string => `
name: dots
seed: 5
dataset: { path: dots, validation: 0.25, test: 0.25 }
preprocess:
  - window: { kind: time, windowUs: ${tinyWindowUs} }
  - represent: { representation: histogram, bins: 4, height: 8, width: 8 }
  - augment: randAugment:2,5
  - augment: eventMix:0.5
model: { kind: linear }
loader: { workers: ${workers} }
training: { epochs: 12, batchSize: 4, mixup: 0.3, cutmix: 0.3 }
`;

beforeAll(async () => {
  await writeTinySet(place.path('dots'));
  for (const workers of [0, 1, 2]) {
    await writeFile(place.path(`${workers}.yaml`), configuration(workers));
  }
});

/** The tensors of a run's last checkpoint, without what it says of its experiment. */
async function weights(run: string): Promise<Buffer> {
  const bytes = await readFile(join(place.path(run), 'last.safetensors'));
  return bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)));
}

describe('threads that load', () => {
  it('give the same weights as none, also where a run is interrupted and resumed with others', async () => {
    await place.print('train', '0.yaml', '--out', 'none');
    const expected = await weights('none');
    await place.print('train', '2.yaml', '--out', 'two');
    expect(await weights('two')).toEqual(expected);

    const stopped = await place.run(['train', '1.yaml', '--out', 'one'], {
      interruptWhen: /epoch 2/,
    });
    expect(stopped.exitCode, stopped.stderr).toBe(130);
    await place.print('train', '2.yaml', '--out', 'one');
    expect(await weights('one')).toEqual(expected);
  });
});
