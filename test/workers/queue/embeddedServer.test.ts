import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { PGlite } from '@electric-sql/pglite';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { socketName } from '../../../workers/queue/embeddedPostgres.js';
import { type EmbeddedServer, serveEmbedded } from '../../../workers/queue/embeddedServer.js';

describe('the server of the embedded database', () => {
  let folder: string;
  let db: PGlite;
  let server: EmbeddedServer;
  const open: pg.Client[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'saccade-embedded-'));
    db = await PGlite.create();
    server = await serveEmbedded(db, join(folder, socketName));
  });
  afterAll(async () => {
    await Promise.all(open.map((client) => client.end()));
    await server.close();
    await db.close();
    await rm(folder, { recursive: true });
  });

  /** A client, and the notifications that it was given. */
  async function connect(): Promise<{ client: pg.Client; heard: string[] }> {
    const client = new pg.Client({ host: folder, user: 'postgres', password: 'postgres', database: 'postgres' }); // prettier-ignore
    const heard: string[] = [];
    client.on('notification', ({ channel, payload }) => heard.push(`${channel} ${payload}`));
    await client.connect();
    open.push(client);
    return { client, heard };
  }

  it('tells those who listen what others notify, and nobody else', async () => {
    const [first, second, third] = await Promise.all([connect(), connect(), connect()]);
    await first.client.query('-- jobs of all queues\nLISTEN jobs;');
    await second.client.query('LISTEN jobs');
    await third.client.query("SELECT pg_notify('jobs', $1)", ['one']);
    await third.client.query('BEGIN');
    await third.client.query("SELECT pg_notify('jobs', 'never')");
    await third.client.query('ROLLBACK');
    await first.client.query("NOTIFY jobs, 'two'");
    const said = ['jobs one', 'jobs two'];
    await expect.poll(() => [first.heard, second.heard]).toEqual([said, said]);
    expect(third.heard).toEqual([]);
  });

  it('gives large answers whole, with notifications among them', async () => {
    const { client, heard } = await connect();
    await client.query('LISTEN rows');
    const count = 20_000;
    const { rows } = await client.query<{ n: number; text: string }>(
      `SELECT n, repeat('x', n % 100) AS text, CASE WHEN n % 5000 = 0 THEN pg_notify('rows', n::text) END
       FROM generate_series(1, ${count}) AS n`,
    );
    expect(rows).toHaveLength(count);
    rows.forEach(({ n, text }, i) => {
      if (n !== i + 1 || text.length !== n % 100) throw new Error(`row ${i} is ${n}, ${text}`);
    });
    await expect.poll(() => heard).toEqual(['rows 5000', 'rows 10000', 'rows 15000', 'rows 20000']);
  });
});
