import { once } from 'node:events';
import { createSocket } from 'node:dgram';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect as connectTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { spif } from '../../../ingest/sources/index.js';
import { disposeTree } from '../../../models/parameters.js';
import { type LoadedModel, loadModel } from '../../../workers/runs.js';
import type { SteppedModel } from '../../../workers/service/batchThread.js';
import type { StreamMessage } from '../../../workers/service/messages.js';
import type { Service, ServiceOptions } from '../../../workers/service/server.js';
import { parseWire } from '../../../workers/service/wire.js';
import { streamPredictions } from '../../../workers/stream.js';
import { batchOf, collect, type EventRow, streamOf } from '../../ingest/streams.js';
import { dotEvents, tinySensor } from '../tinySet.js';
import {
  type Client,
  connect,
  esBytes,
  modelHere,
  predictions,
  serviceOf,
  writeFreshModel,
} from './testService.js';

const token = 'a-token-of-some-length';

let folder: string;
let model: SteppedModel;
let loaded: LoadedModel;
let service: Service | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  const path = await writeFreshModel(folder);
  model = await modelHere(path);
  loaded = await loadModel(path);
  await mkdir(join(folder, 'page/deep'), { recursive: true });
  await writeFile(join(folder, 'page/index.html'), '<!doctype html><title>page</title>');
  await writeFile(join(folder, 'secret.txt'), 'secret');
});

afterAll(async () => {
  disposeTree(loaded.parameters);
  await rm(folder, { recursive: true });
});

afterEach(async () => {
  await service?.close();
  service = undefined;
});

async function start(options: Partial<ServiceOptions> = {}): Promise<Service> {
  service = await serviceOf(model, {
    replayFolder: folder,
    runsFolder: folder,
    pageFolder: join(folder, 'page'),
    ...options,
  });
  return service;
}

/** A stream that sends slowly while something else happens; then it must have got what it would get alone. */
class Bystander {
  private constructor(
    private readonly client: Client,
    private readonly chunks: readonly Uint8Array[],
    private readonly rows: readonly EventRow[],
  ) {}

  static async begin(at: Service, headers?: Record<string, string>): Promise<Bystander> {
    const rows = dotEvents(true, 8);
    const chunks = await esBytes(rows);
    const client = await connect(at, '/api/streams/bystander/events', { headers });
    const bytes = Buffer.concat(chunks);
    client.socket.send(bytes.subarray(0, 1500));
    await client.atLeast(1);
    return new Bystander(client, [bytes.subarray(1500)], rows);
  }

  async end(): Promise<void> {
    for (const chunk of this.chunks) this.client.socket.send(chunk);
    this.client.socket.send('end');
    expect(await this.client.closed).toBe(1000);
    const events = streamOf([batchOf(tinySensor, this.rows)]);
    const expected = await collect(streamPredictions(loaded, events));
    const found = predictions(this.client.messages);
    expect(found.map(({ bin, events: count }) => [bin, count])).toEqual(
      expected.map(({ bin, events: count }) => [bin, count]),
    );
    found.forEach(({ probabilities }, i) =>
      expect(Math.abs(probabilities[0] - expected[i].probabilities[0])).toBeLessThan(1e-4),
    );
  }
}

const describeStream = async (id: string): Promise<StreamMessage> =>
  (await service!.app.inject(`/api/streams/${id}`)).json<StreamMessage>();

describe('a stream that is undisturbed', () => {
  let bystander: Bystander;
  const limits = {
    patienceMs: 400,
    outputBytes: 20_000,
    messageBytes: 10_000,
    inputBytes: 10_000,
    binEvents: 2000,
    sensorPixels: 10_000,
    backlogBins: 2,
    watchersPerStream: 2,
  };

  beforeEach(async () => {
    await start({ limits });
    bystander = await Bystander.begin(service!);
  });
  afterEach(() => bystander.end());

  it.each([
    ['bytes of no format', '', [Buffer.from('GET / HTTP/1.1')]],
    ['a text message', '', ['hello']],
    ['a message that is too large', '', [Buffer.alloc(10_001)]],
    ['an unknown format', '?format=hdf5', []],
    ['no sensor', '?format=spif', []],
    ['a sensor that is none', '?format=spif&sensor=0x7', []],
    ['a sensor that is too large', '?format=spif&sensor=9999x9999', [Buffer.alloc(8)]],
    ['nothing at all', '', []],
  ] as const)('by %s', async (_, query, messages) => {
    const client = await connect(service!, `/api/streams/bad/events${query}`).catch(
      (error: unknown) => error as Error,
    );
    if (client instanceof Error) {
      expect(client.message).toBe('status 400');
      return;
    }
    client.socket.on('error', () => undefined);
    for (const message of messages) client.socket.send(message);
    expect(await client.closed).not.toBe(1000);
    if (messages[0]?.length === 10_001) return;
    const last = client.messages.at(-1);
    expect(last).toMatchObject({
      type: 'error',
      error: { kind: expect.stringMatching(/input|usage/) },
    });
  });

  it('by damaged bytes behind a good head', async () => {
    const client = await connect(service!, '/api/streams/bad/events');
    const [head] = await esBytes(dotEvents(true, 2).slice(0, 100), true);
    client.socket.send(head);
    for (let i = 0; i < 20; i++) {
      const noise = Buffer.from(Array.from({ length: 999 }, (_, k) => (k * 7919 + i * 31) % 256));
      client.socket.send(noise);
    }
    client.socket.send('end');
    await client.closed;
    expect((await describeStream('bad')).state).toMatch(/ended|failed/);
  });

  it('by one that never lets a bin end', async () => {
    const client = await connect(service!, '/api/streams/bad/events?format=spif&sensor=16x16');
    client.socket.on('error', () => undefined);
    const same = Array.from({ length: 1000 }, (): EventRow => [5, 1, 1, 1]);
    const options = { file: 'test', sensor: tinySensor };
    const [bytes] = await collect(spif.encode(streamOf([batchOf(tinySensor, same)]), options));
    for (let i = 0; i < 5; i++) client.socket.send(bytes);
    expect(await client.closed).toBe(1008);
    expect(client.messages.at(-1)).toMatchObject({ type: 'error', error: { kind: 'input' } });
    const { state, losses } = await describeStream('bad');
    expect([state, losses.droppedEvents > 0]).toEqual(['failed', true]);
  });

  it('by one that jumps through time, each event far behind the last', async () => {
    const client = await connect(service!, '/api/streams/bad/events?format=spif&sensor=16x16');
    const rows = Array.from({ length: 40 }, (_, i): EventRow => [i * 90_000_000, 1, 1, 1]);
    const options = { file: 'test', sensor: tinySensor };
    const [bytes] = await collect(spif.encode(streamOf([batchOf(tinySensor, rows)]), options));
    client.socket.send(bytes);
    await client.atLeast(20);
    const { backlog } = await describeStream('bad');
    expect(backlog).toBeLessThanOrEqual(limits.backlogBins);
    expect(
      (await service!.app.inject({ method: 'DELETE', url: '/api/streams/bad' })).statusCode,
    ).toBe(204);
    await client.closed;
  });

  it('by one that does not read its answers', async () => {
    // Long answers soon fill the buffers of the system.
    const description = {
      ...model.description,
      classes: ['l', 'r'].map((name) => name.repeat(50_000)),
    };
    const own = await serviceOf({ ...model, description }, { limits });
    try {
      await refusesToRead(own);
    } finally {
      await own.close();
    }
  });

  async function refusesToRead(own: Service): Promise<void> {
    const client = await connect(own, '/api/streams/bad/events?format=spif&sensor=16x16');
    const raw = (client.socket as unknown as { _socket: Socket })._socket;
    raw.pause();
    let t = 0;
    const options = { file: 'test', sensor: tinySensor };
    // As far as the buffers of the system hold its answers, it is served.
    const timer = setInterval(() => {
      if (client.socket.bufferedAmount > 100_000) return;
      const rows = Array.from({ length: 200 }, (): EventRow => [(t += 90_000), 1, 1, 1]);
      void collect(spif.encode(streamOf([batchOf(tinySensor, rows)]), options)).then(([bytes]) =>
        client.socket.send(bytes),
      );
    }, 2);
    await expect
      .poll(() => own.streams.get('bad').state, { timeout: 30_000, interval: 100 })
      .toBe('waiting');
    clearInterval(timer);
    expect(client.messages.length).toBeLessThan(10);
    client.socket.terminate();
  }

  it('by watchers who do not read, send, or are too many', async () => {
    const { app } = service!;
    const source = await connect(service!, '/api/streams/seen/events?format=spif&sensor=100x100');
    const slow = await connect(service!, '/api/streams/seen/watch');
    slow.socket.on('error', () => undefined);
    (slow.socket as unknown as { _socket: Socket })._socket.pause();
    const talking = await connect(service!, '/api/streams/seen/watch');
    const third = await connect(service!, '/api/streams/seen/watch');
    expect(await third.closed).toBe(1013);
    talking.socket.send('hello');
    expect(await talking.closed).toBe(1003);
    const big = { width: 100, height: 100 };
    let t = 0;
    const timer = setInterval(() => {
      const rows = Array.from({ length: 20 }, (): EventRow => [(t += 10_000), 1, 1, 1]);
      void collect(spif.encode(streamOf([batchOf(big, rows)]), { file: 'test', sensor: big })).then(
        ([bytes]) => source.socket.send(bytes),
      );
    }, 5);
    await expect
      .poll(async () => (await describeStream('seen')).watchers, { timeout: 30_000, interval: 50 })
      .toBe(0);
    clearInterval(timer);
    expect((await describeStream('seen')).losses.skippedMessages).toBeGreaterThan(0);
    expect((await app.inject('/metrics')).body).toMatch(
      /drops_total\{reason="slowWatcher"\} [1-9]/,
    );
    source.socket.terminate();
    slow.socket.terminate();
  });

  it('by requests that are malformed', async () => {
    const { app } = service!;
    const post = (payload: string | object, headers = {}) =>
      app.inject({ method: 'POST', url: '/api/streams', payload, headers });
    const type = { 'content-type': 'application/json' };
    const answers = await Promise.all([
      post('{', type),
      post('[]', type),
      post('{"id":"a/b"}', type),
      post('{"source":{"kind":"replay"}}', type),
      post('{"source":{"kind":"replay","file":"a.es","speed":1e9}}', type),
      post('{"options":{"smoothing":0}}', type),
      post('{"unknown":1}', type),
      post('{"__proto__":{"x":1}}', type),
      post('{"snapshot":"***"}', type),
      post('id=a', { 'content-type': 'application/x-www-form-urlencoded' }),
      post('x'.repeat(1000), { 'content-type': 'text/plain' }),
      app.inject('/api/streams/a%2Fb'),
      app.inject(`/api/streams/${'a'.repeat(300)}`),
      app.inject('/api/jobs?limit=1e9'),
      app.inject('/api/jobs?state=none'),
      app.inject({ method: 'POST', url: '/api/jobs/x/cancel' }),
      app.inject('/api/streams/bystander/events'),
    ]);
    for (const answer of answers) {
      expect([400, 404, 414, 415, 426], answer.body).toContain(answer.statusCode);
      expect(answer.json()).toMatchObject({ error: { kind: expect.any(String) } });
    }
    // A body that does not come.
    const socket = connectTcp(service!.port, '127.0.0.1');
    const head = `POST /api/streams HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n`;
    socket.write(`${head}content-length: 100\r\n\r\n{`);
    const closed = once(socket, 'close');
    socket.resume();
    await closed;
    const large = connectTcp(service!.port, '127.0.0.1');
    large.on('error', () => undefined);
    large.write(`${head}content-length: 999999999\r\n\r\n`);
    const [answer] = (await once(large, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 413 /);
    large.destroy();
  }, 90_000);
});

describe('files', () => {
  it('are those of the page alone', async () => {
    const { port, app } = await start();
    expect((await app.inject('/')).body).toContain('<title>page');
    for (const path of [
      '/../secret.txt',
      '/%2e%2e/secret.txt',
      '/..%2fsecret.txt',
      '/deep/../../secret.txt',
      '/%5c..%5csecret.txt',
      '//etc/passwd',
      '/api/runs/..',
      '/api/runs/%2e%2e',
      '/api/runs/..%2f',
      '/api/runs/page',
    ]) {
      // As it stands, which `fetch` would tidy up.
      const socket = connectTcp(port, '127.0.0.1');
      socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`);
      const answer = Buffer.concat(await collect(socket as AsyncIterable<Buffer>)).toString();
      expect(answer, path).toMatch(/^HTTP\/1.1 (400|403|404) /);
      expect(answer).not.toContain('secret\n');
    }
    const { headers } = await app.inject('/');
    expect(headers['content-security-policy']).toContain("default-src 'none'");
    expect(headers['x-content-type-options']).toBe('nosniff');
  });
});

describe('a service with a token', () => {
  const headers = { authorization: `Bearer ${token}` };
  const offered = (text: string): string[] => [
    'saccade',
    `saccade.token.${Buffer.from(text).toString('base64url')}`,
  ];

  it('answers those who know it, and tells others nothing but its page', async () => {
    const { app } = await start({ token });
    const bystander = await Bystander.begin(service!, headers);
    for (const url of ['/', '/healthz', '/readyz', '/openapi.json']) {
      expect([url, (await app.inject(url)).statusCode]).toEqual([url, 200]);
    }
    const urls = [
      '/api/model',
      '/api/streams',
      '/metrics',
      '/%61pi/model',
      '/api/streams/bystander/snapshot',
    ];
    for (const url of urls) {
      const answer = await app.inject(url);
      expect([url, answer.statusCode]).toEqual([url, 401]);
      expect(answer.headers['www-authenticate']).toBe('Bearer');
      expect((await app.inject({ url, headers })).statusCode).toBe(200);
    }
    for (const authorization of ['Bearer wrong', `Basic ${token}`, `Bearer ${token}x`, token]) {
      const answer = await app.inject({ url: '/api/model', headers: { authorization } });
      expect(answer.statusCode).toBe(401);
      expect(answer.body).not.toContain(token);
    }
    await expect(connect(service!, '/api/streams/a/events')).rejects.toThrow('status 401');
    await expect(
      connect(service!, '/api/streams/a/events', { protocols: offered('wrong') }),
    ).rejects.toThrow('status 401');
    const browser = await connect(service!, '/api/streams/a/events', { protocols: offered(token) });
    expect(browser.socket.protocol).toBe('saccade');
    browser.socket.close();
    await bystander.end();
  });

  it('hears no more of those who guess', async () => {
    const { app } = await start({ token, limits: { failuresPerMinute: 3 } });
    const statuses: number[] = [];
    for (let i = 0; i < 6; i++) statuses.push((await app.inject('/api/model')).statusCode);
    expect(statuses).toEqual([401, 401, 401, 401, 429, 429]);
    expect((await app.inject({ url: '/api/model', headers })).statusCode).toBe(429);
  });

  it('wants it by TCP too', async () => {
    const wire = parseWire('es');
    await start({ token, tcp: { host: '127.0.0.1', port: 0, wire } });
    const bytes = Buffer.concat(await esBytes(dotEvents(true, 1)));
    const send = async (line: string): Promise<void> => {
      const socket = connectTcp(service!.tcpPort!, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.end(Buffer.concat([Buffer.from(line), bytes]));
      await once(socket, 'close');
    };
    await send('');
    await send('TOKEN wrong\n');
    await send(`TOKEN ${'x'.repeat(2000)}\n`);
    expect(service!.streams.list()).toEqual([]);
    await send(`TOKEN ${token}\n`);
    await expect.poll(() => service!.streams.list().map(({ state }) => state)).toEqual(['ended']);
    expect(service!.streams.list()[0]).toMatchObject({ source: 'tcp', events: 800, bins: 8 });
  });
});

describe('who may come', () => {
  it('is this machine alone where there is no token', async () => {
    await expect(start({ host: '0.0.0.0' })).rejects.toMatchObject({ kind: 'usage' });
    await expect(start({ host: '0.0.0.0', token: 'short' })).rejects.toMatchObject({
      kind: 'usage',
    });
    const wire = parseWire('spif', '16x16');
    await expect(start({ tcp: { host: '::', port: 0, wire } })).rejects.toMatchObject({
      kind: 'usage',
    });
    await expect(start({ token, udp: { host: '0.0.0.0', port: 0, wire } })).rejects.toMatchObject({
      kind: 'usage',
    });
  });

  it('are pages of the service itself, called by its own names', async () => {
    const { app, port } = await start({
      allowHosts: ['camera.lan'],
      allowOrigins: ['https://ok.org'],
    });
    const host = `127.0.0.1:${port}`;
    const get = (headers: Record<string, string>) => app.inject({ url: '/api/model', headers });
    expect((await get({ host })).statusCode).toBe(200);
    expect((await get({ host: 'camera.lan:80' })).statusCode).toBe(200);
    expect((await get({ host: 'localhost' })).statusCode).toBe(200);
    expect((await get({ host: '[::1]:8080' })).statusCode).toBe(200);
    expect((await get({ host: 'evil.org' })).statusCode).toBe(403);
    expect((await get({ host: 'localhost.evil.org' })).statusCode).toBe(403);
    expect((await get({ host: 'localhost/@evil.org' })).statusCode).toBe(403);

    const post = (origin: string) =>
      app.inject({ method: 'POST', url: '/api/streams', payload: {}, headers: { host, origin } });
    expect((await post('http://evil.org')).statusCode).toBe(403);
    expect((await post('null')).statusCode).toBe(403);
    expect((await post(`http://${host}`)).statusCode).toBe(201);
    expect((await post('https://ok.org')).statusCode).toBe(201);

    const open = (origin: string) =>
      connect(service!, '/api/streams/w/events', { headers: { origin } });
    await expect(open('http://evil.org')).rejects.toThrow('status 403');
    (await open(`http://${host}`)).socket.terminate();
  });

  it('may ask so often', async () => {
    const { app } = await start({ limits: { requestsPerMinute: 5 } });
    const answers: Awaited<ReturnType<typeof app.inject>>[] = [];
    for (let i = 0; i < 8; i++) answers.push(await app.inject('/healthz'));
    expect(answers.filter(({ statusCode }) => statusCode === 429)).toHaveLength(3);
    expect(answers.at(-1)!.json()).toMatchObject({ error: { kind: 'limit' } });
  });
});

describe('bare sockets', () => {
  const wire = parseWire('spif', '16x16');
  const encode = (rows: readonly EventRow[]): Promise<Uint8Array[]> =>
    collect(
      spif.encode(streamOf([batchOf(tinySensor, rows)]), { file: 'test', sensor: tinySensor }),
    );

  it('by UDP are streams, one for each sender, that come and go', async () => {
    await start({
      udp: { host: '127.0.0.1', port: 0, wire },
      limits: { idleMs: 1500, streams: 2 },
    });
    const rows = dotEvents(true, 1);
    const bytes = Buffer.concat(await encode(rows));
    const sockets = [1, 2, 3].map(() => createSocket('udp4'));
    const send = async (from: number, start: number, end: number): Promise<void> => {
      for (let at = start * 8; at < end * 8; at += 512) {
        sockets[from].send(
          bytes.subarray(at, Math.min(end * 8, at + 512)),
          service!.udpPort!,
          '127.0.0.1',
        );
        await sleep(1);
      }
    };
    const events = (): number[] => service!.streams.list().map((stream) => stream.events);
    await send(0, 0, 500);
    await send(1, 0, 800);
    await expect.poll(events).toEqual([500, 800]);
    // No room for a third.
    await send(2, 0, 10);
    await expect
      .poll(() => service!.streams.list().map(({ state }) => state))
      .toEqual(['evicted', 'evicted']);
    await send(0, 500, 800);
    await expect.poll(events).toEqual([800, 800]);
    expect(service!.streams.list()[0]).toMatchObject({ source: 'udp', state: 'running' });
    expect((await service!.app.inject('/metrics')).body).toMatch(
      /drops_total\{reason="unknownSender"\} [1-9]/,
    );
    for (const socket of sockets) socket.close();
  });

  it('by TCP wait while the model is slow, and lose nothing', async () => {
    const slowModel: SteppedModel = {
      ...model,
      step: async (batch) => {
        await sleep(20);
        return model.step(batch);
      },
    };
    service = await serviceOf(slowModel, {
      tcp: { host: '127.0.0.1', port: 0, wire },
      limits: { backlogBins: 1 },
    });
    const rows = Array.from({ length: 4000 }, (_, i): EventRow => [i * 100, i % 16, 3, 1]);
    const socket = connectTcp(service.tcpPort!, '127.0.0.1');
    socket.end(Buffer.concat(await encode(rows)));
    await once(socket, 'close');
    await expect
      .poll(() => service!.streams.list()[0])
      .toMatchObject({ state: 'ended', events: 4000, bins: 40 });
    // A client that breaks in the middle is no concern of others.
    const broken = connectTcp(service.tcpPort!, '127.0.0.1');
    broken.write(Buffer.alloc(13));
    await sleep(50);
    broken.resetAndDestroy();
    await expect
      .poll(() => service!.streams.list().map(({ state }) => state))
      .toEqual(['ended', 'ended']);
  });
});

describe('the description of the interface', () => {
  it('has every route', async () => {
    const { app } = await start();
    await app.ready();
    const { paths, openapi } = (await app.inject('/openapi.json')).json<{
      openapi: string;
      paths: Record<string, Record<string, { summary?: string }>>;
    }>();
    expect(openapi).toMatch(/^3\./);
    const expected = [
      'get /api/model',
      'get /healthz',
      'get /readyz',
      'get /metrics',
      'get /openapi.json',
      'get /api/streams',
      'post /api/streams',
      'get /api/streams/{id}',
      'delete /api/streams/{id}',
      'get /api/streams/{id}/snapshot',
      'get /api/streams/{id}/events',
      'get /api/streams/{id}/watch',
      'get /api/recordings',
      'get /api/runs',
      'get /api/runs/{id}',
      'get /api/queues',
      'get /api/jobs',
      'get /api/jobs/{id}/logs',
      'post /api/jobs/{id}/cancel',
      'post /api/jobs/{id}/retry',
    ];
    for (const route of expected) {
      const [method, path] = route.split(' ');
      expect(paths[path]?.[method]?.summary, route).toBeTruthy();
    }
    const api = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    );
    expect(api.filter((route) => !expected.includes(route) && route.includes('/api/'))).toEqual([]);
  });
});
