import { fork } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { processLock, tryProcessLock } from '../../engine/support/processLock.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-lock-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('processLock', () => {
  it('is held once, and free again after its release', async () => {
    const path = join(folder, 'deep', 'a');
    const lock = await tryProcessLock(path);
    expect(lock).toBeDefined();
    expect(await tryProcessLock(path)).toBeUndefined();
    await expect(processLock(path, 'the thing')).rejects.toThrow(
      /the thing is in use by another process/,
    );
    await lock!.release();
    const next = await processLock(path, 'the thing');
    await next.release();
    expect(await readdir(join(folder, 'deep'))).toEqual(['a.2']);
  });

  it('goes to exactly one of many who want it at once', async () => {
    const path = join(folder, 'b');
    for (let round = 0; round < 20; round++) {
      const locks = await Promise.all(Array.from({ length: 8 }, () => tryProcessLock(path)));
      const held = locks.filter((lock) => lock !== undefined);
      expect(held).toHaveLength(1);
      await held[0].release();
    }
  });

  it('falls free when its holder is killed', async () => {
    const path = join(folder, 'c');
    const script = join(folder, 'hold.mjs');
    await writeFile(
      script,
      `import { writeFileSync, readFileSync } from 'node:fs';
       const stat = readFileSync('/proc/self/stat', 'utf8');
       const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
       const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
       writeFileSync(${JSON.stringify(`${path}.7`)}, JSON.stringify({ pid: process.pid, started: boot + ' ' + start }));
       process.send('held');
       setInterval(() => {}, 1000);`,
    );
    const child = fork(script, { execArgv: [] });
    await new Promise((done) => child.once('message', done));
    expect(await tryProcessLock(path)).toBeUndefined();
    child.kill('SIGKILL');
    await new Promise((done) => child.once('exit', done));
    const lock = await tryProcessLock(path);
    expect(lock).toBeDefined();
    expect((await readdir(folder)).filter((name) => name.startsWith('c.'))).toEqual(['c.8']);
  });

  it('is not kept by a process that has the number of a dead one', async () => {
    const path = join(folder, 'd');
    await writeFile(`${path}.1`, JSON.stringify({ pid: process.pid, started: 'another boot 1' }));
    expect(await tryProcessLock(path)).toBeDefined();
  });
});
