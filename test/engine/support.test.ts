import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { writeFileAtomically } from '../../engine/support/atomicFile.js';
import { exitCodes, SaccadeError } from '../../engine/support/errors.js';
import { createRandom, permutation, type Random } from '../../engine/support/random.js';

describe('createRandom', () => {
  const draw = (random: Random): number[] => [
    random.uniform(),
    random.integer(1000),
    random.normal(),
    random.normal(),
    random.exponential(),
  ];

  it('gives the same numbers for the same seed and path, others for any other', () => {
    fc.assert(
      fc.property(fc.integer(), fc.array(fc.oneof(fc.integer(), fc.string())), (seed, path) => {
        const numbers = draw(createRandom(seed, ...path));
        expect(draw(createRandom(seed, ...path))).toEqual(numbers);
        expect(draw(createRandom(seed + 1, ...path))).not.toEqual(numbers);
        expect(draw(createRandom(seed, ...path, 'more'))).not.toEqual(numbers);
      }),
    );
  });

  it('has the moments of its distributions', () => {
    const random = createRandom(1, 'moments');
    const count = 40_000;
    const moments = (next: () => number): [mean: number, variance: number] => {
      const values = Array.from({ length: count }, next);
      const mean = values.reduce((a, b) => a + b, 0) / count;
      return [mean, values.reduce((a, b) => a + (b - mean) ** 2, 0) / count];
    };
    // Five standard errors and more.
    const expected: [() => number, number, number][] = [
      [random.uniform, 1 / 2, 1 / 12],
      [random.normal, 0, 1],
      [random.exponential, 1, 1],
      [() => random.integer(6), 2.5, 35 / 12],
    ];
    for (const [next, mean, variance] of expected) {
      const [actualMean, actualVariance] = moments(next);
      expect(Math.abs(actualMean - mean)).toBeLessThan(0.05);
      expect(Math.abs(actualVariance - variance)).toBeLessThan(0.1);
    }
  });

  it('keeps to its ranges', () => {
    const random = createRandom(2, 'ranges');
    const integers = Array.from({ length: 2000 }, () => random.integer(5));
    expect([...new Set(integers)].sort()).toEqual([0, 1, 2, 3, 4]);
    for (let i = 0; i < 2000; i++) {
      expect(random.uniform()).toBeLessThan(1);
      expect(random.exponential()).toBeGreaterThanOrEqual(0);
    }
  });

  it('permutes: every index once', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 200 }), fc.integer(), (length, seed) => {
        const order = permutation(length, createRandom(seed));
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length }, (_, i) => i));
      }),
    );
  });
});

describe('writeFileAtomically', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'saccade-atomic-'));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  it('writes text, bytes and chunks, into folders that it makes', async () => {
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('in ');
      yield Buffer.from('parts');
    }
    const path = join(folder, 'deep', 'down.txt');
    for (const [content, text] of [
      ['text', 'text'],
      [Buffer.from('bytes'), 'bytes'],
      [chunks(), 'in parts'],
    ] as const) {
      await writeFileAtomically(path, content);
      expect(await readFile(path, 'utf8')).toBe(text);
    }
    expect(await readdir(join(folder, 'deep'))).toEqual(['down.txt']);
  });

  it('says what is wrong where a folder cannot be made', async () => {
    await writeFile(join(folder, 'file'), '');
    await expect(writeFileAtomically(join(folder, 'file', 'a', 'b'), '')).rejects.toThrow();
    if (process.platform !== 'linux') return;
    await expect(writeFileAtomically('/proc/none/such/file', '')).rejects.toThrow(/ENOENT/);
  });

  it('keeps the old content, and nothing beside it, where its source fails', async () => {
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('new');
      throw new Error('no more');
    }
    const path = join(folder, 'kept.txt');
    await writeFile(path, 'old');
    await expect(writeFileAtomically(path, failing())).rejects.toThrow('no more');
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await readdir(folder)).toEqual(['kept.txt']);
  });
});

describe('SaccadeError', () => {
  it('puts the place in front of its message, and has an exit code of its kind', () => {
    const error = new SaccadeError('input', 'expected an event', {
      file: 'a.raw',
      offset: 12,
      field: 'x',
    });
    expect(error.message).toBe('a.raw, byte 12, x: expected an event');
    expect(error.exitCode).toBe(3);
    expect(new SaccadeError('usage', 'bare').message).toBe('bare');
    // 0 is success and 1 an unexpected error.
    const codes = Object.values(exitCodes);
    expect(new Set(codes).size).toBe(codes.length);
    expect(Math.min(...codes)).toBeGreaterThan(1);
  });
});
