import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { chownSync, readdirSync, realpathSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export type Env = Readonly<Record<string, string>>;

/** A store of a test's own. */
export interface TestStore {
  /** Variables with which Saccade finds it. */
  readonly env: Env;
  /** Kills it whatever it is doing, and has it back. */
  crash(): Promise<void>;
  stop(): Promise<void>;
}

interface StoreKind {
  readonly name: string;
  /** Why it cannot be tested here. */
  readonly missing?: string;
  /** @param folder the working folder of the test's processes. */
  start(folder: string): Promise<TestStore>;
}

const redisServer = spawnSync('redis-server', ['--version']).status === 0;
const postgresBin = postgresPrograms();

/** Every store that the queues run on. */
export const storeKinds: readonly StoreKind[] = [
  { name: 'embedded', start: startEmbedded },
  {
    name: 'redis',
    missing: redisServer ? undefined : 'no redis-server is installed',
    start: startRedis,
  },
  {
    name: 'postgres',
    missing: postgresBin === undefined ? 'no PostgreSQL server is installed' : undefined,
    start: startPostgres,
  },
];

for (const { name, missing } of storeKinds) {
  if (missing !== undefined) console.warn(`${missing}: the queues are not tested on ${name}`);
}

/** Its host is started by whoever needs it. */
function startEmbedded(folder: string): Promise<TestStore> {
  const crash = (): Promise<void> => {
    killHosts(folder);
    return Promise.resolve();
  };
  return Promise.resolve({ env: { SACCADE_EMBEDDED_IDLE_MS: '2000' }, crash, stop: crash });
}

/** Kills the hosts of embedded databases below a folder. */
export function killHosts(folder: string): void {
  const rows = execFileSync('ps', ['-eo', 'pid,args']).toString().split('\n');
  for (const row of rows.filter((line) => line.includes('embeddedHost.js'))) {
    if (!row.includes(folder)) continue;
    try {
      process.kill(Number.parseInt(row, 10), 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }
}

async function startRedis(folder: string): Promise<TestStore> {
  const port = String(await freePort());
  // Nothing that Redis has answered for is lost when it is killed.
  const safe = ['--save', '', '--appendonly', 'yes', '--appendfsync', 'always'];
  const server = await startServer(
    () =>
      spawn('redis-server', ['--port', port, '--bind', '127.0.0.1', '--dir', folder, ...safe], {
        stdio: 'ignore',
      }),
    () => spawnSync('redis-cli', ['-p', port, 'ping']).stdout.toString().trim() === 'PONG',
  );
  return { env: { REDIS_URL: `redis://127.0.0.1:${port}` }, ...server };
}

async function startPostgres(): Promise<TestStore> {
  const bin = postgresBin!;
  const port = String(await freePort());
  const folder = await mkdtemp(join(tmpdir(), 'saccade-postgres-'));
  // PostgreSQL refuses to run as root.
  const user = process.getuid?.() === 0 ? ownerOf('postgres') : undefined;
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  const options = { ...user, cwd: folder, stdio: 'ignore' } as const;
  const data = join(folder, 'data');
  execFileSync(
    join(bin, 'initdb'),
    ['-D', data, '-A', 'trust', '-U', 'saccade', '--no-sync', '--locale', 'C', '-E', 'UTF8'],
    options,
  );
  const place = ['-h', '127.0.0.1', '-p', port];
  const server = await startServer(
    () => spawn(join(bin, 'postgres'), ['-D', data, '-k', folder, ...place], options),
    () => spawnSync(join(bin, 'pg_isready'), [...place, '-d', 'postgres']).status === 0,
  );
  return {
    env: { DATABASE_URL: `postgres://saccade:secret@127.0.0.1:${port}/postgres` },
    crash: () => server.crash(),
    stop: async () => {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A server that is started again where it ends by itself, such as for what its forerunner has left. */
async function startServer(
  start: () => ChildProcess,
  answers: () => boolean,
): Promise<{ crash(): Promise<void>; stop(): Promise<void> }> {
  let child: ChildProcess;
  const up = async (): Promise<void> => {
    child = start();
    for (let i = 0; i < 300; i++) {
      if (child.exitCode !== null) child = start();
      else if (answers()) return;
      await sleep(100);
    }
    throw new Error(`${child.spawnfile} does not answer`);
  };
  const stop = async (): Promise<void> => {
    const ended = new Promise((done) => child.once('exit', done));
    if (child.kill('SIGKILL')) await ended;
  };
  await up();
  return {
    stop,
    crash: async () => {
      await stop();
      await up();
    },
  };
}

/** Folder of the programs of the newest PostgreSQL. */
function postgresPrograms(): string | undefined {
  const found = spawnSync('which', ['initdb']).stdout?.toString().trim();
  if (found) return dirname(realpathSync(found));
  const root = '/usr/lib/postgresql';
  try {
    const [newest] = readdirSync(root).sort((a, b) => Number(b) - Number(a));
    return join(root, newest, 'bin');
  } catch {
    return undefined;
  }
}

function ownerOf(name: string): { uid: number; gid: number } {
  const id = (flag: string): number => Number(execFileSync('id', [flag, name]).toString().trim());
  return { uid: id('-u'), gid: id('-g') };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}
