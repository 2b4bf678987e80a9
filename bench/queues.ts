import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

import { storeKinds } from '../test/workers/queue/stores.js';
import { createJobClient, type JobTree } from '../workers/queue/client.js';
import { openDatastore } from '../workers/queue/datastore.js';
import { kindByName, type PlainObject } from '../workers/queue/kinds/index.js';
import { startQueueWorker } from '../workers/queue/worker.js';

// Jobs per second of each store, with jobs that do next to nothing (a file of 50 bytes, synced to the disk), beside
// the same jobs in a loop without any queue: `npm run bench:queues -- [JOBS] [STORE …]`.

const [count = '500', ...only] = process.argv.slice(2);
const jobs = Number(count);

function tree(folder: string, size = jobs): JobTree {
  const job = (name: string): JobTree => ({
    kind: 'collect',
    data: { title: name, file: join(folder, `${name}.json`) },
  });
  return { ...job('all'), children: Array.from({ length: size - 1 }, (_, i) => job(String(i))) };
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

function report(name: string, what: string, time: number): void {
  console.log(`${name.padEnd(10)} ${what.padEnd(34)} ${(jobs / time).toFixed(0)} jobs/s`);
}

async function bench({ name, start }: (typeof storeKinds)[number], concurrency: number) {
  const folder = await mkdtemp(join(tmpdir(), 'saccade-bench-'));
  const server = await start(folder);
  const store = await openDatastore({ env: server.env, folder: join(folder, 'queue') });
  const client = createJobClient(store);
  const finished = async (id: string): Promise<void> => {
    while ((await client.job(id)).state !== 'done') await sleep(20);
  };
  try {
    // The processes start before they are measured.
    const worker = await startQueueWorker({
      store,
      lockFolder: join(folder, 'locks'),
      concurrency: { ingest: concurrency },
      jobsPerProcess: 100 * jobs,
    });
    await finished((await client.submit(tree(join(folder, 'first'), 10 * concurrency))).id);
    let id = '';
    const flow = tree(join(folder, 'measured'));
    const done = await seconds(async () => {
      const submitted = await seconds(async () => ({ id } = await client.submit(flow)));
      report(name, 'submit, as one flow', submitted);
      await finished(id);
    });
    report(name, `from submit to done, ${concurrency} at a time`, done);
    await worker.close();
  } finally {
    await client.close();
    await store.close();
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

const folder = await mkdtemp(join(tmpdir(), 'saccade-bench-'));
const kind = kindByName('collect');
const alone = await seconds(async () => {
  for (const { data } of tree(folder).children!) {
    await kind.run(data as PlainObject, { jobId: '', children: [] });
  }
});
await rm(folder, { recursive: true, force: true });
report('no queue', 'one after the other', alone);
for (const store of storeKinds) {
  if (store.missing !== undefined || (only.length > 0 && !only.includes(store.name))) continue;
  for (const concurrency of [1, 2]) await bench(store, concurrency);
}
