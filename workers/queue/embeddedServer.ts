import { createServer, type Server, type Socket } from 'node:net';

import type { PGlite } from '@electric-sql/pglite';

/** Codes in place of a version in a connection's first message. */
const sslRequest = 80_877_103;
const gssRequest = 80_877_104;
const cancelRequest = 80_877_102;
/** "Do you speak TLS?", which a server answers at once (with one letter), so that it tells whether one serves. */
export const sslQuestion = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
/** Types of the messages that end what a client sends before it waits for an answer: Query, Sync, password. */
const endsOfBatch: readonly number[] = [0x51, 0x53, 0x70];
const terminate = 0x58;
const query = 0x51;
/** A NotificationResponse. */
const notification = 0x41;
/** What a client says to be told of notifications, behind comments. */
const listens = /^\s*(--.*\n\s*)*LISTEN\s/i;
/** No message of a queue is larger; a client that says so speaks another protocol. */
const largestMessage = 64 * 1024 * 1024;

/** Messages of a client that are executed together. */
interface Batch {
  readonly client: Socket;
  readonly messages: readonly Uint8Array[];
}

export interface EmbeddedServer {
  readonly connections: number;
  close(): Promise<void>;
}

/**
 * Serves PostgreSQL's wire protocol (version 3) on a socket, for several clients of one PGlite. As they share its
 * one session, a client's messages are executed together, up to the Sync or Query that ends them (the statement
 * without a name that they prepare would otherwise be another client's), and while a transaction is open nobody
 * else's are. Notifications, which the session gives to whoever is served at the time, go to every client that listens: to all
 * channels, as it were, so each looks for its own.
 */
export async function serveEmbedded(db: PGlite, path: string): Promise<EmbeddedServer> {
  const clients = new Set<Socket>();
  const listeners = new Set<Socket>();
  const waiting: Batch[] = [];
  /** Whose transaction is open. */
  let owner: Socket | undefined;
  let running = false;

  const run = async (): Promise<void> => {
    if (running) return;
    running = true;
    try {
      for (;;) {
        if (owner?.destroyed) {
          if (db.isInTransaction()) await db.exec('ROLLBACK');
          owner = undefined;
        }
        const next = owner === undefined ? 0 : waiting.findIndex(({ client }) => client === owner);
        if (next < 0 || waiting.length === 0) return;
        const [{ client, messages }] = waiting.splice(next, 1);
        if (client.destroyed) continue;
        if (messages.some(isListen)) listeners.add(client);
        const onRawData = createSorter(client, listeners);
        await db.runExclusive(async () => {
          for (const message of messages) await db.execProtocolRawStream(message, { onRawData });
        });
        owner = db.isInTransaction() ? client : undefined;
      }
    } finally {
      running = false;
    }
  };
  const runNow = (): void => {
    // An error of the database itself, not of a statement: the process ends, and is started anew.
    run().catch((error: Error) => {
      setImmediate(() => {
        throw error;
      });
    });
  };

  const server: Server = createServer((client) => {
    clients.add(client);
    const read = createReader(client, (messages) => {
      waiting.push({ client, messages });
      runNow();
    });
    client.setNoDelay(true);
    client.on('data', read);
    client.on('error', () => client.destroy());
    client.on('close', () => {
      clients.delete(client);
      listeners.delete(client);
      runNow();
    });
  });
  await new Promise<void>((done, reject) => {
    server.once('error', reject).listen(path, done);
  });
  return {
    get connections() {
      return clients.size;
    },
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        for (const client of clients) client.destroy();
      }),
  };
}

function isListen(message: Uint8Array): boolean {
  return message[0] === query && listens.test(Buffer.from(message.subarray(5)).toString('latin1'));
}

/** Takes what the database says: notifications go to all that listen, the rest to the client that it answers. */
function createSorter(client: Socket, listeners: ReadonlySet<Socket>): (data: Uint8Array) => void {
  const send = (to: Socket, bytes: Buffer): void => {
    if (bytes.length > 0 && to.writable) to.write(bytes);
  };
  let rest: Buffer = Buffer.alloc(0);
  return (data) => {
    // A copy: the database writes there again.
    const bytes = Buffer.concat([rest, data]);
    let [start, end] = [0, 0];
    while (end + 5 <= bytes.length) {
      const next = end + 1 + bytes.readInt32BE(end + 1);
      if (next > bytes.length) break;
      if (bytes[end] === notification) {
        send(client, bytes.subarray(start, end));
        for (const listener of listeners) send(listener, bytes.subarray(end, next));
        start = next;
      }
      end = next;
    }
    send(client, bytes.subarray(start, end));
    rest = bytes.subarray(end);
  };
}

/** Cuts what a client sends into messages, and hands them on in batches. */
function createReader(
  client: Socket,
  hand: (messages: readonly Uint8Array[]) => void,
): (data: Buffer) => void {
  let started = false;
  let rest: Buffer = Buffer.alloc(0);
  let batch: Uint8Array[] = [];
  return (data) => {
    rest = rest.length === 0 ? data : Buffer.concat([rest, data]);
    for (;;) {
      const head = started ? 1 : 0;
      if (rest.length < head + 4) return;
      const length = head + rest.readInt32BE(head);
      if (length < head + 4 || length > largestMessage) {
        client.destroy();
        return;
      }
      if (rest.length < length) return;
      const message = new Uint8Array(rest.subarray(0, length));
      rest = rest.subarray(length);
      if (!started) {
        const code = length >= 8 ? Buffer.from(message.buffer).readInt32BE(4) : 0;
        if (code === sslRequest || code === gssRequest) {
          client.write('N');
          continue;
        }
        if (code === cancelRequest) {
          client.destroy();
          return;
        }
        started = true;
        hand([message]);
        continue;
      }
      if (message[0] === terminate) {
        client.end();
        return;
      }
      batch.push(message);
      if (endsOfBatch.includes(message[0])) {
        hand(batch);
        batch = [];
      }
    }
  };
}
