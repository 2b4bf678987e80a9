import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const exec = promisify(execFile);
const unreachable = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT/;

interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

describe('the package', () => {
  let folder: string;
  let packed: Packed;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'saccade-package-'));
    // Without its scripts: the build is there already.
    const args = ['pack', '--ignore-scripts', '--json', '--pack-destination', folder];
    const { stdout } = await exec('npm', args, { maxBuffer: 2 ** 26 });
    [packed] = JSON.parse(stdout) as [Packed];
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('holds what is needed, and no sources, tests or recordings', () => {
    const paths = packed.files.map(({ path }) => path);
    expect(paths).toEqual(
      expect.arrayContaining([
        'LICENSE',
        'README.md',
        'package.json',
        'configs/demo.yaml',
        'dist/src/cli.js',
        'dist/src/index.js',
        'dist/src/index.d.ts',
        'engine/native/binding.gyp',
        'engine/native/install.mjs',
        'engine/native/src/addon.cc',
      ]),
    );
    const allowed =
      /^(dist\/.*\.(js|d\.ts)|engine\/native\/(src|prebuilds)\/.*|engine\/cuda\/source\/.*|workers\/dashboard\/page\/.*|configs\/.*|docs\/.*|[A-Z]+(\.md)?|package\.json|engine\/native\/(binding\.gyp|install\.mjs))$/;
    expect(paths.filter((path) => !allowed.test(path))).toEqual([]);
  });

  it('installs into an empty folder and works there, as a command and as a library', async ({
    skip,
  }) => {
    const { name, version } = JSON.parse(await readFile('package.json', 'utf8')) as {
      name: string;
      version: string;
    };
    await writeFile(join(folder, 'package.json'), '{ "private": true }');
    // Compiling the native backend again would take a minute; it works without, on other backends.
    const env = { ...process.env, NODE_PATH: '', SACCADE_SKIP_NATIVE: '1' };
    const inside = { cwd: folder, env };
    const install = ['install', packed.filename, '--prefer-offline', '--no-audit', '--no-fund'];
    try {
      await exec('npm', [...install, '--fetch-retries=1', '--loglevel=error'], inside);
    } catch (error) {
      const { stderr } = error as { stderr: string };
      if (unreachable.test(stderr)) skip('the package registry cannot be reached');
      throw error;
    }
    const command = join(folder, 'node_modules', '.bin', name);
    expect((await exec(command, ['--version'], inside)).stdout).toBe(`${version}\n`);

    await writeFile(join(folder, 'events.csv'), 't,x,y,p\n10,0,0,1\n25,3,1,0\n');
    const info = await exec(command, ['info', 'events.csv', '--json'], inside);
    expect(JSON.parse(info.stdout)).toMatchObject({ events: 2, tFirstUs: 10, tLastUs: 25 });

    await writeFile(
      join(folder, 'use.mjs'),
      `import { createModel, Initialiser, modelSchema, openRecording, selectBackend, summarise } from 'saccade';
       const { name } = await selectBackend('wasm');
       const { events } = await summarise(await openRecording('events.csv'));
       const input = { bins: 2, channels: 2, height: 8, width: 8 };
       const model = createModel(modelSchema.parse({ kind: 'spikmamba' }), input, 3);
       model.initialise(new Initialiser(1));
       console.log(JSON.stringify({ name, events, classes: model.classes }));`,
    );
    const used = await exec(process.execPath, ['use.mjs'], inside);
    expect(JSON.parse(used.stdout)).toEqual({ name: 'wasm', events: 2, classes: 3 });
  });
});
