import { execFile } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { beforeAll, describe, expect, it } from 'vitest';

import { Workplace } from './cliProcess.js';

const exec = promisify(execFile);
const without = ['--without', 'jobs,serve,tracing,wasm'];

describe('saccade bundle', { timeout: 180_000 }, () => {
  const place = new Workplace();
  let outcome: Record<string, unknown>;
  let folder: string;
  /** A command before the command that takes the network away, where the system has it. */
  let sealed: string[];
  /** Runs the unpacked bundle with nothing in its environment, and gives what it printed. */
  const inside = async (...args: string[]): Promise<Record<string, unknown>> => {
    const [program, ...rest] = [...sealed, join(folder, 'saccade'), ...args, '--json'];
    const { stdout } = await exec(program, rest, { cwd: place.path('host'), env: {} });
    return JSON.parse(stdout) as Record<string, unknown>;
  };

  beforeAll(async () => {
    outcome = await place.json('bundle', 'packed/saccade.tar.gz', ...without);
    await mkdir(place.path('host'));
    await exec('tar', ['-xf', place.path('packed/saccade.tar.gz'), '-C', place.path('host')]);
    folder = place.path('host/saccade');
    const unshare = ['/usr/bin/unshare', '-rn'];
    sealed = await exec(unshare[0], [unshare[1], 'true']).then(
      () => unshare,
      () => [],
    );
  }, 180_000);

  it('says what is in the archive, and leaves nothing else behind', async () => {
    const { size } = await stat(place.path('packed/saccade.tar.gz'));
    expect(outcome).toMatchObject({
      path: 'packed/saccade.tar.gz',
      bytes: size,
      folder: 'saccade',
      node: process.versions.node,
      without: ['jobs', 'serve', 'tracing', 'wasm'],
    });
    expect(await readdir(place.path('packed'))).toEqual(['saccade.tar.gz']);
    expect(await readdir(folder)).toEqual(['lib', 'node', 'saccade']);
    // What has to be carried to a host stays small.
    expect(size).toBeLessThan(60 * 2 ** 20);
  });

  it('holds no package that is only there to build, test or read', async () => {
    const packages = await readdir(join(folder, 'lib/node_modules'));
    expect(packages).toEqual(expect.arrayContaining(['commander', 'zod', '@tensorflow']));
    for (const name of ['typescript', 'vitest', 'node-addon-api', 'bullmq', 'fastify']) {
      expect(packages).not.toContain(name);
    }
    const names = await readdir(join(folder, 'lib'), { recursive: true });
    expect(names.filter((name) => /\.(map|d\.ts)$/.test(name))).toEqual([]);
  });

  it('trains and evaluates elsewhere, without Node, network and environment', async () => {
    const diagnosis = await inside('doctor');
    expect(diagnosis).toMatchObject({ ok: true, node: process.versions.node });
    const backends = diagnosis.backends as { name: string; live: boolean }[];
    expect(backends.find(({ name }) => name === 'native')?.live).toBe(outcome.native);

    await inside(
      'simulate',
      'set',
      ...'--subjects 5 --repetitions 1 --duration 300000'.split(' '),
      ...['--gestures', 'arm_roll,hand_clapping'],
    );
    await writeFile(
      place.path('host/tiny.yaml'),
      `dataset: { path: set }
preprocess:
  window: { kind: time, windowUs: 150000 }
  representation: histogram
  bins: 2
  height: 16
  width: 16
model: { kind: linear }
training: { epochs: 1 }
`,
    );
    const trained = await inside('train', 'tiny.yaml', '--out', 'run');
    expect(trained).toMatchObject({ folder: 'run', bestEpoch: 1 });
    const evaluated = await inside('eval', 'run');
    expect(evaluated).toMatchObject({ part: 'test', synthetic: true });
    expect((await stat(place.path('host/run/confusion-test.png'))).size).toBeGreaterThan(0);
  });

  it('says which package is not in it', async () => {
    const failure = (await exec(join(folder, 'saccade'), ['serve', 'run', '--port', '0'], {
      cwd: place.path('host'),
      env: {},
    }).catch((error: unknown) => error)) as { code: number; stderr: string };
    expect(failure.code).toBe(5);
    expect(failure.stderr).toMatch(/the package (fastify|@fastify\/\S+|prom-client) is not here/);
  });

  it('names what is wrong', async () => {
    await place.fails('usage', ['bundle', 'a.zip'], ['a.zip', '.tar.xz or .tar.gz']);
    await place.fails(
      'usage',
      ['bundle', 'a.tar.gz', '--without', 'walls'],
      [/--without.*walls.*jobs/],
    );
    await place.fails('input', ['bundle', 'a.tar.gz', '--node', 'nowhere'], ['nowhere', 'no Node']);
    const broken = place.path('broken');
    await writeFile(broken, '#!/bin/sh\necho no; exit 3\n');
    await chmod(broken, 0o755);
    await place.fails('input', ['bundle', 'a.tar.gz', '--node', broken], ['broken']);
    expect(await readdir(place.folder)).not.toContain('a.tar.gz');
  });

  it('leaves an archive that is there alone where it is interrupted', async () => {
    await writeFile(place.path('old.tar.gz'), 'old');
    const { exitCode } = await place.run(['bundle', 'old.tar.gz', ...without], {
      interruptWhen: /packing/,
    });
    expect(exitCode).toBe(130);
    expect(await readFile(place.path('old.tar.gz'), 'utf8')).toBe('old');
  });
});
