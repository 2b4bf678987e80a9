import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { describe, expect, it } from 'vitest';

import { createRandom, permutation } from '../../../engine/support/random.js';
import { writeRecording } from '../../../ingest/recording.js';
import { convertJob } from '../../../workers/convert.js';
import type { JobTree } from '../../../workers/queue/client.js';
import { trainingFlow } from '../../../workers/queue/flows.js';
import { batchOf, streamOf } from '../../ingest/streams.js';
import { tinyExperiment, tinySensor, writeTinySet } from '../tinySet.js';
import { killNow, openClient, runCli, slotsOf, startCli, tensorsOf } from './queueProcess.js';
import { storeKinds } from './stores.js';

// Worker, slots and store are killed at random moments over a flow of jobs. `npm run test:faults` does it at length.

const kills = Number(process.env.SACCADE_TEST_KILLS ?? 4);
const jobCount = Number(process.env.SACCADE_TEST_JOBS ?? 24);
const { SACCADE_TEST_SEED: wanted = '7' } = process.env;
const seed = wanted === 'random' ? Date.now() : Number(wanted);
const sources = 4;

/** Recordings that take a while to convert. */
async function writeSources(folder: string): Promise<readonly string[]> {
  const paths: string[] = [];
  for (let i = 0; i < sources; i++) {
    const random = createRandom(i, 'source');
    const rows = Array.from(
      { length: 100_000 },
      (_, k) => [k * 10, random.integer(16), random.integer(16), random.integer(2)] as const,
    );
    const path = join(folder, `source${i}.es`);
    await writeRecording(path, streamOf([batchOf(tinySensor, rows)]), { sensor: tinySensor });
    paths.push(path);
  }
  return paths;
}

describe.each(storeKinds)('a flow of jobs on $name', ({ name, missing, start }) => {
  it.skipIf(missing !== undefined)(
    'has every effect once, whatever is killed',
    { timeout: 400_000 + 30_000 * kills },
    async () => {
      const folder = await mkdtemp(join(tmpdir(), 'saccade-faults-'));
      const random = createRandom(seed, name);
      const order = permutation(3, random);
      // One tree: preparation, training and evaluation, beside conversions, and a list of what came of them.
      const perClass = Math.max(4, Math.floor(jobCount / 4));
      await writeTinySet(join(folder, 'data'), perClass);
      const experiment = tinyExperiment(join(folder, 'data'), {
        training: { epochs: Math.ceil(800 / perClass), batchSize: 4, learningRate: 0.01 },
      });
      const files = await writeSources(folder);
      const cacheFolder = join(folder, 'cache');
      const run = join(folder, 'run');
      const evaluation = await trainingFlow(experiment, { folder: run, cacheFolder, part: 'test' });
      const conversions = Array.from({ length: jobCount - 2 * perClass - 3 }, (_, i): JobTree => ({
        kind: 'convert',
        data: { from: files[i % sources], to: join(folder, 'out', `${i}.aedat`) },
      }));
      const list = join(folder, 'list.json');
      const tree: JobTree = {
        kind: 'collect',
        data: { title: 'everything', file: list },
        children: [...conversions, evaluation],
      };

      const store = await start(folder);
      const client = await openClient(folder, store.env);
      const startWorker = () => startCli(['worker', '--lock', '2'], folder, store.env);
      const { id } = await client.submit(tree);
      let worker = startWorker();
      /** From 0 to 1, the last quarter for training. */
      const share = async (): Promise<number> => {
        const jobs = await client.list({ limit: 10 * jobCount });
        const training = jobs.find(({ kind }) => kind === 'train')?.progress;
        const trained = training?.phase === 'train' ? training.done / training.total : 0;
        const done = jobs.filter(({ state }) => state === 'done').length;
        return (0.75 * done) / jobCount + 0.25 * trained;
      };
      try {
        const killed = { worker: 0, slot: 0, store: 0 };
        for (let kill = 0; kill < kills; kill++) {
          // Spread over the flow, as far as it gets between two of them.
          for (let i = 0; i < 300 && (await share()) < kill / kills; i++) await sleep(100);
          await sleep(random.integer(1000));
          // Each once, then any.
          const victims = ['worker', 'slot', 'store'] as const;
          const victim = victims[kill < 3 ? order[kill] : random.integer(3)];
          if (victim === 'worker') {
            killNow(worker.pid);
            worker = startWorker();
          } else if (victim === 'slot') {
            const pids = await slotsOf(folder);
            // There is none for a moment after the worker was killed.
            if (pids.length === 0) kill--;
            else killNow(pids[random.integer(pids.length)]);
            if (pids.length === 0) continue;
          } else await store.crash();
          killed[victim]++;
        }
        for (let i = 0; i < 3000; i++) {
          if (['done', 'dead'].includes((await client.job(id)).state)) break;
          await sleep(100);
        }

        const jobs = await client.list({ limit: 10 * jobCount });
        console.log(
          `${name}: ${kills} kills (${JSON.stringify(killed)}) over ${jobs.length} jobs; ` +
            `attempts that failed: ${jobs.reduce((sum, { attempts }) => sum + attempts, 0) - jobs.length}`,
        );
        expect(jobs.filter(({ state }) => state !== 'done')).toEqual([]);
        expect(new Set(jobs.map((job) => job.id)).size).toBe(jobCount);
        expect(jobs).toHaveLength(jobCount);
        // Each conversion has left its file, the one that an undisturbed one leaves, and nothing else.
        const names = await readdir(join(folder, 'out'));
        expect(names.sort()).toEqual(conversions.map((_, i) => `${i}.aedat`).sort());
        for (const [source, from] of files.entries()) {
          const to = join(folder, `undisturbed${source}.aedat`);
          await convertJob({ from, to });
          const wanted = await readFile(to);
          for (let i = source; i < conversions.length; i += sources) {
            expect((await readFile(join(folder, 'out', `${i}.aedat`))).equals(wanted)).toBe(true);
          }
        }
        const { jobs: listed } = JSON.parse(await readFile(list, 'utf8')) as {
          jobs: { to?: string; looks?: number }[];
        };
        expect(listed).toHaveLength(conversions.length + 1);
        expect(new Set(listed.map(({ to }) => to)).size).toBe(conversions.length + 1);
        // Trained as if nothing had happened, and looked at the test part once.
        expect(listed.find(({ to }) => to === undefined)).toMatchObject({ part: 'test', looks: 1 });
        const undisturbed = join(folder, 'undisturbed');
        await writeFile(join(folder, 'experiment.json'), JSON.stringify(experiment));
        const train = ['train', 'experiment.json', '--out', undisturbed, '--cache', cacheFolder];
        const { exitCode, stderr } = await runCli(train, folder, store.env);
        expect(exitCode, stderr).toBe(0);
        const weights = async (from: string): Promise<Buffer> =>
          tensorsOf(await readFile(join(from, 'last.safetensors')));
        expect((await weights(run)).equals(await weights(undisturbed))).toBe(true);
        const lines = async (from: string): Promise<string> =>
          readFile(join(from, 'metrics.jsonl'), 'utf8');
        expect(await lines(run)).toBe(await lines(undisturbed));
      } finally {
        killNow(worker.pid);
        for (const pid of await slotsOf(folder)) killNow(pid);
        await client.close();
        await store.stop();
        await rm(folder, { recursive: true, force: true });
      }
    },
  );
});
