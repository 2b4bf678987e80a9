import { execFile } from 'node:child_process';
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

import { build } from 'esbuild';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { loadAddon } from '../../../engine/native/addon.js';
import { testedBackends } from '../backends.js';

const exec = promisify(execFile);
const source = join('engine', 'native');

describe('installing where no compiler is', () => {
  let folder: string;
  let target: string;
  let prebuilt: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'saccade-install-'));
    target = join(folder, 'engine', 'native');
    prebuilt = join(target, 'prebuilds', `${process.platform}-${process.arch}`, 'saccade.node');
    await mkdir(dirname(prebuilt), { recursive: true });
    await cp(join(source, 'src'), join(target, 'src'), { recursive: true });
    for (const name of ['install.mjs', 'binding.gyp']) {
      await copyFile(join(source, name), join(target, name));
    }
    await writeFile(join(folder, 'package.json'), '{ "name": "saccade", "type": "module" }');
    await build({
      entryPoints: [join(source, 'addon.ts')],
      outfile: join(target, 'addon.js'),
      bundle: true,
      format: 'esm',
      platform: 'node',
    });
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const env = { PATH: '', npm_config_node_gyp: join('no', 'such', 'node-gyp.js') };
  const install = () => exec(process.execPath, [join(target, 'install.mjs')], { env });
  const load = () =>
    exec(
      process.execPath,
      [
        '--input-type=module',
        '--eval',
        `const { loadAddon } = await import(process.argv[1]);
         const addon = loadAddon();
         console.log(JSON.stringify([addon.path, addon.instructionSet()]));`,
        join(target, 'addon.js'),
      ],
      { env },
    );

  it.runIf(testedBackends.includes('native'))('takes the prebuilt binary', async () => {
    const addon = loadAddon();
    await copyFile(addon.path, prebuilt);
    expect((await install()).stdout).toContain('native backend prebuilt');
    expect(JSON.parse((await load()).stdout)).toEqual([prebuilt, addon.instructionSet()]);
  });

  it('succeeds without a binary that fits, and says why there is no native backend', async () => {
    await writeFile(prebuilt, 'for another machine');
    const { stdout } = await install();
    expect(stdout).toContain('no native backend');
    expect(stdout).toContain('install a C++17 compiler');
    const reason = (await readFile(join(target, 'build', 'failure.txt'), 'utf8')).trim();
    await expect(load()).rejects.toMatchObject({ stderr: expect.stringContaining(reason) });
  });
});
