import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { createServer as createTlsServer } from 'node:tls';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createWebSocketStream, WebSocketServer } from 'ws';
import { concatBatches, type EventBatch } from '../../ingest/eventBatch.js';
import { aedat4 } from '../../ingest/formats/aedat4.js';
import { eventStream } from '../../ingest/formats/eventStream.js';
import { openRecording, writeRecording } from '../../ingest/recording.js';
import {
  BoundedQueue,
  type DropPolicy,
  openSource,
  parseAddress,
  record,
  replay,
  sendEvents,
  spif,
} from '../../ingest/sources/index.js';
import {
  batchOf,
  collect,
  decodeBytes,
  encodeRows,
  type EventRow,
  rowsOf,
  streamOf,
} from './streams.js';

const sensor = { width: 128, height: 128 };
const rows: EventRow[] = Array.from({ length: 5_000 }, (_, i) => [
  i * 10,
  i % 128,
  (i * 7) % 128,
  i & 1,
]);
const batch = batchOf(sensor, rows);
const parts = (): AsyncGenerator<EventBatch> =>
  streamOf([batchOf(sensor, rows.slice(0, 2_000)), batchOf(sensor, rows.slice(2_000))]);

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-test-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** Waits for the port of a listener that `open` starts. */
async function listening<T>(
  open: (onListening: (port: number) => void) => Promise<T>,
): Promise<{ port: number; opened: Promise<T> }> {
  let opened: Promise<T> | undefined;
  const port = await new Promise<number>((resolve, reject) => {
    opened = open(resolve);
    opened.catch(reject);
  });
  return { port, opened: opened! };
}

describe('parseAddress', () => {
  it('takes addresses apart', () => {
    const address = parseAddress(
      'tcp://127.0.0.1:7777?format=es&sensor=346x260&drop=newest&queue=9',
    );
    expect(address).toMatchObject({
      scheme: 'tcp',
      host: '127.0.0.1',
      port: 7777,
      sensor: { width: 346, height: 260 },
      listen: false,
      drop: 'newest',
      queue: 9,
    });
    expect(address.format).toBe(eventStream);
    expect(parseAddress('udp://:3333?format=spif')).toMatchObject({
      host: '127.0.0.1',
      drop: 'oldest',
    });
    expect(parseAddress('-')).toMatchObject({ scheme: 'stdio' });
    expect(parseAddress('/a/b.raw?speed=2')).toMatchObject({
      scheme: 'file',
      path: '/a/b.raw',
      speed: 2,
    });
    expect(parseAddress('file:///a/b.raw').path).toBe('/a/b.raw');
    expect(parseAddress('ws://localhost:80/events?format=es&listen')).toMatchObject({
      path: '/events',
      listen: true,
    });
  });

  it.each([
    ['http://localhost:1?format=es', /unknown scheme "http"/],
    ['tcp://localhost?format=es', /HOST:PORT/],
    ['tcp://localhost:99999?format=es', /port from 0 to 65535/],
    ['tcp://localhost:1', /format: expected the format/],
    ['tcp://localhost:1?format=evt9', /unknown format "evt9"/],
    ['tcp://localhost:1?format=es&sensor=12', /sensor: expected WIDTHxHEIGHT/],
    ['tcp://localhost:1?format=es&drop=some', /drop: expected wait, oldest, newest/],
    ['udp://localhost:1?format=spif&drop=wait', /UDP cannot wait/],
    ['a.es?speed=0', /speed: expected a number/],
    ['a.es?sped=1', /sped: unknown option/],
  ])('refuses %s', (uri, message) => {
    expect(() => parseAddress(uri)).toThrow(message);
  });
});

describe('connections', () => {
  it.each(['tcp', 'ws'])('carry events by %s, whichever side listens', async (scheme) => {
    const query = 'format=es';
    const source = await listening((onListening) =>
      openSource(`${scheme}://127.0.0.1:0?${query}&listen`, { onListening }),
    );
    const sent = sendEvents(`${scheme}://127.0.0.1:${source.port}?${query}`, parts(), { sensor });
    const received = await source.opened;
    expect(received.sensor).toEqual(sensor);
    expect(rowsOf(concatBatches(await collect(received.batches())))).toEqual(rows);
    expect(await sent).toMatchObject({ events: rows.length });

    const sink = await listening((onListening) =>
      sendEvents(`${scheme}://127.0.0.1:0?${query}&listen`, parts(), { sensor, onListening }),
    );
    const other = await openSource(`${scheme}://127.0.0.1:${sink.port}?${query}`);
    expect(rowsOf(concatBatches(await collect(other.batches())))).toEqual(rows);
    expect(await sink.opened).toMatchObject({ events: rows.length });
  });

  it('hand out events as they come, before the other side ends', async () => {
    const bytes = await encodeRows(eventStream, sensor, rows.slice(0, 10));
    const server = createServer((socket) => socket.write(bytes));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const controller = new AbortController();
    const { signal } = controller;
    const source = await openSource(`tcp://127.0.0.1:${port}?format=es`, { signal });
    const batches = source.batches({ signal })[Symbol.asyncIterator]();
    const first = await batches.next();
    expect(rowsOf(first.value as EventBatch)).toEqual(rows.slice(0, 10));
    const next = batches.next();
    controller.abort();
    await expect(next).rejects.toMatchObject({ kind: 'interrupted' });
    server.close();
  });

  it('read the stream of DV, which has no first line', async () => {
    const bytes = await encodeRows(aedat4, sensor, rows, 1_000);
    const server = createServer((socket) => socket.end(bytes.subarray(14)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const source = await openSource(`tcp://127.0.0.1:${port}?format=dv`);
    expect(source.sensor).toEqual(sensor);
    expect(rowsOf(concatBatches(await collect(source.batches())))).toEqual(rows);
    server.close();

    const sink = await listening((onListening) =>
      sendEvents('tcp://127.0.0.1:0?format=dv&listen', streamOf([batch]), { sensor, onListening }),
    );
    const received: Buffer[] = [];
    for await (const chunk of connect(sink.port, '127.0.0.1')) received.push(chunk as Buffer);
    await sink.opened;
    const whole = Buffer.concat([Buffer.from('#!AER-DAT4.0\r\n'), ...received]);
    expect((await decodeBytes(aedat4, whole)).rows).toEqual(rows);
  });

  it('say that nobody answers', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const uri = `tcp://127.0.0.1:${port}?format=es`;
    await expect(openSource(uri)).rejects.toMatchObject({
      kind: 'environment',
      place: { file: uri },
    });
    await expect(sendEvents(uri, parts(), { sensor })).rejects.toThrow(/ECONNREFUSED/);
  });

  it('stop waiting for the other side when asked to', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const source = await listening((onListening) =>
      openSource('tcp://127.0.0.1:0?format=es&listen', { signal, onListening }),
    );
    controller.abort();
    await expect(source.opened).rejects.toMatchObject({ kind: 'interrupted' });
  });
});

describe.skipIf(!hasOpenssl())('connections by TLS (need openssl for a certificate)', () => {
  let key = '';
  let cert = '';
  beforeEach(async () => {
    const names = ['key.pem', 'cert.pem'].map((name) => join(folder, name));
    const args = 'req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost'.split(' ');
    execFileSync('openssl', [...args, '-keyout', names[0], '-out', names[1]], { stdio: 'ignore' });
    [key, cert] = await Promise.all(names.map((name) => readFile(name, 'utf8')));
  });
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  const send = async (stream: Writable): Promise<void> => {
    const bytes = await encodeRows(eventStream, sensor, rows);
    stream.on('error', () => undefined);
    stream.end(bytes);
  };

  it.each(['tls', 'wss'])('%s: gives the events, and refuses a stranger', async (scheme) => {
    const server =
      scheme === 'tls'
        ? createTlsServer({ key, cert }, (socket) => void send(socket))
        : createHttpsServer({ key, cert });
    if (scheme === 'wss') {
      const sockets = new WebSocketServer({ server: server as HttpsServer });
      sockets.on('connection', (socket) => void send(createWebSocketStream(socket)));
    }
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const uri = `${scheme}://localhost:${(server.address() as AddressInfo).port}?format=es`;
    try {
      await expect(openSource(uri)).rejects.toMatchObject({
        kind: 'environment',
        message: expect.stringMatching(/certificate/),
      });
      vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
      const recording = await openSource(uri);
      expect((await collect(recording.batches())).flatMap(rowsOf)).toEqual(rows);
    } finally {
      server.close();
    }
  });

  it.each(['tls', 'wss'])('%s: listens with a certificate', async (scheme) => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    const listening = `${scheme}://127.0.0.1:0?format=es&listen`;
    const files = `cert=${join(folder, 'cert.pem')}&key=${join(folder, 'key.pem')}`;
    let sent: Promise<unknown> = Promise.resolve();
    const recording = await openSource(`${listening}&${files}`, {
      onListening: (port) => {
        const uri = `${scheme}://localhost:${port}?format=es`;
        // Who does not speak TLS is sent away, and the next one is taken.
        const stranger = connect(port, '127.0.0.1', () => stranger.end('hello'));
        stranger.on('error', () => undefined);
        stranger.on('close', () => (sent = sendEvents(uri, streamOf([batch]), { sensor })));
      },
    });
    expect((await collect(recording.batches())).flatMap(rowsOf)).toEqual(rows);
    await sent;

    expect(() => parseAddress(listening)).toThrow(/expected cert=FILE and key=FILE/);
    expect(() => parseAddress(`${listening}&cert=a.pem`)).toThrow(/expected cert=FILE and key=/);
    expect(() => parseAddress('tcp://127.0.0.1:0?format=es&listen&key=a')).toThrow(/is for tls/);
    const missing = `${listening}&cert=${join(folder, 'none.pem')}&key=${join(folder, 'key.pem')}`;
    await expect(openSource(missing)).rejects.toMatchObject({ kind: 'input' });
  });
});

function hasOpenssl(): boolean {
  return spawnSync('openssl', ['version']).status === 0;
}

describe('SPIF words', () => {
  it('come back as they were, over the wrap of their times', async () => {
    const late: EventRow[] = [
      [2 ** 32 - 5, 1, 2, 1],
      [2 ** 32 + 5, 32_767, 32_767, 0],
      [2 ** 32 + 4, 3, 4, 1],
    ];
    const size = { width: 32_768, height: 32_768 };
    const bytes = await encodeRows(spif, size, late);
    expect(bytes.length).toBe(24);
    expect(Buffer.from(bytes).readUInt32LE(0)).toBe((1 << 16) | (1 << 15) | 2);
    expect((await decodeBytes(spif, bytes)).rows).toEqual(late);
  });

  it('without times get that of their arrival', async () => {
    const words = Uint32Array.of(0x80000000 | ((5 << 16) >>> 0) | 7, 0x80000000 | (1 << 15));
    const { rows: read } = await decodeBytes(spif, new Uint8Array(words.buffer), { sensor });
    expect(read.map(([, x, y, p]) => [x, y, p])).toEqual([
      [5, 7, 0],
      [0, 0, 1],
    ]);
    expect(read[0][0]).toBe(0);
  });

  it('travel by UDP', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const uri = 'udp://127.0.0.1:0?format=spif&sensor=128x128';
    const source = openSource(uri, {
      signal,
      // The socket is bound when the batches are asked for.
      onListening: (port) =>
        void sendEvents(`udp://127.0.0.1:${port}?format=spif`, streamOf([batch]), { sensor }),
    });
    const received: EventRow[] = [];
    for await (const one of (await source).batches({ signal })) {
      received.push(...rowsOf(one));
      if (received.length >= rows.length) break;
    }
    expect(received).toEqual(rows);
    await expect(sendEvents('udp://127.0.0.1:9?format=es', parts(), { sensor })).rejects.toThrow(
      /only format=spif/,
    );
  });
});

describe('BoundedQueue', () => {
  const queueOf = (policy: DropPolicy, limit: number): [BoundedQueue<number>, number[]] => {
    const dropped: number[] = [];
    const onDrop = (item: number): void => void dropped.push(item);
    return [new BoundedQueue<number>({ limit, policy, sizeOf: () => 1, onDrop }), dropped];
  };

  it('drops the oldest or the newest, and hands each dropped item to its owner', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('oldest' as const, 'newest' as const),
        fc.integer({ min: 1, max: 5 }),
        fc.nat(12),
        async (policy, limit, count) => {
          const [queue, dropped] = queueOf(policy, limit);
          const items = Array.from({ length: count }, (_, i) => i);
          for (const item of items) await queue.push(item);
          queue.end();
          const left = await collect(queue);
          const keeps = Math.min(limit, count);
          expect(left).toEqual(
            policy === 'oldest' ? items.slice(count - keeps) : items.slice(0, keeps),
          );
          expect([...left, ...dropped].sort((a, b) => a - b)).toEqual(items);
        },
      ),
    );
  });

  it('hands over what waits as one, where it can be joined, and then has room', async () => {
    const queue = new BoundedQueue<string>({
      limit: 5,
      policy: 'wait',
      sizeOf: ({ length }) => length,
      onDrop: () => undefined,
      join: (items) => items.join(''),
    });
    const reader = queue[Symbol.asyncIterator]();
    void queue.push('a');
    expect((await reader.next()).value).toBe('a');
    void queue.push('b');
    void queue.push('cd');
    expect(queue.isFull).toBe(false);
    const waits = queue.push('efg');
    expect(queue.isFull).toBe(true);
    expect((await reader.next()).value).toBe('bcdefg');
    await waits;
    expect(queue.isFull).toBe(false);
    void queue.push('h');
    queue.end();
    expect((await reader.next()).value).toBe('h');
    expect((await reader.next()).done).toBe(true);
  });

  it('makes the source wait, and loses nothing', async () => {
    const [queue, dropped] = queueOf('wait', 2);
    let pushed = 0;
    const source = (async () => {
      for (; pushed < 10; pushed++) await queue.push(pushed);
      queue.end(new Error('unplugged'));
    })();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(pushed).toBeLessThan(3);
    const read: number[] = [];
    await expect(
      (async () => {
        for await (const item of queue) read.push(item);
      })(),
    ).rejects.toThrow('unplugged');
    await source;
    expect(read).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(dropped).toEqual([]);
  });
});

describe('a source that drops', () => {
  it('counts what a slow consumer misses', async () => {
    const path = join(folder, 'a.es');
    await writeRecording(path, parts(), { sensor });
    const source = await openSource(`${path}?drop=oldest&queue=1000`);
    let received = 0;
    const dropped = (): number => source.report.skipped.droppedEvents ?? 0;
    for await (const one of source.batches({ batchLength: 500 })) {
      received += one.length;
      // As slow as it takes.
      await expect.poll(dropped).toBeGreaterThan(0);
    }
    expect(received + dropped()).toBe(rows.length);
  });
});

describe('replay', () => {
  it('gives the same events, none before it is due', async () => {
    const start = performance.now();
    const due: [number, number][] = [];
    const read: EventRow[] = [];
    for await (const one of replay(parts(), { speed: 0.5 })) {
      due.push([performance.now() - start, (2 * one.tUs[one.length - 1]) / 1e3]);
      read.push(...rowsOf(one));
    }
    expect(read).toEqual(rows);
    expect(due.length).toBeGreaterThan(4);
    for (const [atMs, dueMs] of due) expect(atMs).toBeGreaterThan(dueMs - 2);
  });

  it('stops when asked to', async () => {
    const far = batchOf(sensor, [
      [0, 1, 1, 1],
      [3e9, 1, 1, 1],
    ]);
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 5);
    const all = collect(replay(streamOf([far]), { signal: controller.signal }));
    await expect(all).rejects.toMatchObject({ kind: 'interrupted' });
  });
});

describe('record', () => {
  it('writes what passes by, also where the source breaks or the consumer stops', async () => {
    const path = join(folder, 'a.es');
    const whole = await collect(record(parts(), path, { sensor }));
    expect(rowsOf(concatBatches(whole))).toEqual(rows);
    const written = async (): Promise<EventRow[]> =>
      rowsOf(concatBatches(await collect((await openRecording(path)).batches())));
    expect(await written()).toEqual(rows);

    const broken = async function* (): AsyncGenerator<EventBatch> {
      yield batchOf(sensor, rows.slice(0, 7));
      throw new Error('unplugged');
    };
    await expect(collect(record(broken(), path, { sensor }))).rejects.toThrow('unplugged');
    expect(await written()).toEqual(rows.slice(0, 7));

    for await (const first of record(parts(), path, { sensor })) {
      expect(first.length).toBe(2_000);
      break;
    }
    expect(await written()).toEqual(rows.slice(0, 2_000));
  });

  it('says that the file cannot be written', async () => {
    const path = join(folder, 'a.mp4');
    await expect(collect(record(parts(), path, { sensor }))).rejects.toMatchObject({
      kind: 'usage',
    });
  });
});
