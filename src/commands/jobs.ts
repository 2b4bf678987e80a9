import Table from 'cli-table3';
import { Option } from 'commander';

import { type JobState, type JobSummary, jobStates } from '../../workers/queue/client.js';
import { type QueueName, queueNames } from '../../workers/queue/kinds/kind.js';
import { listing, print, printJson, type RegisterCommand } from '../io.js';
import { watchJobs } from '../jobWatch.js';
import { examples, integerBetween, jsonOption } from '../options.js';
import { withClient, workspaceOption } from '../queueOptions.js';

interface Options {
  readonly state?: readonly JobState[];
  readonly queue?: readonly QueueName[];
  readonly limit: number;
  readonly workspace?: string;
  readonly json?: boolean;
}

export const registerJobs: RegisterCommand = (program, io) => {
  const jobs = program
    .command('jobs')
    .summary('list, follow, cancel and retry jobs')
    .addHelpText(
      'after',
      examples(
        ['saccade jobs list --state dead', 'what has failed for good, and why'],
        ['saccade jobs watch train-0123456789abcdef', 'follow one'],
      ),
    );

  jobs
    .command('list', { isDefault: true })
    .summary('list jobs, newest first')
    .description(
      'States: active, waiting (for a worker), blocked (by jobs it waits for), delayed (until its next attempt), ' +
        'done, and dead (failed for good; see its reason). With --json: {counts, jobs: [{id, queue, kind, state, ' +
        'progress, attempts, reason, result, submittedMs, startedMs, endedMs, data}]}.',
    )
    .addOption(new Option('--state <state...>', 'only these').choices(jobStates))
    .addOption(new Option('--queue <name...>', 'only these').choices(queueNames))
    .option('--limit <N>', 'at most so many', integerBetween(1, 100_000), 50)
    .addOption(workspaceOption())
    .addOption(jsonOption())
    .action(({ state: states, queue: queues, limit, workspace, json }: Options) =>
      withClient(io, workspace, async (client) => {
        const found = await client.list({ states, queues, limit });
        const counts = await client.counts();
        if (json) printJson(io, { counts, jobs: found });
        else {
          if (found.length > 0) print(io, jobTable(found));
          const total = (state: JobState): number =>
            Object.values(counts).reduce((sum, row) => sum + row[state], 0);
          print(io, jobStates.map((state) => `${total(state)} ${state}`).join(', '));
        }
      }),
    );

  const one = (name: string, summary: string) =>
    jobs
      .command(name)
      .summary(summary)
      .argument('<job>', 'name of the job')
      .addOption(workspaceOption())
      .addOption(jsonOption());

  one('show', 'all that is known of a job').action((id: string, { workspace, json }: Options) =>
    withClient(io, workspace, async (client) => {
      const job = await client.job(id);
      if (json) printJson(io, job);
      else print(io, ...describe(job));
    }),
  );
  one('logs', 'what a job said').action((id: string, { workspace, json }: Options) =>
    withClient(io, workspace, async (client) => {
      const lines = await client.logs(id);
      if (json) printJson(io, { id, lines });
      else if (lines.length > 0) print(io, ...lines);
    }),
  );
  one('cancel', 'stop a job; what can be resumed is saved').action(
    (id: string, { workspace, json }: Options) =>
      withClient(io, workspace, async (client) => {
        const effect = await client.cancel(id);
        if (json) printJson(io, { id, effect });
        else print(io, `${id}: ${effect}`);
      }),
  );
  one('retry', 'give a dead job back to its queue').action(
    (id: string, { workspace, json }: Options) =>
      withClient(io, workspace, async (client) => {
        await client.retry(id);
        if (json) printJson(io, { id });
        else print(io, `${id}: back in its queue`);
      }),
  );
  jobs
    .command('watch')
    .summary('follow jobs until they have ended')
    .argument('[job...]', 'names of jobs (default: all that have not ended)')
    .addOption(workspaceOption())
    .addOption(jsonOption())
    .action((ids: readonly string[], { workspace, json }: Options) =>
      withClient(io, workspace, async (client) => {
        const open = ['active', 'waiting', 'blocked', 'delayed'] as const;
        const watched =
          ids.length > 0
            ? ids
            : (await client.list({ states: open, limit: 100_000 })).map(({ id }) => id);
        const ended = await watchJobs(io, client, watched, json);
        if (json) printJson(io, { jobs: ended });
        else if (ended.length > 0) print(io, jobTable(ended));
        else print(io, 'no jobs to follow');
      }),
    );
};

function jobTable(jobs: readonly JobSummary[]): string {
  const table = new Table({
    head: ['job', 'state', 'progress', 'attempts', 'since', 'reason'],
    colAligns: ['left', 'left', 'left', 'right', 'left', 'left'],
    style: { head: [], border: [], compact: true },
  });
  for (const job of jobs) {
    const { id, state, attempts, reason = '' } = job;
    const short = reason.length > 60 ? `${reason.slice(0, 59)}…` : reason;
    table.push([id, stateOf(job), progressOf(job), attempts, sinceOf(job, state), short]);
  }
  return table.toString();
}

function stateOf({ state, cancelled }: JobSummary): string {
  if (!cancelled) return state;
  return state === 'dead' ? 'cancelled' : `${state}, to be cancelled`;
}

function progressOf({ state, progress }: JobSummary): string {
  if (progress === undefined || state === 'done') return '';
  const { phase, done, total } = progress;
  return total > 0 ? `${phase} ${done}/${total}` : `${phase} ${done}`;
}

function sinceOf({ submittedMs, startedMs, endedMs }: JobSummary, state: JobState): string {
  const since = state === 'active' ? startedMs : (endedMs ?? submittedMs);
  return new Date(since ?? submittedMs).toISOString().slice(0, 19).replace('T', ' ');
}

function describe(job: JobSummary): string[] {
  const { id, queue, kind, attempts, reason, data, result } = job;
  return listing(
    [
      ['job', id],
      ['kind', `${kind} (queue ${queue})`],
      ['state', stateOf(job)],
      ['progress', progressOf(job)],
      ['attempts', String(attempts)],
      ['reason', reason ?? ''],
      ['data', JSON.stringify(data)],
      ['result', result === undefined ? '' : JSON.stringify(result)],
    ].filter((row): row is [string, string] => row[1] !== ''),
  );
}
