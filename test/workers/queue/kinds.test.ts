import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { checkInputs, hashInputs } from '../../../workers/queue/inputs.js';
import {
  checkEnvelope,
  checkJobData,
  jobKinds,
  jobVersion,
  kindByName,
  largestJob,
} from '../../../workers/queue/kinds/index.js';

const convert = kindByName('convert');
const data = { from: '/a/walk.aedat', to: '/b/walk.es' };

describe('job data', () => {
  it('hold what the kind of job wants, and nothing else', () => {
    expect(checkJobData(convert, data)).toEqual(data);
    const refused = (changes: Record<string, unknown>, message: RegExp): void => {
      const error = { kind: 'input', message: expect.stringMatching(message) as string };
      expect(() => checkJobData(convert, { ...data, ...changes })).toThrow(
        expect.objectContaining(error) as Error,
      );
    };
    refused({ from: 'walk.aedat' }, /job convert, from: expected an absolute path/);
    refused({ to: undefined }, /job convert, to/);
    refused({ fromUs: 'soon' }, /job convert, fromUs/);
    refused({ events: [1, 2, 3] }, /job convert.*events/);
    expect(() => kindByName('explode')).toThrow(/unknown kind of job 'explode'/);
  });

  it('are references: what is as large as events is refused', () => {
    const filters = (length: number): string[] =>
      Array.from({ length: 100 }, () => 'x'.repeat(length));
    expect(() => checkJobData(convert, { ...data, filters: filters(600) })).not.toThrow();
    expect(() => checkJobData(convert, { ...data, filters: filters(700) })).toThrow(
      new RegExp(`a job has at most ${largestJob}`),
    );
  });

  it('have a version, which is checked as all that comes out of a queue', () => {
    const envelope = { version: jobVersion, data, inputs: { '/a/walk.aedat': '12-ab' } };
    expect(checkEnvelope(convert, envelope)).toEqual(envelope);
    expect(() => checkEnvelope(convert, { ...envelope, version: jobVersion + 1 })).toThrow(
      /job convert, version: expected version/,
    );
    expect(() => checkEnvelope(convert, { version: jobVersion, data: { from: '/a' } })).toThrow(
      /job convert, to/,
    );
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(...jobKinds), (value, kind) => {
        expect(() => checkEnvelope(kind, value)).toThrow(
          expect.objectContaining({ kind: 'input' }) as Error,
        );
      }),
    );
  });
});

describe('inputs of a job', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'saccade-inputs-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('are known by their content', async () => {
    const path = join(folder, 'a.es');
    await writeFile(path, 'some events');
    const hashes = await hashInputs([path, folder, join(folder, 'nothing')]);
    expect(Object.keys(hashes)).toEqual([path]);
    await expect(checkInputs(hashes)).resolves.toBeUndefined();
    await writeFile(path, 'same events');
    await expect(checkInputs(hashes)).rejects.toMatchObject({
      kind: 'input',
      place: { file: path },
    });
    await writeFile(path, 'some events');
    await expect(checkInputs(hashes)).resolves.toBeUndefined();
    await rm(path);
    await expect(checkInputs(hashes)).rejects.toThrow(/no longer there/);
  });
});
