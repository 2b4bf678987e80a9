/**
 * The process that has a workspace's embedded PostgreSQL open: `node embeddedHost.js FOLDER SOCKET`.
 * Started by `openEmbeddedPostgres`.
 */
import { appendFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { PGlite } from '@electric-sql/pglite';

import { tryProcessLock } from '../../engine/support/processLock.js';
import { logName, reachHost, startPatienceMs } from './embeddedPostgres.js';
import { serveEmbedded } from './embeddedServer.js';

const idleMs = Number(process.env.SACCADE_EMBEDDED_IDLE_MS ?? 60_000);

const [folder, socket] = process.argv.slice(2);

async function serve(): Promise<void> {
  // Two processes on one database would destroy it. One that is ending is waited for.
  const patience = Date.now() + startPatienceMs;
  while ((await tryProcessLock(join(folder, 'host.lock'))) === undefined) {
    const other = await reachHost(socket);
    other?.destroy();
    if (other !== undefined || Date.now() > patience) return;
    await sleep(50);
  }
  const { ino } = await stat(folder);
  const db = await PGlite.create(join(folder, 'postgres'));
  // All connections share one session, where BullMQ expects its schema to be found.
  await db.exec('SET search_path TO bullmq, public');
  await rm(socket, { force: true });
  const server = await serveEmbedded(db, socket);

  // Whoever has started it comes soon.
  let idleSince = Date.now() + startPatienceMs;
  let ending = false;
  const end = async (): Promise<void> => {
    if (ending) return;
    ending = true;
    await server.close();
    await db.close();
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
    process.on(signal, () => void end());
  setInterval(
    () => {
      if (server.connections > 0) idleSince = Date.now();
      else if (Date.now() - idleSince > idleMs) void end();
      // A workspace that was deleted needs no host, one in its place its own.
      stat(folder).then(
        (now) => now.ino === ino || process.exit(0),
        () => process.exit(0),
      );
    },
    Math.min(1000, idleMs / 2),
  );
}

serve().catch(async (error: Error) => {
  await appendFile(join(folder, logName), `${new Date().toISOString()} ${error.message}\n`).catch(
    () => undefined,
  );
  process.exit(1);
});
