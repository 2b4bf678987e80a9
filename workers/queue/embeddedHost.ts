/**
 * The process that has a workspace's embedded PostgreSQL open: `node embeddedHost.js FOLDER SOCKET`.
 * Started by `openEmbeddedPostgres`.
 */
import { appendFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { PGlite } from '@electric-sql/pglite';

import { tryProcessLock } from '../../engine/support/processLock.js';
import { logName } from './embeddedPostgres.js';
import { serveEmbedded } from './embeddedServer.js';

const idleMs = Number(process.env.SACCADE_EMBEDDED_IDLE_MS ?? 60_000);

const [folder, socket] = process.argv.slice(2);

async function serve(): Promise<void> {
  // Two processes on one database would destroy it.
  const lock = await tryProcessLock(join(folder, 'host.lock'));
  if (lock === undefined) return;
  const db = await PGlite.create(join(folder, 'postgres'));
  // All connections share one session, where BullMQ expects its schema to be found.
  await db.exec('SET search_path TO bullmq, public');
  await rm(socket, { force: true });
  const server = await serveEmbedded(db, socket);

  let idleSince = Date.now();
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
      if (Date.now() - idleSince > idleMs) void end();
      // A workspace that was deleted needs no host.
      stat(folder).catch(() => process.exit(0));
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
