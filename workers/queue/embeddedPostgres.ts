import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, lstat, mkdir, readFile } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { SaccadeError } from '../../engine/support/errors.js';
import { makeFolders } from '../../engine/support/folders.js';
import { sslQuestion } from './embeddedServer.js';

/** An embedded PostgreSQL (PGlite) that the processes of a workspace share. */
export interface EmbeddedPostgres {
  /** For node-postgres. */
  readonly connection: {
    readonly host: string;
    readonly user: string;
    readonly password: string;
    readonly database: string;
  };
  close(): Promise<void>;
}

/** What node-postgres and PostgreSQL call a socket in a folder. */
export const socketName = '.s.PGSQL.5432';
/** What went wrong in the host, in the database's folder. */
export const logName = 'host.log';

/** Patience with a host that starts, of those who wait for it and of one that waits for its forerunner's end. */
export const startPatienceMs = 30_000;
const retryMs = 1000;

/**
 * Connects to the database in a folder. One process at a time may have it open, the host: it is started here
 * where there is none, outlives whoever started it, and ends by itself when nobody has been connected for a
 * while. Whoever opens it stays connected, so it does not end under them. Killed, it is started again at once by
 * whoever was connected, and PostgreSQL's log brings back every job.
 *
 * @throws SaccadeError of kind `environment` where the host cannot be started.
 */
export async function openEmbeddedPostgres(folder: string): Promise<EmbeddedPostgres> {
  const data = resolve(folder);
  await makeFolders(data);
  const host = await socketFolder(data);
  const path = join(host, socketName);
  let closed = false;
  let held = await holdHost(data, path);
  let holding: Promise<void> | undefined;
  const keep = async (): Promise<void> => {
    while (!closed) {
      try {
        held = await holdHost(data, path, () => closed);
        stay();
        return;
      } catch {
        await sleep(retryMs);
      }
    }
  };
  const stay = (): void => {
    held.unref();
    held.once('close', () => (holding = keep()));
    if (closed) held.destroy();
  };
  stay();
  return {
    connection: { host, user: 'postgres', password: 'postgres', database: 'postgres' },
    close: async () => {
      closed = true;
      held.destroy();
      await holding;
    },
  };
}

/** A connection to the host, which lives for as long as one is held. Starts it where there is none. */
async function holdHost(
  data: string,
  path: string,
  given: () => boolean = () => false,
): Promise<Socket> {
  const end = Date.now() + startPatienceMs;
  let child: ChildProcess | undefined;
  for (;;) {
    const held = await reachHost(path);
    if (held !== undefined) return held;
    if (Date.now() > end || (child?.exitCode ?? 0) > 0 || given()) {
      const log = await readFile(join(data, logName), 'utf8').catch(() => '');
      const reason = log.trim().split('\n').at(-1) || 'no answer';
      throw new SaccadeError('environment', `the embedded database does not start: ${reason}`, {
        file: data,
      });
    }
    // Another process may have started one that ended meanwhile; one that finds another leaves.
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) {
      child = startHost(data, path);
    }
    await sleep(100);
  }
}

/**
 * A connection to a host that serves; undefined where none does. One that is about to end takes no connection
 * any more, though its socket may still be there: only an answer tells.
 */
export function reachHost(path: string): Promise<Socket | undefined> {
  return new Promise((done) => {
    const connection = createConnection(path);
    connection.once('connect', () => connection.write(sslQuestion));
    connection.once('data', () => done(connection));
    connection.on('error', () => connection.destroy());
    connection.once('close', () => done(undefined));
  });
}

function startHost(data: string, socket: string): ChildProcess {
  const script = fileURLToPath(new URL('./embeddedHost.js', import.meta.url));
  const child = spawn(process.execPath, [script, data, socket], {
    detached: true,
    stdio: 'ignore',
  });
  child.on('error', () => undefined);
  child.unref();
  return child;
}

/** A folder of this user alone for the socket. Paths of sockets are short, those of workspaces need not be. */
async function socketFolder(data: string): Promise<string> {
  const { uid, username } = userInfo();
  const name = createHash('sha256').update(data).digest('hex').slice(0, 16);
  const folder = join(tmpdir(), `saccade-${uid >= 0 ? uid : username}-${name}`);
  await mkdir(folder, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const info = await lstat(folder);
  if (!info.isDirectory() || (uid >= 0 && info.uid !== uid)) {
    throw new SaccadeError('environment', 'belongs to someone else', { file: folder });
  }
  await chmod(folder, 0o700);
  return folder;
}
