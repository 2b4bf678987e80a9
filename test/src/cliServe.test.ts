import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';

import { writeRecording } from '../../ingest/recording.js';
import { disposeTree } from '../../models/parameters.js';
import { loadModel } from '../../workers/runs.js';
import type {
  PredictionMessage,
  RunMessage,
  StreamMessage,
} from '../../workers/service/messages.js';
import { batchOf, collect, type EventRow, streamOf } from '../ingest/streams.js';
import { dotEvents, tinyExperiment, tinySensor, writeTinySet } from '../workers/tinySet.js';
import { esBytes, writeFreshModel } from '../workers/service/testService.js';
import { streamPredictions } from '../../workers/stream.js';
import { trainJob } from '../../workers/train.js';

let folder: string;
let checkpoint: string;
const token = 'a-token-of-some-length';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  checkpoint = await writeFreshModel(folder);
  await mkdir(join(folder, 'recordings'));
  const stream = streamOf([batchOf(tinySensor, dotEvents(true, 1))]);
  await writeRecording(join(folder, 'recordings/a.es'), stream, { sensor: tinySensor });
});
afterAll(() => rm(folder, { recursive: true }));

/** Takes what OpenTelemetry's exporters send. */
async function collectTraces(): Promise<{ url: string; bodies: string[]; close(): void }> {
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => (body += text));
    request.on('end', () => {
      bodies.push(body);
      response.end('{}');
    });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as { port: number };
  return { url: `http://127.0.0.1:${port}`, bodies, close: () => server.close() };
}

interface Served {
  readonly child: ChildProcess;
  readonly url: string;
  readonly errors: string[];
}

async function serve(args: readonly string[], env: Record<string, string> = {}): Promise<Served> {
  const child = spawn(
    process.execPath,
    [resolve('dist/src/cli.js'), 'serve', checkpoint, '--port', '0', '--json', ...args],
    {
      cwd: folder,
      env: { PATH: process.env.PATH, SACCADE_THREADS: '1', SACCADE_TOKEN: token, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const errors: string[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => errors.push(text));
  const [line] = (await Promise.race([
    once(createInterface(child.stdout), 'line'),
    once(child, 'exit').then(() => Promise.reject(new Error(errors.join('')))),
  ])) as [string];
  return { child, url: (JSON.parse(line) as { url: string }).url, errors };
}

describe('saccade serve', () => {
  it('is ready, predicts in a thread, shows runs, and ends on SIGTERM when it has told everybody', async () => {
    await writeTinySet(join(folder, 'data'), 4);
    const experiment = tinyExperiment(join(folder, 'data'));
    await trainJob({
      experiment,
      folder: join(folder, 'runs/first'),
      cacheFolder: join(folder, 'cache'),
      backend: 'wasm',
    });
    const collector = await collectTraces();
    const { child, url, errors } = await serve(['--replay', 'recordings', '--runs', 'runs'], {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    });
    try {
      const authorization = `Bearer ${token}`;
      const get = async (path: string, init: RequestInit = {}): Promise<Response> =>
        fetch(`${url}${path}`, { ...init, headers: { authorization, ...init.headers } });
      expect((await fetch(`${url}/readyz`)).status).toBe(200);
      expect((await fetch(`${url}/api/model`)).status).toBe(401);
      const page = await fetch(`${url}/`);
      expect(page.headers.get('content-type')).toContain('text/html');
      const model = (await (await get('/api/model')).json()) as { classes: string[] };
      expect(model.classes).toEqual(['left', 'right']);

      const { runs } = (await (await get('/api/runs')).json()) as { runs: { id: string }[] };
      expect(runs).toMatchObject([
        { id: 'first', epochs: 2, totalEpochs: 2, model: 'spikmamba nano' },
      ]);
      const run = (await (await get('/api/runs/first')).json()) as RunMessage;
      expect(run.history.map(({ epoch }) => epoch)).toEqual([1, 2]);
      expect(run.config.dataset).toBe('data');
      expect(await (await get('/api/queues')).json()).toMatchObject({ available: false });
      expect(await (await get('/api/jobs')).json()).toEqual({ available: false, jobs: [] });

      const made = await get('/api/streams', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ id: 'r', source: { kind: 'replay', file: 'a.es', loop: true } }),
      });
      expect(made.status).toBe(201);
      const protocols = ['saccade', `saccade.token.${Buffer.from(token).toString('base64url')}`];
      const watcher = new WebSocket(`${url.replace('http', 'ws')}/api/streams/r/watch`, protocols);
      const seen: { type: string }[] = [];
      await new Promise<void>((enough) =>
        watcher.on('message', (data) => {
          seen.push(JSON.parse((data as Buffer).toString()) as { type: string });
          if (seen.length === 3) enough();
        }),
      );
      const stream = (await (await get('/api/streams/r')).json()) as StreamMessage;
      expect(stream).toMatchObject({ state: 'running', watchers: 1 });

      const closed = once(watcher, 'close');
      const exit = once(child, 'exit');
      child.kill('SIGTERM');
      await closed;
      expect(await exit).toEqual([0, null]);
      expect(seen.at(-1)).toMatchObject({ type: 'end', state: 'ended' });
      expect(errors.join('')).not.toContain(token);
      const traces = collector.bodies.join('');
      expect(traces).toContain('saccade-serve');
      expect(traces).toContain('"batch"');
      expect(traces).not.toContain(token);
    } finally {
      child.kill('SIGKILL');
      collector.close();
    }
  });

  it('goes on, where it was killed, from what its streams had left', async () => {
    const args = ['--snapshots', 'snapshots', '--snapshot-every', '0.1'];
    const rows = dotEvents(true, 2);
    const found: PredictionMessage[] = [];
    const send = async ({ url }: Served, part: readonly EventRow[]): Promise<WebSocket> => {
      const protocols = ['saccade', `saccade.token.${Buffer.from(token).toString('base64url')}`];
      const path = '/api/streams/cam/events';
      const socket = new WebSocket(url.replace('http', 'ws') + path, protocols);
      socket.on('message', (data) => {
        const message = JSON.parse((data as Buffer).toString()) as PredictionMessage;
        if (message.type === 'prediction') found.push(message);
      });
      await once(socket, 'open');
      for (const chunk of await esBytes(part)) socket.send(chunk);
      return socket;
    };
    const first = await serve(args);
    try {
      await send(first, rows.slice(0, 333));
      const file = join(folder, 'snapshots/cam.safetensors');
      await expect
        .poll(() => readFile(file, 'latin1').catch(() => ''), { timeout: 30_000 })
        .toContain('\\"taken\\":333');
      await expect.poll(() => found.map(({ bin }) => bin), { timeout: 30_000 }).toEqual([0, 1, 2]);
      const killed = once(first.child, 'exit');
      first.child.kill('SIGKILL');
      expect(await killed).toEqual([null, 'SIGKILL']);
    } finally {
      first.child.kill('SIGKILL');
    }
    const second = await serve(args);
    try {
      const socket = await send(second, rows.slice(333));
      socket.send('end');
      await once(socket, 'close');
    } finally {
      second.child.kill('SIGKILL');
    }
    const loaded = await loadModel(checkpoint);
    const events = streamOf([batchOf(tinySensor, rows)]);
    const expected = await collect(streamPredictions(loaded, events));
    disposeTree(loaded.parameters);
    expect(found.map(({ bin, events }) => [bin, events])).toEqual(
      expected.map(({ bin, events }) => [bin, events]),
    );
    found.forEach(({ probabilities }, i) =>
      probabilities.forEach((p, c) =>
        expect(Math.abs(p - expected[i].probabilities[c])).toBeLessThan(1e-4),
      ),
    );
  });

  it.each([
    [['--host', '0.0.0.0', '--token', 'short'], 'at least 16 characters'],
    [['--replay', 'missing'], 'no such folder'],
    [['--tcp', '0?format=hdf5'], 'expected one of'],
    [['--tcp', 'x'], 'expected [HOST:]PORT'],
    [['--udp', '0.0.0.0:0?sensor=16x16'], 'this machine only'],
  ])('refuses %j', async (args, message) => {
    await expect(serve(args)).rejects.toThrow(message);
  });
});
