import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { meanInterval } from '../../models/evaluation/metrics.js';
import {
  benchRecallJob,
  parseBenchRecall,
  type BenchRecallResult,
} from '../../workers/benchRecall.js';
import { benchRecallTable } from '../../workers/benchRecallReport.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-recall-'));
});
afterAll(() => rm(folder, { recursive: true }));

const base = {
  mixers: [
    'deltaNet',
    { name: 'lightning2', label: 'hybrid', hybrid: { ratio: 1 } },
    // It needs a grid of patches.
    { name: 'spikMambaAttention' },
  ],
  recall: {
    seeds: [1, 2],
    steps: 3,
    batch: 4,
    width: 8,
    heads: 1,
    layers: 2,
    symbols: { keys: 4, values: 4, pairs: 2, length: 8 },
    motions: null,
  },
};
const run = (
  recall: Record<string, unknown> = {},
  context: Parameters<typeof benchRecallJob>[1] = {},
): Promise<BenchRecallResult> => {
  const config = parseBenchRecall({ ...base, recall: { ...base.recall, ...recall } }, 'r.yaml');
  return benchRecallJob({ config, folder: join(folder, 'out') }, context);
};

describe('benchRecallJob', () => {
  it('stops when told to, and goes on with the run that it was in', async () => {
    const controller = new AbortController();
    const stopped = run(undefined, {
      signal: controller.signal,
      onProgress: ({ info, done }) => {
        if (info === 'hybrid, symbols, seed 2' && done === 2) controller.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ kind: 'interrupted' });
    const begun = new Set<string>();
    const onProgress = ({ info }: { info?: string }): unknown => begun.add(info!);
    const result = await run(undefined, { onProgress });
    expect([...begun].filter((info) => info.startsWith('deltaNet'))).toEqual([]);
    expect(begun).toContain('hybrid, symbols, seed 2');
    expect(begun).not.toContain('hybrid, symbols, seed 1');

    // One seed more is two mixers' runs more, and the mean is of all of them.
    begun.clear();
    const more = await run({ seeds: [1, 2, 3] }, { onProgress });
    expect([...begun].filter((info) => /deltaNet|hybrid/.test(info)).sort()).toEqual([
      'deltaNet, symbols, seed 3',
      'hybrid, symbols, seed 3',
    ]);
    const { accuracy, seeds } = more.mixers[0].symbols!;
    expect(seeds.slice(0, 2)).toEqual(result.mixers[0].symbols!.seeds);
    expect(accuracy).toEqual(meanInterval(seeds.map((one) => one.accuracy)));
    expect(accuracy.interval95).not.toBeNull();
  });

  it('puts the full mixer of a hybrid where the schedule has it', async () => {
    const [delta, hybrid] = (await run()).mixers;
    // Softmax attention has four matrices, and keys and values of all 8 tokens as state; lightning2 has an 8 × 8 memory.
    expect(hybrid.symbols!.stateBytes).toBeGreaterThan(8 * 8 * 4);
    expect(hybrid.symbols!.parameters).not.toBe(delta.symbols!.parameters);
    const other = await run({ layers: 1 });
    expect(other.mixers[0].symbols!.parameters).toBeLessThan(delta.symbols!.parameters);
  });

  it('writes what it found, with an interval where there is one', async () => {
    const result = await run();
    const read = (name: string): Promise<string> => readFile(join(folder, 'out', name), 'utf8');
    expect(JSON.parse(await read('recall.json'))).toEqual(JSON.parse(JSON.stringify(result)));
    expect(await read('recall.md')).toBe(`${benchRecallTable(result)}\n`);
    const rows = benchRecallTable(result).split('\n');
    expect(rows[2]).toMatch(
      /^\| `deltaNet` \| [\d.]+ % \([\d.]+ … [\d.]+\) \| - \| 0\.00 \| \d+ \|/,
    );
    const [row] = benchRecallTable(await run({ seeds: [1] }))
      .split('\n')
      .slice(2);
    expect(row).toMatch(/^\| `deltaNet` \| [\d.]+ % \| - \|/);
  });
});

describe('parseBenchRecall', () => {
  const unseeded = { ...base.recall, seeds: undefined };
  it.each([
    [{ ...base, recall: unseeded }, /r\.yaml.*recall\.seeds/],
    [{ ...base, mixers: ['nosuch'] }, /mixers\.0/],
    [{ ...base, mixers: ['rat', 'rat'] }, /mixers\.1\.label.*twice/],
    [{ ...base, mixers: [{ name: 'rat', hybrid: { ratio: 0 } }] }, /mixers\.0\.hybrid\.ratio/],
  ])('refuses %#', (config, message) => {
    expect(() => parseBenchRecall(config, 'r.yaml')).toThrow(message);
  });
});
