import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { WebSocket } from 'ws';

import { selectBackend } from '../engine/backend.js';
import { openRecording } from '../ingest/recording.js';
import { writeFirstWeights } from './firstWeights.js';

// Streams at real time against `saccade serve` in a process of its own, over WebSockets on loopback. Prints the latency from the
// last event of a bin to its prediction, as the client sees it, what was dropped, and the server's memory and CPU:
// `npm run bench:serve -- [--minutes 2] [--streams 64] [--config configs/demo.yaml] [--preset small]
// [--recording FILE] [--rate 20000] [--batch-wait 2] [--cli FILE]`.

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    streams: { type: 'string', default: '64' },
    config: { type: 'string', default: 'configs/demo.yaml' },
    /** In place of the configuration's. */
    preset: { type: 'string' },
    /** Synthetic events where not given. */
    recording: { type: 'string' },
    /** Of the synthetic events, per second and stream. */
    rate: { type: 'string', default: '20000' },
    'batch-wait': { type: 'string', default: '2' },
    /** The built command line. */
    cli: { type: 'string', default: new URL('../src/cli.js', import.meta.url).pathname },
  },
});
const streamCount = Number(options.streams);
const durationMs = 60_000 * Number(options.minutes);
/** Events are sent in packets of so much time. */
const packetMs = 5;
/** Predictions of the first seconds do not count: code is being compiled then. */
const warmUpMs = 5000;

interface Events {
  readonly width: number;
  readonly height: number;
  readonly lengthUs: number;
  readonly t: Float64Array;
  /** Words of SPIF without the time. */
  readonly words: Uint32Array;
}

async function eventsOf(path: string): Promise<Events> {
  const recording = await openRecording(path);
  const t: number[] = [];
  const words: number[] = [];
  for await (const batch of recording.batches({ order: 'sort' })) {
    for (let i = 0; i < batch.length; i++) {
      t.push(batch.tUs[i]);
      words.push(((batch.x[i] << 16) | (batch.polarity[i] << 15) | batch.y[i]) >>> 0);
    }
  }
  const first = t[0];
  const times = Float64Array.from(t, (time) => time - first);
  const lengthUs = times[times.length - 1] + 1;
  return { ...recording.sensor, lengthUs, t: times, words: Uint32Array.from(words) };
}

function synthetic(rate: number): Events {
  const [width, height] = [128, 128];
  const count = 4 * rate;
  let state = 1;
  const words = Uint32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    const [x, y] = [(state >>> 8) % width, (state >>> 16) % height];
    return ((x << 16) | ((state >>> 31) << 15) | y) >>> 0;
  });
  const t = Float64Array.from({ length: count }, (_, i) => Math.floor((i * 1e6) / rate));
  return { width, height, lengthUs: 4e6, t, words };
}

/** What packets are written into, one after the other. */
const bytes = Buffer.allocUnsafe(8 * 65_536);

/** One camera: its events again and again, in packets at their own pace. */
class Camera {
  /** When the last event of each bin was sent, and when its bin was over for the server. */
  private readonly lastMs = new Map<number, number>();
  private readonly overMs = new Map<number, number>();
  private next = 0;
  private shiftUs = 0;
  private bin = 0;
  sent = 0;
  received = 0;

  constructor(
    private readonly events: Events,
    private readonly binUs: number,
    private readonly socket: WebSocket,
    /** When its first event is due. */
    private readonly startMs: number,
    onLatency: (fromLastMs: number, fromOverMs: number) => void,
  ) {
    socket.on('message', (data) => {
      const nowMs = performance.now();
      const message = JSON.parse((data as Buffer).toString()) as { type: string; bin: number };
      if (message.type !== 'prediction') {
        if (message.type === 'error') throw new Error((data as Buffer).toString());
        return;
      }
      this.received++;
      const lastMs = this.lastMs.get(message.bin);
      if (lastMs !== undefined) onLatency(nowMs - lastMs, nowMs - this.overMs.get(message.bin)!);
      this.lastMs.delete(message.bin);
      this.overMs.delete(message.bin);
    });
  }

  /** Sends what is due. */
  send(nowMs: number): void {
    const { t, words, lengthUs } = this.events;
    const dueUs = 1e3 * (nowMs - this.startMs);
    const start = this.sent;
    let length = 0;
    while (t[this.next] + this.shiftUs <= dueUs && length < bytes.length) {
      const time = t[this.next] + this.shiftUs;
      const bin = Math.floor(time / this.binUs);
      if (bin !== this.bin) {
        for (let over = this.bin; over < bin; over++) this.overMs.set(over, nowMs);
        this.bin = bin;
      }
      this.lastMs.set(bin, nowMs);
      bytes.writeUInt32LE(words[this.next], length);
      bytes.writeUInt32LE(time % 2 ** 32, length + 4);
      length += 8;
      this.sent++;
      if (++this.next === t.length) {
        this.next = 0;
        this.shiftUs += lengthUs;
      }
    }
    if (this.sent > start) this.socket.send(Buffer.from(bytes.subarray(0, length)));
  }
}

async function startServer(checkpoint: string): Promise<{ server: ChildProcess; url: string }> {
  const { cli } = options;
  const args = ['serve', checkpoint, '--port', '0', '--json', '--no-queues'];
  // With what this process was started with, such as --cpu-prof.
  const node = [...process.execArgv, cli, ...args, '--batch-wait', options['batch-wait']];
  const server = spawn(process.execPath, node, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface(server.stdout!), 'line')) as [string];
  return { server, url: (JSON.parse(line) as { url: string }).url };
}

async function residentMegabytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/VmRSS:\s*(\d+)/.exec(status)?.[1] ?? 0) / 1024;
}

const quantile = (sorted: Float64Array, share: number): string =>
  sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))].toFixed(1);

await selectBackend('cpu');
const folder = await mkdtemp(join(tmpdir(), 'saccade-'));
const checkpoint = join(folder, 'first.safetensors');
const { preset } = options;
const experiment = await writeFirstWeights(checkpoint, options.config, preset);
const { window, bins } = experiment.preprocess;
if (window.kind !== 'time') throw new Error('expected windows of time');
const binUs = window.windowUs / bins;
const events =
  options.recording === undefined
    ? synthetic(Number(options.rate))
    : await eventsOf(options.recording);
const { server, url } = await startServer(checkpoint);
try {
  const latencies: number[] = [];
  const closing: number[] = [];
  const beginMs = performance.now() + 500;
  const cameras = await Promise.all(
    Array.from({ length: streamCount }, async (_, i) => {
      const query = `format=spif&sensor=${events.width}x${events.height}`;
      const socket = new WebSocket(
        `${url.replace('http', 'ws')}/api/streams/s${i}/events?${query}`,
      );
      await once(socket, 'open');
      // Spread over a bin: cameras do not begin at one moment.
      const startMs = beginMs + (i * binUs) / 1e3 / streamCount;
      return new Camera(events, binUs, socket, startMs, (fromLastMs, fromOverMs) => {
        if (performance.now() < beginMs + warmUpMs) return;
        latencies.push(fromLastMs);
        closing.push(fromOverMs);
      });
    }),
  );
  const memory: number[] = [];
  const sampler = setInterval(() => {
    void residentMegabytes(server.pid!).then((megabytes) => memory.push(megabytes));
  }, 1000);
  let tickMs = beginMs;
  while (performance.now() < beginMs + durationMs) {
    for (const camera of cameras) camera.send(performance.now());
    tickMs += packetMs;
    await sleep(Math.max(0, tickMs - performance.now()));
  }
  await sleep(1000);
  clearInterval(sampler);
  const { streams } = (await (await fetch(`${url}/api/streams`)).json()) as {
    streams: { events: number; bins: number; losses: Record<string, number> }[];
  };
  const { backend } = (await (await fetch(`${url}/api/model`)).json()) as { backend: string };
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const metric = (name: string): number =>
    Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(metrics)?.[1] ?? NaN);
  const sum = (numbers: number[]): number => numbers.reduce((a, b) => a + b, 0);
  const sent = sum(cameras.map((camera) => camera.sent));
  const taken = sum(streams.map((stream) => stream.events));
  const losses = sum(streams.flatMap((stream) => Object.values(stream.losses)));
  const seconds = durationMs / 1e3;
  const report = (title: string, all: number[]): void => {
    const sorted = Float64Array.from(all).sort();
    console.log(
      `${title}: p50 ${quantile(sorted, 0.5)} ms, p99 ${quantile(sorted, 0.99)} ms, p99.9 ${quantile(sorted, 0.999)} ms, most ${quantile(sorted, 1)} ms`,
    );
  };
  console.log(
    `${streamCount} streams of ${options.recording ?? 'synthetic events'}, ${options.config}${preset === undefined ? '' : ` with ${preset}`}, bins of ${(binUs / 1e3).toFixed(1)} ms, ${options.minutes} min, backend ${backend}`,
  );
  console.log(
    `${(sent / seconds).toFixed(0)} events/s sent, ${sent - taken} not taken, ${losses} lost; ${(sum(streams.map((stream) => stream.bins)) / seconds).toFixed(0)} predictions/s`,
  );
  report('last event of a bin sent → its prediction received', latencies);
  report('packet that ends a bin sent → its prediction received', closing);
  const batches = metric('saccade_batch_streams_count');
  console.log(
    `batches of ${(metric('saccade_batch_streams_sum') / batches).toFixed(1)} streams, ${((1e3 * metric('saccade_batch_seconds_sum')) / batches).toFixed(1)} ms each; ` +
      `server ${((100 * metric('process_cpu_seconds_total')) / seconds).toFixed(0)} % of a core, ` +
      `${((1e3 * metric('process_cpu_seconds_total')) / metric('saccade_bins_total')).toFixed(2)} ms of CPU a prediction`,
  );
  const thirds = [0, 1, 2].map((third) => {
    const part = memory.slice(
      Math.floor((third * memory.length) / 3),
      Math.floor(((third + 1) * memory.length) / 3),
    );
    return (sum(part) / part.length).toFixed(0);
  });
  console.log(
    `server's memory, MB resident: ${thirds.join(', ')} on average in the three thirds, at most ${Math.max(...memory).toFixed(0)}`,
  );
  for (const [minute, megabytes] of memory.filter((_, i) => i % 60 === 30).entries()) {
    console.log(`  minute ${minute + 1}: ${megabytes.toFixed(0)}`);
  }
} finally {
  server.kill('SIGTERM');
  await once(server, 'exit');
  await rm(folder, { recursive: true });
}
process.exit(0);
