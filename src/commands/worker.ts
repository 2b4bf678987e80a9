import { setTimeout as sleep } from 'node:timers/promises';

import { SaccadeError } from '../../engine/support/errors.js';
import type { QueueName } from '../../workers/queue/kinds/kind.js';
import { note, print, type RegisterCommand } from '../io.js';
import { examples, integerBetween, numberBetween } from '../options.js';
import { openStore, parseCounts, workspaceFolders, workspaceOption } from '../queueOptions.js';

type Counts = Partial<Record<QueueName, number>>;

interface Options {
  readonly roles: Counts;
  readonly drain: number;
  readonly lock: number;
  readonly jobsPerProcess?: number;
  readonly untilEmpty?: boolean;
  readonly workspace?: string;
  readonly json?: boolean;
}

/** The queues and how many jobs of each at a time, for a machine of two cores. */
const defaultRoles: Readonly<Counts> = { ingest: 2, train: 1, evaluate: 1, infer: 1 };

export const registerWorker: RegisterCommand = (program, io) => {
  program
    .command('worker')
    .summary('take jobs from the queues and do them')
    .description(
      'Runs until it is stopped. Each job is computed in a process of its own. Ctrl-C: takes no more jobs, gives ' +
        'those in work --drain seconds, then lets them save what can be resumed and gives them back to their ' +
        'queue; once more ends at once, and other workers find what is left. With --json, one line an event: ' +
        '{event, queue, kind, jobId, reason}.',
    )
    .option(
      '--roles <QUEUE[=N],…>',
      'queues to work on and jobs of each at a time (default: ingest=2,train=1,evaluate=1,infer=1)',
      parseCounts<QueueName>(['ingest', 'train', 'evaluate', 'infer']),
      defaultRoles,
    )
    .option('--drain <s>', 'patience with jobs in work when stopped', numberBetween(0, 86_400), 10)
    .option(
      '--lock <s>',
      'silence after which others take this worker for dead and its jobs over',
      numberBetween(1, 3600),
      30,
    )
    .option(
      '--jobs-per-process <N>',
      'jobs after which a process is replaced (default: 100)',
      integerBetween(1, 1_000_000),
    )
    .option('--until-empty', 'end when there is nothing left to do')
    .addOption(workspaceOption())
    .option('--json', 'print one JSON document a line')
    .addHelpText(
      'after',
      examples(
        ['saccade worker', 'work on everything'],
        ['REDIS_URL=redis://queue:6379 saccade worker --roles train', 'a machine that trains'],
      ),
    )
    .action(async (options: Options) => {
      const { roles, drain, lock, jobsPerProcess, untilEmpty, workspace, json } = options;
      const [{ startQueueWorker }, { createJobClient }, { startTracing }] = await Promise.all([
        import('../../workers/queue/worker.js'),
        import('../../workers/queue/client.js'),
        import('../../workers/tracing.js'),
      ]);
      const stopTracing = await startTracing(io.env, 'saccade-worker');
      const store = await openStore(io, workspace);
      const client = createJobClient(store);
      const worker = await startQueueWorker({
        store,
        lockFolder: workspaceFolders(io, workspace).locks,
        concurrency: roles,
        lockMs: 1000 * lock,
        jobsPerProcess,
        onEvent: (event) => {
          if (json) print(io, JSON.stringify(event));
          else {
            const { jobId, reason } = event;
            print(io, `${jobId}: ${event.event}${reason === undefined ? '' : ` (${reason})`}`);
          }
        },
      });
      const served = Object.entries(roles).map(([name, count]) => `${name}=${count}`);
      note(io, `works on ${served.join(', ')} of ${store.place} (${store.kind})`);
      try {
        const names = Object.keys(roles) as QueueName[];
        for (;;) {
          await sleep(untilEmpty ? 300 : 60_000, undefined, { signal: io.signal });
          if (!untilEmpty || worker.active > 0) continue;
          const counts = await client.counts().catch(() => undefined);
          const open = ({ active, waiting, blocked, delayed }: Record<string, number>): number =>
            active + waiting + blocked + delayed;
          if (counts !== undefined && names.every((name) => open(counts[name]) === 0)) break;
        }
      } catch (error) {
        if (!io.signal.aborted) throw error;
        throw new SaccadeError('interrupted', 'stopped; jobs in work went back to their queue');
      } finally {
        await worker.close(1000 * drain);
        await client.close();
        await store.close();
        await stopTracing?.();
      }
    });
};
