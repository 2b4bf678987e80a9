import { cp, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { writeFreshModel } from '../service/testService.js';
import { tinyExperiment, writeTinySet } from '../tinySet.js';
import { checkInputs, hashInputs } from '../../../workers/queue/inputs.js';
import {
  checkEnvelope,
  checkJobData,
  checkResult,
  jobKinds,
  jobVersion,
  kindByName,
  largestJob,
  openResult,
  type PlainObject,
  resultVersion,
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

describe('job results', () => {
  const result = {
    ...data,
    events: { read: 3, written: 2 },
    bytes: 50,
    backwardSteps: 0,
    damageCount: 0,
  };
  const refusal = (message: RegExp): Error =>
    expect.objectContaining({
      kind: 'result',
      message: expect.stringMatching(message) as string,
    }) as Error;

  it('hold what the kind of job says, and nothing else', () => {
    expect(checkResult(convert, 'convert-12', result)).toEqual(result);
    const refused = (changes: Record<string, unknown>, message: RegExp): void =>
      expect(() => checkResult(convert, 'convert-12', { ...result, ...changes })).toThrow(
        refusal(message),
      );
    refused({ bytes: undefined }, /^result of convert-12, bytes: /);
    refused({ events: { read: 3, written: NaN } }, /^result of convert-12, events.written: /);
    refused({ more: 1 }, /^result of convert-12, more: there is no such field/);
  });

  it('have a version, which is checked as all that comes out of a queue', () => {
    const envelope = { version: resultVersion, kind: 'convert', result };
    expect(openResult('convert-12', envelope)).toEqual(result);
    expect(() => openResult('convert-12', { ...envelope, version: 7 })).toThrow(
      refusal(/^result of convert-12, version: expected version/),
    );
    expect(() => openResult('convert-12', { ...envelope, result: {} })).toThrow(
      refusal(/^result of convert-12, from: /),
    );
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(() => openResult('convert-12', value)).toThrow(refusal(/^result of convert-12/));
      }),
    );
  });

  it('are what every kind returns', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'saccade-results-'));
    await writeTinySet(join(folder, 'data'), 4);
    await mkdir(join(folder, 'fresh'));
    const checkpoint = await writeFreshModel(join(folder, 'fresh'));
    const experiment = tinyExperiment(join(folder, 'data'), {
      training: { epochs: 1, batchSize: 8 },
      pretraining: { epochs: 1, batchSize: 8 },
    });
    const { filters, window } = experiment.preprocess;
    const recording = join(folder, 'data/left/0.es');
    const broken = join(folder, 'broken.es');
    await writeFile(broken, 'nonsense');
    const cacheFolder = join(folder, 'cache');
    const run = { experiment, cacheFolder, backend: 'wasm' };
    const prepare = { filters, window, cacheFolder };
    const out = join(folder, 'out.json');
    const jobs: [string, Record<string, unknown>][] = [
      ['convert', { from: recording, to: join(folder, 'out.dat') }],
      ['index', { path: join(folder, 'out.dat') }],
      ['prepare', { path: recording, ...prepare }],
      ['prepare', { path: broken, ...prepare }],
      ['pretrain', { ...run, folder: join(folder, 'pretrained') }],
      ['train', { ...run, folder: join(folder, 'run') }],
      ['evaluate', { path: join(folder, 'run'), part: 'test', cacheFolder, backend: 'wasm' }],
      ['infer', { checkpoint, file: recording, out, backend: 'wasm' }],
      ['collect', { title: 'all', file: join(folder, 'list.json') }],
    ];
    const children: PlainObject[] = [];
    for (const [name, of] of jobs) {
      const kind = kindByName(name);
      const found = await kind.run(checkJobData(kind, of), { jobId: `${name}-1`, children });
      // It comes out of the queue as it was put in.
      const stored: unknown = JSON.parse(JSON.stringify(found));
      expect(checkResult(kind, `${name}-1`, stored)).toEqual(stored);
      children.push(found);
    }
    expect([...new Set(jobs.map(([name]) => name))].sort()).toEqual(
      jobKinds.map(({ name }) => name).sort(),
    );
    expect(children.at(-1)).toEqual({ file: join(folder, 'list.json'), jobs: jobs.length - 1 });
    await rm(folder, { recursive: true });
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

  it('are, for learning, the recordings, what is said about them, and the runs that it starts from', async () => {
    const data = join(folder, 'data');
    await writeTinySet(data, 2);
    await mkdir(join(folder, 'start'));
    const start = await writeFreshModel(join(folder, 'start'));
    const experiment = tinyExperiment(data, { training: { initialise: start } });
    for (const name of ['train', 'pretrain']) {
      const kind = kindByName(name);
      const of = checkJobData(kind, {
        experiment,
        folder: join(folder, 'run'),
        cacheFolder: folder,
      });
      const inputs = async () => (await kind.inputs?.(of)) ?? [];
      const hashes = await hashInputs(await inputs());
      const files = ['left/0.es', 'left/1.es', 'right/0.es', 'right/1.es'];
      const paths = files.map((file) => join(data, file));
      expect(Object.keys(hashes)).toEqual([data, ...paths, start]);
      const named = async (place: string): Promise<void> => {
        const error = { kind: 'input', place: { file: place } };
        await expect(checkInputs(hashes, await inputs())).rejects.toMatchObject(error);
      };
      await expect(checkInputs(hashes, await inputs())).resolves.toBeUndefined();
      await rename(start, `${start}.away`);
      await named(start);
      await rename(`${start}.away`, start);
      await rename(paths[0], `${paths[0]}.away`);
      await cp(paths[1], paths[0]);
      await named(paths[0]);
      await rename(`${paths[0]}.away`, paths[0]);
      // Nothing has another content, but it is another set.
      await cp(paths[0], join(data, 'right/2.es'));
      await named(data);
      await rm(join(data, 'right/2.es'));
      await expect(checkInputs(hashes, await inputs())).resolves.toBeUndefined();
    }
  });

  it('stay few where a set has many files', async () => {
    const files = Array.from({ length: 300 }, (_, i) => join(folder, `${'long'.repeat(30)}${i}`));
    await writeFile(files[7], 'one');
    const set = { path: folder, files, about: ['left', 'right'] };
    const hashes = await hashInputs([set]);
    expect(Object.keys(hashes)).toEqual([folder]);
    await expect(checkInputs(hashes, [set])).resolves.toBeUndefined();
    await writeFile(files[7], 'two');
    await expect(checkInputs(hashes, [set])).rejects.toMatchObject({ place: { file: folder } });
    await writeFile(files[7], 'one');
    await expect(checkInputs(hashes, [{ ...set, about: ['left'] }])).rejects.toThrow(/has changed/);
  });
});
