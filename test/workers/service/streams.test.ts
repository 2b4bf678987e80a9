import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { writeRecording } from '../../../ingest/recording.js';
import { disposeTree } from '../../../models/parameters.js';
import { confidence, gatheredLogits } from '../../../models/runtime/exitPolicy.js';
import { type LoadedModel, loadModel } from '../../../workers/runs.js';
import type { SteppedModel } from '../../../workers/service/batchThread.js';
import type { BinMessage, EndMessage, StreamMessage } from '../../../workers/service/messages.js';
import type { Clock } from '../../../workers/service/session.js';
import type { Service, ServiceOptions } from '../../../workers/service/server.js';
import { type BinPrediction, streamPredictions } from '../../../workers/stream.js';
import { batchOf, collect, type EventRow, streamOf } from '../../ingest/streams.js';
import { dotEvents, tinySensor } from '../tinySet.js';
import {
  connect,
  esBytes,
  modelHere,
  predictions,
  serviceOf,
  writeFreshModel,
} from './testService.js';

let folder: string;
let model: SteppedModel;
let loaded: LoadedModel;
let service: Service | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  const path = await writeFreshModel(folder, {
    preprocess: {
      filters: ['refractory:500'],
      window: { kind: 'time', windowUs: 40_000 },
      bins: 4,
      height: 8,
      width: 8,
    },
  });
  model = await modelHere(path);
  loaded = await loadModel(path);
  await mkdir(join(folder, 'recordings/deep'), { recursive: true });
  for (const [i, name] of ['a.es', 'deep/b.es'].entries()) {
    const stream = streamOf([batchOf(tinySensor, dotEvents(i === 0, i))]);
    await writeRecording(join(folder, 'recordings', name), stream, { sensor: tinySensor });
  }
  await writeFile(join(folder, 'recordings/notes.md'), 'not a recording');
  await symlink(folder, join(folder, 'recordings/out'));
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
  service = await serviceOf(model, { replayFolder: join(folder, 'recordings'), ...options });
  return service;
}

function alone(rows: readonly EventRow[]): Promise<BinPrediction[]> {
  return collect(streamPredictions(loaded, streamOf([batchOf(tinySensor, rows)])));
}

function expectSame(
  found: readonly { bin: number; events: number; probabilities: readonly number[] }[],
  expected: readonly BinPrediction[],
): void {
  expect(found.map(({ bin, events }) => [bin, events])).toEqual(
    expected.map(({ bin, events }) => [bin, events]),
  );
  found.forEach(({ probabilities }, i) =>
    probabilities.forEach((p, c) =>
      expect(Math.abs(p - expected[i].probabilities[c])).toBeLessThan(1e-4),
    ),
  );
}

const json = async <T>(response: Promise<{ json(): unknown }>): Promise<T> =>
  (await response).json() as T;

/** A clock that stands still until `pass`, when all that is due at some time is due. */
function handClock(): Clock & { waits(): number[]; pass(): void } {
  const due = new Map<() => void, number>();
  return {
    after(ms, work) {
      due.set(work, ms);
      return () => due.delete(work);
    },
    waits: () => [...due.values()],
    pass() {
      const works = [...due.keys()];
      due.clear();
      for (const work of works) work();
    },
  };
}

describe('streams of a service', () => {
  it('get, many at once, what each would get alone', async () => {
    const { app } = await start({ maxBatch: 3 });
    const each = Array.from({ length: 7 }, (_, i) =>
      dotEvents(i % 2 === 0, i).slice(0, 800 - 90 * i),
    );
    await Promise.all(
      each.map(async (rows, i) => {
        const client = await connect(service!, `/api/streams/s${i}/events`);
        // They are at different bins when they meet.
        for (const chunk of await esBytes(rows)) {
          for (let at = 0; at < chunk.length; at += 500 + 100 * i) {
            client.socket.send(chunk.subarray(at, at + 500 + 100 * i));
            await sleep(1 + i);
          }
        }
        client.socket.send('end');
        expect(await client.closed).toBe(1000);
        expectSame(predictions(client.messages), await alone(rows));
        const end = client.messages.at(-1)!;
        expect(end).toMatchObject({ type: 'end', state: 'ended', report: { events: rows.length } });
      }),
    );
    const metrics = (await app.inject('/metrics')).body;
    expect(metrics).toMatch(/saccade_events_total \d+/);
    const [, sum] = /saccade_batch_streams_sum (\d+)/.exec(metrics)!;
    const [, count] = /saccade_batch_streams_count (\d+)/.exec(metrics)!;
    expect(Number(sum)).toBeGreaterThan(Number(count));
  });

  it('decide by early exit as the same stream alone does', async () => {
    const rows = dotEvents(true, 5);
    // Between what it is sure of after the first bin and after the second: so the clip is decided by then.
    const [one, two] = (await alone(rows)).map(({ probabilities, frames }) =>
      confidence(gatheredLogits(probabilities, frames), 4),
    );
    const exit = { temperature: 4, threshold: (one + two) / 2, bins: 4 };
    const { app } = await start({ exit });
    const client = await connect(service!, '/api/streams/early/events');
    for (const chunk of await esBytes(rows)) client.socket.send(chunk);
    client.socket.send('end');
    await client.closed;
    const expected = await collect(
      streamPredictions(loaded, streamOf([batchOf(tinySensor, rows)]), { exit }),
    );
    const found = predictions(client.messages).map(({ decided }) => decided);
    expect(found).toHaveLength(8);
    expect(found.map((decided) => decided?.frames)).toEqual(
      expected.map(({ decidedBins }) => decidedBins),
    );
    expect(found[3]!.class).toBe(loaded.classes[expected[3].prediction]);
    expect(found[7]!.bin).toBe(4 + expected[7].decidedBins! - 1);
    // What is left of a clip is answered as alone, and not computed.
    expectSame(predictions(client.messages), expected);
    const needed = expected[3].decidedBins! + expected[7].decidedBins!;
    expect(needed).toBeLessThan(8);
    expect(predictions(client.messages).filter(({ computed }) => computed)).toHaveLength(needed);
    const metrics = (await app.inject('/metrics')).body;
    expect(metrics).toContain(`saccade_bins_total 8`);
    expect(metrics).toContain(`saccade_bins_skipped_total ${8 - needed}`);
    expect(metrics).toContain(`saccade_batch_streams_sum ${needed}`);
  });

  it('go on behind an early decision from a snapshot', async () => {
    const exit = { temperature: 4, threshold: 0.5, bins: 4 };
    const rows = dotEvents(true, 5);
    const { app } = await start({ exit });
    const first = await connect(service!, '/api/streams/one/events');
    for (const chunk of await esBytes(rows.slice(0, 250))) first.socket.send(chunk);
    await first.atLeast(2);
    const snapshot = (await app.inject('/api/streams/one/snapshot')).rawPayload.toString('base64');
    await service!.close();
    const other = await start({ exit });
    const payload = { id: 'two', snapshot };
    await other.app.inject({ method: 'POST', url: '/api/streams', payload });
    const second = await connect(other, '/api/streams/two/events');
    for (const chunk of await esBytes(rows.slice(250))) second.socket.send(chunk);
    second.socket.send('end');
    await second.closed;
    const events = streamOf([batchOf(tinySensor, rows)]);
    const expected = await collect(streamPredictions(loaded, events, { exit }));
    // Above one half, which of two classes always is, the first bin decides.
    expect(expected[3].decidedBins).toBe(1);
    const found = [...predictions(first.messages), ...predictions(second.messages)];
    expectSame(found, expected);
    expect(found.map(({ computed }) => computed)).toEqual(
      [true, false, false, false, true, false, false, false], // prettier-ignore
    );
  });

  it('show watchers what is not computed, without spikes', async () => {
    await start({ exit: { temperature: 4, threshold: 0.5, bins: 4 } });
    const client = await connect(service!, '/api/streams/one/events');
    await expect
      .poll(async () => (await service!.app.inject('/api/streams/one')).statusCode)
      .toBe(200);
    const watcher = await connect(service!, '/api/streams/one/watch');
    for (const chunk of await esBytes(dotEvents(true, 5))) client.socket.send(chunk);
    client.socket.send('end');
    await watcher.closed;
    const shown = watcher.messages.filter(
      (message): message is BinMessage => message.type === 'bin',
    );
    const skipped = shown.filter(({ computed }) => !computed);
    expect(skipped.length).toBeGreaterThan(2);
    for (const { rates, raster, events, image } of skipped) {
      expect([rates, raster]).toEqual([{}, {}]);
      const counts = [image.on, image.off].flatMap((text) => [...Buffer.from(text, 'base64')]);
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(events);
    }
  });

  it('have their bin closed by the clock where nothing comes, and count what comes for it later', async () => {
    const clock = handClock();
    const { app } = await start({ closeAfterMs: 30, clock });
    const rows = dotEvents(true, 3);
    const client = await connect(service!, '/api/streams/live/events');
    for (const chunk of await esBytes(rows.slice(0, 333))) client.socket.send(chunk);
    await client.atLeast(3);
    await expect.poll(async () => (await app.inject('/api/streams/live')).json().events).toBe(333);
    // The last event came at 33.2 ms, its bin ends at 40.
    await expect.poll(() => clock.waits().map((ms) => ms.toFixed(1))).toEqual(['36.8']);
    expect(client.messages).toHaveLength(3);
    clock.pass();
    await client.atLeast(4);
    expect(clock.waits()).toEqual([]);
    client.socket.close();
    await client.closed;
    await expect
      .poll(async () => (await app.inject('/api/streams/live')).json().state)
      .toBe('waiting');
    const second = await connect(service!, '/api/streams/live/events');
    for (const chunk of await esBytes(rows.slice(333))) second.socket.send(chunk);
    second.socket.send('end');
    await second.closed;
    const expected = await alone(rows);
    const found = [...predictions(client.messages), ...predictions(second.messages)];
    expect(found.map(({ bin }) => bin)).toEqual(expected.map(({ bin }) => bin));
    const { losses } = (second.messages.at(-1) as EndMessage).report;
    expect(losses.lateEvents).toBeGreaterThan(10);
    const counts = expected.map(({ events }) => events);
    counts[3] -= losses.lateEvents;
    expect(found.map(({ events }) => events)).toEqual(counts);
    expect((await app.inject('/metrics')).body).toContain(
      `saccade_drops_total{reason="late"} ${losses.lateEvents}`,
    );
  });

  it('that end when their bin was closed by the clock have no bin more', async () => {
    const clock = handClock();
    await start({ closeAfterMs: 0, clock });
    const client = await connect(service!, '/api/streams/live/events');
    for (const chunk of await esBytes(dotEvents(true, 3).slice(0, 150))) client.socket.send(chunk);
    await client.atLeast(1);
    await expect.poll(() => clock.waits()).toHaveLength(1);
    await expect
      .poll(async () => (await service!.app.inject('/api/streams/live')).json().events)
      .toBe(150);
    clock.pass();
    await client.atLeast(2);
    client.socket.send('end');
    await client.closed;
    expect(predictions(client.messages).map(({ bin }) => bin)).toEqual([0, 1]);
  });

  it('go on where the connection broke, with the state that they had', async () => {
    const { app } = await start();
    const rows = dotEvents(true, 3);
    const half = [rows.slice(0, 333), rows.slice(333)];
    const first = await connect(service!, '/api/streams/cam/events');
    for (const chunk of await esBytes(half[0])) first.socket.send(chunk);
    await first.atLeast(3);
    first.socket.close();
    await first.closed;
    await expect
      .poll(async () => (await app.inject('/api/streams/cam')).json().state)
      .toBe('waiting');
    const second = await connect(service!, '/api/streams/cam/events');
    for (const chunk of await esBytes(half[1])) second.socket.send(chunk);
    second.socket.send('end');
    await second.closed;
    expectSame(
      [...predictions(first.messages), ...predictions(second.messages)],
      await alone(rows),
    );
  });

  it('go on from a snapshot, elsewhere too, and after they were evicted', async () => {
    const rows = dotEvents(false, 4);
    const half = [rows.slice(0, 377), rows.slice(377)];
    const { app } = await start();
    const options = { smoothing: 0.7, confidence: 0.5, patience: 1, restartBins: 5 };
    await app.inject({ method: 'POST', url: '/api/streams', payload: { id: 'one', options } });
    const first = await connect(service!, '/api/streams/one/events');
    for (const chunk of await esBytes(half[0])) first.socket.send(chunk);
    await first.atLeast(3);
    const bytes = (await app.inject('/api/streams/one/snapshot')).rawPayload;

    // Another service with the same model.
    await service!.close();
    const other = await start({ limits: { idleMs: 200 } });
    const payload = { id: 'two', snapshot: bytes.toString('base64') };
    const made = await other.app.inject({ method: 'POST', url: '/api/streams', payload });
    expect(made.statusCode).toBe(201);
    const before = await json<StreamMessage>(other.app.inject('/api/streams/two'));
    expect(before).toMatchObject({ events: 377, bins: 3, state: 'waiting', options });
    await expect
      .poll(async () => (await other.app.inject('/api/streams/two')).json().state)
      .toBe('evicted');
    expect((await other.app.inject('/api/streams/two/snapshot')).rawPayload.length).toBeGreaterThan(
      100,
    );

    const second = await connect(other, '/api/streams/two/events');
    for (const chunk of await esBytes(half[1])) second.socket.send(chunk);
    second.socket.send('end');
    await second.closed;
    const expected = await collect(
      streamPredictions(loaded, streamOf([batchOf(tinySensor, rows)]), { restartBins: 5 }),
    );
    expectSame([...predictions(first.messages), ...predictions(second.messages)], expected);
  });

  it('go on in the next service, with what the last one left in its folder', async () => {
    const snapshotFolder = join(folder, 'snapshots');
    const rows = dotEvents(false, 4);
    await start({ snapshotFolder });
    const first = await connect(service!, '/api/streams/one/events');
    for (const chunk of await esBytes(rows.slice(0, 377))) first.socket.send(chunk);
    await first.atLeast(3);
    await service!.close();
    expect(await readdir(snapshotFolder)).toEqual(['one.safetensors']);
    await writeFile(join(snapshotFolder, 'damaged.safetensors'), 'nonsense');

    const problems: string[] = [];
    const onProblem = (message: string): number => problems.push(message);
    const { app } = await start({ snapshotFolder, onProblem });
    expect(problems).toEqual([expect.stringMatching(/^stream damaged is not taken over: /)]);
    expect(await json<StreamMessage>(app.inject('/api/streams/one'))).toMatchObject({
      events: 377,
      bins: 3,
      state: 'evicted',
    });
    const second = await connect(service!, '/api/streams/one/events');
    for (const chunk of await esBytes(rows.slice(377))) second.socket.send(chunk);
    second.socket.send('end');
    await second.closed;
    const expected = await collect(
      streamPredictions(loaded, streamOf([batchOf(tinySensor, rows)])),
    );
    expectSame([...predictions(first.messages), ...predictions(second.messages)], expected);
    await service!.close();
    // One that has ended leaves nothing; what was not understood is nobody's to remove.
    expect(await readdir(snapshotFolder)).toEqual(['damaged.safetensors']);
  });

  it('leave a snapshot while they run, and none when they have ended', async () => {
    const snapshotFolder = join(folder, 'periodic');
    const rows = dotEvents(false, 4);
    const { app } = await start({ snapshotFolder, snapshotEveryMs: 5 });
    const first = await connect(service!, '/api/streams/one/events');
    for (const chunk of await esBytes(rows.slice(0, 377))) first.socket.send(chunk);
    const kept = join(snapshotFolder, 'one.safetensors');
    const left = async (): Promise<Buffer> => readFile(kept).catch(() => Buffer.alloc(0));
    await expect.poll(async () => (await left()).toString('latin1')).toContain('\\"taken\\":377');
    await first.atLeast(3);

    // Another service takes it over, as if the first had been killed; the first has no news to write.
    const other = await serviceOf(model, { snapshotFolder, snapshotEveryMs: 5 });
    expect(await json<StreamMessage>(other.app.inject('/api/streams/one'))).toMatchObject({
      events: 377,
      bins: 3,
      state: 'evicted',
    });
    const second = await connect(other, '/api/streams/one/events');
    const [head, ...rest] = await esBytes(rows.slice(377));
    second.socket.send(head);
    await expect
      .poll(async () => (await other.app.inject('/api/streams/one')).json().state)
      .toBe('running');
    // It is there until there is a newer one, and not longer than the stream.
    expect((await left()).length).toBeGreaterThan(100);
    for (const chunk of rest) second.socket.send(chunk);
    second.socket.send('end');
    await second.closed;
    await expect.poll(async () => (await left()).length).toBe(0);
    await other.close();
    const expected = await alone(rows);
    expectSame([...predictions(first.messages), ...predictions(second.messages)], expected);
    await app.inject({ method: 'DELETE', url: '/api/streams/one' });
  });

  it('refuse a snapshot that is damaged, or of another model, and are as before', async () => {
    const { app } = await start();
    const client = await connect(service!, '/api/streams/one/events');
    for (const chunk of await esBytes(dotEvents(true, 1).slice(0, 300))) client.socket.send(chunk);
    await client.atLeast(2);
    const bytes = (await app.inject('/api/streams/one/snapshot')).rawPayload;
    const text = bytes.toString('latin1');
    const wrong = [
      Buffer.from('nonsense'),
      bytes.subarray(0, bytes.length - 5),
      Buffer.from(text.replace(model.description.hash, 'f'.repeat(64)), 'latin1'),
      Buffer.from(text.replace('"width\\":16', '"width\\":99'), 'latin1'),
      Buffer.from(text.replace('clip.head.sum', 'clip.head.sun'), 'latin1'),
      Buffer.from(text.replace('open.t', 'open.u'), 'latin1'),
      Buffer.from(
        text
          .replace('candidate\\":0', 'candidate\\":9')
          .replace('candidate\\":1', 'candidate\\":9'),
        'latin1',
      ),
    ];
    for (const [i, snapshot] of wrong.entries()) {
      const payload = { id: `x${i}`, snapshot: snapshot.toString('base64') };
      const answer = await app.inject({ method: 'POST', url: '/api/streams', payload });
      expect([i, answer.statusCode, answer.json().error.kind]).toEqual([i, 400, 'input']);
    }
    const { streams } = await json<{ streams: StreamMessage[] }>(app.inject('/api/streams'));
    expect(streams.map(({ id, state }) => [id, state])).toEqual([['one', 'running']]);
  });

  it('replay recordings, and show them to watchers', async () => {
    const { app } = await start();
    const payload = {
      id: 'r',
      source: { kind: 'replay', file: 'deep/b.es', speed: 1 },
      options: { confidence: 0.1, patience: 2 },
    };
    await app.inject({ method: 'POST', url: '/api/streams', payload });
    const watcher = await connect(service!, '/api/streams/r/watch');
    expect(await watcher.closed).toBe(1000);
    const shown = watcher.messages.filter(
      (message): message is BinMessage => message.type === 'bin',
    );
    const expected = await alone(dotEvents(false, 1));
    // The watcher may have come after the first bins.
    expect(shown.length).toBeGreaterThan(3);
    expectSame(shown, expected.slice(-shown.length));
    const { layers } = await json<{ layers: { path: string; sampled: number }[] }>(
      app.inject('/api/model'),
    );
    for (const { image, events, rates, raster, decided } of shown) {
      expect([image.width, image.height]).toEqual([16, 16]);
      const counts = [image.on, image.off].map((text) => [...Buffer.from(text, 'base64')]);
      expect(counts.flat().reduce((sum, count) => sum + count, 0)).toBe(events);
      expect(Object.keys(rates)).toEqual(layers.map(({ path }) => path));
      for (const { path, sampled } of layers) {
        expect(rates[path]).toBeGreaterThanOrEqual(0);
        expect(rates[path]).toBeLessThanOrEqual(1);
        expect(Buffer.from(raster[path], 'base64')).toHaveLength(Math.ceil(sampled / 8));
      }
      expect(decided?.bin ?? 1).toBe(1);
    }
    expect(shown.at(-1)!.decided).toMatchObject({ bin: 1 });
    expect(watcher.messages.at(-1)).toMatchObject({ type: 'end', state: 'ended' });
  });

  it('take as many as they may, one name each, and end on request', async () => {
    const { app } = await start({ limits: { streams: 2, remembered: 3 } });
    const create = (id: string, source = {}) =>
      app.inject({ method: 'POST', url: '/api/streams', payload: { id, ...source } });
    const loop = { source: { kind: 'replay', file: 'a.es', loop: true, speed: 100 } };
    expect((await create('a', loop)).statusCode).toBe(201);
    expect((await create('a')).statusCode).toBe(409);
    expect((await create('b')).statusCode).toBe(201);
    expect((await create('c')).statusCode).toBe(429);
    await expect
      .poll(async () => (await app.inject('/api/streams/a')).json().bins)
      .toBeGreaterThan(20);
    expect((await app.inject({ method: 'DELETE', url: '/api/streams/a' })).statusCode).toBe(204);
    expect((await app.inject('/api/streams/a')).statusCode).toBe(404);
    for (let i = 0; i < 6; i++) {
      expect((await create(`r${i}`, { source: { ...loop.source, loop: false } })).statusCode).toBe(
        201,
      );
      await expect
        .poll(async () => (await app.inject(`/api/streams/r${i}`)).json().state)
        .toBe('ended');
    }
    const { streams } = await json<{ streams: StreamMessage[] }>(app.inject('/api/streams'));
    expect(streams.map(({ id }) => id)).toEqual(['b', 'r3', 'r4', 'r5']);
  });

  it('come from the folder of recordings only', async () => {
    const { app } = await start();
    const { recordings } = await json<{ recordings: { file: string }[] }>(
      app.inject('/api/recordings'),
    );
    expect(recordings.map(({ file }) => file)).toEqual(['a.es', 'deep/b.es']);
    const files = [
      '../fresh.safetensors',
      'out/fresh.safetensors',
      join(folder, 'recordings/a.es'),
      '.',
      'no',
      'a\0.es',
    ];
    for (const file of files) {
      const payload = { source: { kind: 'replay', file } };
      const answer = await app.inject({ method: 'POST', url: '/api/streams', payload });
      expect([file, answer.statusCode]).toEqual([file, 404]);
    }
    const text = { source: { kind: 'replay', file: 'notes.md' } };
    const answer = await app.inject({ method: 'POST', url: '/api/streams', payload: text });
    expect(answer.statusCode).toBe(400);
    expect(answer.body).not.toContain(folder);
    expect((await json<{ streams: unknown[] }>(app.inject('/api/streams'))).streams).toEqual([]);
  });
});
