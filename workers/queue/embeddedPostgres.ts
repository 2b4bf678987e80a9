import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, lstat, mkdir, readFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { SaccadeError } from '../../engine/support/errors.js';
import { makeFolders } from '../../engine/support/folders.js';

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

const startPatienceMs = 30_000;
const watchMs = 1000;

/**
 * Connects to the database in a folder. One process at a time may have it open, the host: it is started here
 * where there is none, outlives whoever started it, and ends by itself when nobody has been connected for a
 * while. Killed, it is started again within a second by whoever is still connected, and PostgreSQL's log brings
 * back every job.
 *
 * @throws SaccadeError of kind `environment` where the host cannot be started.
 */
export async function openEmbeddedPostgres(folder: string): Promise<EmbeddedPostgres> {
  const data = resolve(folder);
  await makeFolders(data);
  const host = await socketFolder(data);
  const socket = join(host, socketName);
  await ensureHost(data, socket);
  let starting: Promise<void> | undefined;
  const timer = setInterval(() => {
    starting ??= ensureHost(data, socket)
      .catch(() => undefined)
      .finally(() => (starting = undefined));
  }, watchMs);
  timer.unref();
  return {
    connection: { host, user: 'postgres', password: 'postgres', database: 'postgres' },
    close: async () => {
      clearInterval(timer);
      await starting;
    },
  };
}

async function ensureHost(data: string, socket: string): Promise<void> {
  const end = Date.now() + startPatienceMs;
  let child: ChildProcess | undefined;
  while (!(await answers(socket))) {
    if (Date.now() > end || (child?.exitCode ?? 0) > 0) {
      const log = await readFile(join(data, logName), 'utf8').catch(() => '');
      const reason = log.trim().split('\n').at(-1) || 'no answer';
      throw new SaccadeError('environment', `the embedded database does not start: ${reason}`, {
        file: data,
      });
    }
    // Another process may have started one that ended meanwhile; one that finds another leaves.
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) {
      child = startHost(data, socket);
    }
    await new Promise((done) => setTimeout(done, 100));
  }
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

function answers(socket: string): Promise<boolean> {
  return new Promise((done) => {
    const connection = createConnection(socket);
    const finish = (is: boolean) => (): void => {
      connection.destroy();
      done(is);
    };
    connection.once('connect', finish(true)).once('error', finish(false));
  });
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
