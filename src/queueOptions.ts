import { join, resolve } from 'node:path';

import { InvalidArgumentError, Option } from 'commander';

import type { JobClient } from '../workers/queue/client.js';
import type { Datastore } from '../workers/queue/datastore.js';
import { type CommandIo, note } from './io.js';

/** The variable that names the workspace. */
export const workspaceVariable = 'SACCADE_WORKSPACE';

/** `--workspace`, which every command has that uses queues. */
export function workspaceOption(): Option {
  return new Option(
    '--workspace <folder>',
    `folder of the queues' database, unless REDIS_URL or DATABASE_URL name one (default: ${workspaceVariable}, ` +
      'otherwise .saccade)',
  );
}

/** Where a workspace keeps what belongs to its queues. */
export function workspaceFolders(
  io: CommandIo,
  workspace?: string,
): { readonly database: string; readonly locks: string } {
  const folder = resolve(workspace ?? (io.env[workspaceVariable] || '.saccade'));
  return { database: join(folder, 'queue'), locks: join(folder, 'locks') };
}

/**
 * Opens the queues' store, with traces of jobs where the environment asks for traces (`startTracing` sends them); errors of its connection, which heals itself, are
 * told once each.
 */
export async function openStore(io: CommandIo, workspace?: string): Promise<Datastore> {
  const [{ openDatastore }, { queueTelemetry }] = await Promise.all([
    import('../workers/queue/datastore.js'),
    import('../workers/tracing.js'),
  ]);
  let told: string | undefined;
  return openDatastore({
    env: io.env,
    folder: workspaceFolders(io, workspace).database,
    telemetry: await queueTelemetry(io.env),
    onError: ({ message }) => {
      if (message === told) return;
      told = message;
      note(io, `the store of the queues: ${message}`);
    },
  });
}

/** Does something with the queues, and closes them. */
export async function withClient<T>(
  io: CommandIo,
  workspace: string | undefined,
  use: (client: JobClient, store: Datastore) => Promise<T>,
): Promise<T> {
  const [{ createJobClient }, { startTracing }] = await Promise.all([
    import('../workers/queue/client.js'),
    import('../workers/tracing.js'),
  ]);
  const stopTracing = await startTracing(io.env, 'saccade');
  const store = await openStore(io, workspace);
  const client = createJobClient(store);
  try {
    return await use(client, store);
  } finally {
    await client.close();
    await store.close();
    await stopTracing?.();
  }
}

/** `name` or `name=count`, separated by commas: how many jobs of each queue at a time. */
export function parseCounts<Name extends string>(
  names: readonly Name[],
): (text: string) => Partial<Record<Name, number>> {
  return (text) => {
    const counts: Partial<Record<Name, number>> = {};
    for (const part of text.split(',')) {
      const [, name, count] = /^\s*([a-z]+)\s*(?:=\s*(\d{1,3})\s*)?$/.exec(part) ?? [];
      const known = names.find((candidate) => candidate === name);
      if (known === undefined || count === '0') {
        throw new InvalidArgumentError(
          `Expected names of ${names.join(', ')}, each with or without =COUNT from 1 to 999.`,
        );
      }
      counts[known] = count === undefined ? 1 : Number(count);
    }
    return counts;
  };
}
