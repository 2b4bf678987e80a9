import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Outcome } from './callCli.js';
import { Workplace } from './cliProcess.js';

const place = new Workplace();
const cli = resolve('dist/src/cli.js');

/** 1 s of events, `t,x,y,p` a line. */
const lines = Array.from(
  { length: 2000 },
  (_, i) => `${i * 500},${(i * 7) % 128},${(i * 11) % 128},${i % 2}`,
);
const csv = `t,x,y,p\n${lines.join('\n')}\n`;

beforeAll(async () => {
  await writeFile(place.path('events.csv'), csv);
  await place.print('convert', 'events.csv', 'events.es', '--sensor', '128x128');
});

const rowsOf = async (name: string): Promise<string[]> => {
  await place.print('convert', name, `${name}.csv`);
  return (await readFile(place.path(`${name}.csv`), 'utf8')).trimEnd().split('\n').slice(1);
};

/** Runs a command that listens, and hands its port over once it does. */
async function listening(
  args: readonly string[],
): Promise<{ port: number; outcome: Promise<Outcome>; stop: () => void }> {
  let stderr = '';
  let stopping = false;
  let told: (port: number) => void = () => undefined;
  const port = new Promise<number>((done) => (told = done));
  const child = spawn(process.execPath, [cli, ...args], {
    cwd: place.folder,
  });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  const outcome = new Promise<Outcome>((done) =>
    child.on('close', (exitCode) => done({ exitCode, stdout, stderr })),
  );
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    const [, found] = /waiting at \S+:(\d+)/.exec(stderr) ?? [];
    if (found !== undefined) told(Number(found));
  });
  const failed = outcome.then(({ stderr: text }) => {
    throw new Error(`it ended before it listened: ${text}`);
  });
  const stop = (): void => {
    if (!stopping) child.kill('SIGINT');
    stopping = true;
  };
  return { port: await Promise.race([port, failed]), outcome, stop };
}

/** A server that sends bytes to whoever comes, and keeps the connection open. */
async function serving(bytes: Uint8Array): Promise<{ port: number; server: Server }> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.write(bytes);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return { port: (server.address() as AddressInfo).port, server };
}

/**
 * Tries again, each time with more patience, until it is enough: nobody outside sees how far a process has read,
 * and how long it takes is the machine's business.
 */
async function eventually(isEnough: (waitMs: number) => Promise<boolean>): Promise<void> {
  for (let waitMs = 300; !(await isEnough(waitMs)); waitMs *= 3) {
    expect(waitMs, 'milliseconds were not enough').toBeLessThan(20_000);
  }
}

describe('recording, replay and conversion over a network', () => {
  it.each([
    ['tcp', 'es'],
    ['tcp', 'dv'],
    ['ws', 'evt3'],
  ])('keep every event by %s as %s', async (scheme, format) => {
    const recorder = await listening([
      ...['convert', `${scheme}://127.0.0.1:0?listen`, 'recorded.es', '--in-format', format],
      ...['--sensor', '128x128', '--json'],
    ]);
    const address = `${scheme}://127.0.0.1:${recorder.port}?format=${format}`;
    const sent = await place.json('convert', 'events.es', address, '--speed', '20');
    expect(sent).toMatchObject({ to: address, events: { read: 2000, written: 2000 } });
    const { exitCode, stdout, stderr } = await recorder.outcome;
    expect(exitCode, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ events: { written: 2000 }, skipped: {} });
    expect(await rowsOf('recorded.es')).toEqual(lines);
  });

  it('sends to who connects, and info says what comes', async () => {
    const sender = await listening(['convert', 'events.es', 'tcp://127.0.0.1:0?format=es&listen']);
    const uri = `tcp://127.0.0.1:${sender.port}?format=es`;
    expect(await place.json('info', uri)).toMatchObject({ format: 'es', events: 2000, width: 128 });
    expect((await sender.outcome).exitCode).toBe(0);
  });

  it('receives datagrams until Ctrl-C', () =>
    eventually(async (waitMs) => {
      const recorder = await listening([
        ...['convert', 'udp://127.0.0.1:0?format=spif&sensor=128x128', 'udp.es', '--json'],
      ]);
      const to = `udp://127.0.0.1:${recorder.port}?format=spif`;
      await place.print('convert', 'events.es', to, '--speed', '20');
      // Nobody says when all has come.
      await sleep(waitMs);
      recorder.stop();
      const { exitCode, stdout } = await recorder.outcome;
      if (exitCode === 130) return false;
      expect(exitCode).toBe(0);
      const { events } = JSON.parse(stdout) as { events: { written: number } };
      const kept = await rowsOf('udp.es');
      expect(kept.length).toBe(events.written);
      for (const line of kept) expect(lines).toContain(line);
      return kept.length > 0;
    }));

  it('keeps what came until Ctrl-C', () =>
    eventually(async (waitMs) => {
      const recorder = await listening([
        'convert',
        `tcp://127.0.0.1:0?format=es&listen`,
        'kept.es',
      ]);
      // It waits for more than there is.
      const socket = connect(recorder.port, '127.0.0.1');
      socket.on('error', () => undefined);
      const bytes = await readFile(place.path('events.es'));
      await new Promise<void>((done) => socket.write(bytes, () => done()));
      await sleep(waitMs);
      recorder.stop();
      const { exitCode, stdout, stderr } = await recorder.outcome;
      socket.destroy();
      if (exitCode === 130) return false;
      expect(exitCode, stderr).toBe(0);
      const kept = await rowsOf('kept.es');
      expect(kept).toEqual(lines.slice(0, kept.length));
      if (kept.length < lines.length) return false;
      expect(stdout).toMatch(/2,000 written/);
      return true;
    }));

  it('tells of what came until Ctrl-C', async () => {
    const { port, server } = await serving(await readFile(place.path('events.es')));
    await eventually(async (waitMs) => {
      const interruptAfterMs = 4 * waitMs;
      const uri = `tcp://127.0.0.1:${port}?format=es`;
      const info = await place.run(['info', uri], { interruptAfterMs });
      // Before it listens to Ctrl-C, that ends it; before anything came, it has nothing to tell.
      if (info.exitCode !== 0) return false;
      const [, events] = /events +([\d,]+)\n/.exec(info.stdout) ?? [];
      return events === '2,000';
    });
    server.close();
  });

  it('stops waiting for a connection on Ctrl-C', async () => {
    const recorder = await listening(['convert', 'tcp://127.0.0.1:0?format=es&listen', 'no.es']);
    recorder.stop();
    expect((await recorder.outcome).exitCode).toBe(130);
  });

  it('says how many events were dropped for a receiver that does not read', async () => {
    const count = 1_200_000;
    const many = Array.from({ length: count }, (_, i) => `${1e6 + i},${i % 100},7,1`);
    await writeFile(place.path('many.csv'), `t,x,y,p\n${many.join('\n')}\n`);
    await eventually(async (waitMs) => {
      let received = '';
      let end: () => void = () => undefined;
      const ended = new Promise<void>((done) => (end = done));
      const server = createServer((socket) => {
        socket.on('end', end);
        // Far more than the system takes into its own buffers.
        socket.setEncoding('latin1').on('data', (text) => (received += String(text)));
        socket.pause();
        setTimeout(() => socket.resume(), 4 * waitMs);
      });
      await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
      const { port } = server.address() as AddressInfo;
      const { exitCode, stdout, stderr } = await place.run(
        [
          ...['convert', 'many.csv', `tcp://127.0.0.1:${port}?format=csv`, '--sensor', '128x128'],
          ...['--drop', 'oldest', '--queue', '1', '--json'],
        ],
        { process: true },
      );
      await ended;
      server.close();
      expect(exitCode, stderr).toBe(0);
      const { events, skipped } = JSON.parse(stdout) as {
        events: { written: number };
        skipped: { droppedEvents?: number };
      };
      const kept = received.trimEnd().split('\n').slice(1);
      expect(kept.length).toBe(events.written);
      const { droppedEvents = 0 } = skipped;
      expect(events.written + droppedEvents).toBe(count);
      // What waits in the queue is not touched by what comes after it.
      expect(kept.every((line) => line === many[Number(line.split(',', 1)[0]) - 1e6])).toBe(true);
      expect(new Set(kept).size).toBe(kept.length);
      const warning = /warning: many\.csv: [\d,]+ events were dropped, as they came faster/;
      expect(warning.test(stderr)).toBe(droppedEvents > 0);
      return droppedEvents > 0;
    });
  });

  it('names what is wrong with an address', async () => {
    const refused = (address: string, ...expected: (string | RegExp)[]): Promise<void> =>
      place.fails('usage', ['info', address], expected);
    await refused('http://localhost:1', /unknown scheme/, /tcp/);
    await refused('tcp://localhost:1', /format/);
    await refused('tcp://localhost:1?format=es&sped=2', /sped/);
    await place.fails('usage', ['info', 'events.es', '--drop', 'some'], [/--drop/, /oldest/]);
    await place.fails('usage', ['info', 'events.es', '--speed', '0'], [/--speed/]);
    const closed = await serving(Buffer.alloc(0));
    await new Promise((done) => closed.server.close(done));
    const uri = `tcp://127.0.0.1:${closed.port}?format=es`;
    await place.fails('environment', ['info', uri], [uri, /ECONNREFUSED/]);
    await place.fails('environment', ['convert', 'events.es', uri], [uri, /ECONNREFUSED/]);
  });

  it('reads files whose names look like addresses', async () => {
    await mkdir(place.path('a:b'), { recursive: true });
    await writeFile(place.path('a:b/what?.csv'), csv);
    const args = ['info', 'a:b/what?.csv', '--sensor', '128x128'];
    expect(await place.json(...args)).toMatchObject({ events: 2000 });
    expect(await place.json('info', 'file:events.es')).toMatchObject({ events: 2000 });
  });

  it('says that the sensor size that was given is not used', async () => {
    const { exitCode, stderr } = await place.run(['info', 'events.es', '--sensor', '64x64']);
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(/states its sensor size, 128x128; --sensor is not used/);
  });
});
