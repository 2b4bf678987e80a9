import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { WebSocketServer } from 'ws';

import { createRandom } from '../../../engine/support/random.js';
import { classificationReport } from '../../../models/evaluation/report.js';
import { loadPage } from '../../../workers/dashboard/files.js';
import {
  type BinMessage,
  type JobMessage,
  jobStateNames,
  type ModelMessage,
  type RunMessage,
  type StreamMessage,
} from '../../../workers/service/messages.js';
import { pageHeaders } from '../../../workers/service/security.js';

export interface FakeOptions {
  readonly classes?: readonly string[];
  readonly recordings?: readonly string[];
  readonly runs?: readonly RunMessage[];
  readonly jobs?: readonly JobMessage[];
  /** Whether a stream runs from the start. */
  readonly streaming?: boolean;
  readonly token?: string;
}

export interface FakeService {
  readonly url: string;
  /** What was asked of the interface, e.g. `POST /api/jobs/a/cancel`. */
  readonly requests: readonly string[];
  /** Breaks the connections of all who watch a stream. */
  breakConnections(): void;
  /** Answers with this status alone; normally again where it is undefined. */
  failWith(status?: number): void;
  close(): Promise<void>;
}

/** Gestures of the simulator. */
export const gestures = [
  'arm_roll',
  'hand_clap',
  'left_hand_wave',
  'right_hand_wave',
  'left_arm_circle',
  'right_arm_circle',
  'air_drums',
  'air_guitar',
];
const layers = ['embedding', 'blocks/0/attention', 'blocks/0/scan', 'blocks/0/feedForward', 'head'];
const neurons = 64;
const size = 64;
const binUs = 125_000;
const intervalMs = 60;

/**
 * Serves the page, and behind it a service whose streams, runs and jobs are made up: what a real one cannot be brought
 * to at will, such as hostile names, failures and broken connections.
 */
export async function startFakeService({
  classes = gestures,
  recordings = ['arm_roll/subject01_1.es', 'hand_clap/subject02_1.es'],
  runs = [exampleRun('gestures-nano', 20, 1), exampleRun('gestures-linear', 14, 2)],
  jobs: firstJobs = exampleJobs(),
  streaming = true,
  token,
}: FakeOptions = {}): Promise<FakeService> {
  const page = await loadPage('workers/dashboard/page');
  const requests: string[] = [];
  let failure: number | undefined;
  const streams: StreamMessage[] = streaming ? [exampleStream('s1', recordings[0] ?? '')] : [];
  const jobs = firstJobs.map((job) => ({ ...job }));

  const routes: Record<string, (id: string, body: Body) => unknown> = {
    'GET model': () => exampleModel(classes),
    'GET streams': () => ({ streams }),
    'POST streams': (_, { source }) => {
      streams.push(exampleStream(`s${streams.length + 1}`, source!.file));
      return { id: streams.at(-1)!.id };
    },
    'DELETE streams': (id) => {
      streams.splice(
        streams.findIndex((stream) => stream.id === id),
        1,
      );
      for (const socket of sockets.clients) {
        socket.send(
          JSON.stringify({ type: 'end', state: 'ended', report: exampleStream(id, id, 'ended') }),
        );
      }
      return {};
    },
    'GET recordings': () => ({
      available: true,
      recordings: recordings.map((file) => ({ file, bytes: 1000 })),
      truncated: false,
    }),
    'GET runs': (id) =>
      id === ''
        ? { available: true, runs: runs.map(summaryOf), truncated: false }
        : runs.find((run) => run.id === id),
    'GET queues': () => ({ available: true, store: 'embedded', queues: countsOf(jobs) }),
    'GET jobs': () => ({ available: true, jobs }),
    'GET jobs/logs': (id) => ({ lines: [`${id}: epoch 11, validation accuracy 81.3 %`] }),
    'POST jobs/cancel': (id) => {
      Object.assign(
        jobs.find((job) => job.id === id)!,
        { state: 'dead', cancelled: true },
      );
      return { outcome: 'stopping' };
    },
    'POST jobs/retry': (id) => {
      Object.assign(
        jobs.find((job) => job.id === id)!,
        { state: 'waiting', reason: null },
      );
      return { outcome: 'waiting' };
    },
  };

  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url!, 'http://localhost');
    if (!pathname.startsWith('/api/')) {
      const file = page.get(pathname);
      const type = file?.type ?? 'text/plain';
      response.writeHead(file ? 200 : 404, { ...pageHeaders, 'content-type': type });
      response.end(file?.body);
      return;
    }
    requests.push(`${request.method} ${pathname}`);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const [kind, id = '', action] = pathname.split('/').slice(2).map(decodeURIComponent);
    const route = routes[`${request.method} ${[kind, action].filter(Boolean).join('/')}`];
    const allowed = token === undefined || request.headers.authorization === `Bearer ${token}`;
    const value =
      failure === undefined && allowed
        ? route?.(id, JSON.parse(Buffer.concat(chunks).toString() || '{}') as Body)
        : undefined;
    const status = !allowed ? 401 : (failure ?? (value === undefined ? 404 : 200));
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify(value ?? { error: { kind: 'fake', message: `made to fail, ${status}` } }),
    );
  });

  const sockets = new WebSocketServer({ server, handleProtocols: () => 'saccade' });
  sockets.on('connection', (socket) => {
    let bin = 0;
    const send = (): void => socket.send(JSON.stringify(exampleBin(bin++, classes)));
    // As of a stream that has been running for a while.
    while (bin < 170) send();
    const timer = setInterval(send, intervalMs);
    socket.on('close', () => clearInterval(timer));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    requests,
    breakConnections: () => sockets.clients.forEach((client) => client.terminate()),
    failWith: (status) => (failure = status),
    async close() {
      sockets.clients.forEach((client) => client.terminate());
      sockets.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Body {
  readonly source?: { readonly file: string };
}

function exampleModel(classes: readonly string[]): ModelMessage {
  return {
    name: 'gestures',
    kind: 'spikmamba',
    preset: 'nano',
    classes: [...classes],
    synthetic: true,
    input: { bins: 12, channels: 2, height: 32, width: 32 },
    windowUs: 12 * binUs,
    binUs,
    backend: 'native',
    layers: layers.map((path, i) => ({ path, neurons: 768 * (i + 1), sampled: neurons })),
  };
}

function exampleStream(
  id: string,
  from: string,
  state: StreamMessage['state'] = 'running',
): StreamMessage {
  return {
    id,
    source: 'replay',
    from,
    state,
    sensor: { width: size, height: size },
    createdMs: Date.now(),
    events: 120_000,
    eventsPerSecond: 7500,
    bins: 128,
    backlog: 0,
    watchers: 1,
    prediction: null,
    confidence: null,
    decided: null,
    losses: {
      lateEvents: 12,
      jumps: 0,
      droppedEvents: 0,
      droppedDatagrams: 0,
      outsideSensor: 0,
      damages: 0,
      skippedMessages: 0,
    },
    options: { smoothing: 0.4, confidence: 0.9, patience: 2, restartBins: 0 },
  };
}

/** A limb that turns, and a prediction that follows it. */
function exampleBin(bin: number, classes: readonly string[]): BinMessage {
  const random = createRandom(7, 'bin', bin);
  const phase = bin / 9;
  const [on, off] = [new Uint8Array(size * size), new Uint8Array(size * size)];
  const put = (counts: Uint8Array, x: number, y: number): void => {
    const inside = (value: number): number => Math.min(size - 1, Math.max(0, Math.round(value)));
    counts[inside(y) * size + inside(x)]++;
  };
  for (let i = 0; i < 900; i++) {
    const [angle, width] = [2 * Math.PI * random.uniform(), 5 * random.uniform()];
    const along = 6 + 18 * random.uniform();
    const leading = Math.cos(angle - phase - Math.PI / 2) > 0;
    put(
      leading ? on : off,
      size / 2 + along * Math.cos(phase) + width * Math.cos(angle),
      size / 2 + along * Math.sin(phase) + width * Math.sin(angle),
    );
  }
  for (let i = 0; i < 40; i++) (i % 2 ? on : off)[random.integer(size * size)]++;

  const favourite = Math.floor(bin / 60) % Math.min(3, classes.length);
  const softmax = (noise: number): number[] => {
    const scores = classes.map((_, c) =>
      Math.exp(
        (c === favourite ? Math.min(4, ((bin % 60) + 4) / 5) : 0) +
          0.7 * Math.sin(bin / 7 + 2 * c) +
          noise * random.uniform(),
      ),
    );
    const sum = scores.reduce((total, score) => total + score, 0);
    return scores.map((score) => score / sum);
  };
  const [probabilities, smoothed] = [softmax(1.5), softmax(0)];
  const prediction = classes[smoothed.indexOf(Math.max(...smoothed))];
  const rates: Record<string, number> = {};
  const raster: Record<string, string> = {};
  layers.forEach((layer, l) => {
    rates[layer] = (0.05 + 0.04 * l) * (1 + 0.4 * Math.sin(bin / 11 + l));
    const bits = new Uint8Array(neurons / 8);
    for (let n = 0; n < neurons; n++) {
      const share = rates[layer] * (0.2 + 1.6 * (((37 * n + 11 * l) % neurons) / neurons));
      if (random.uniform() < share) bits[n >> 3] |= 1 << (n & 7);
    }
    raster[layer] = Buffer.from(bits).toString('base64');
  });
  const image = (counts: Uint8Array): string => Buffer.from(counts).toString('base64');
  return {
    type: 'bin',
    bin,
    startUs: bin * binUs,
    endUs: (bin + 1) * binUs,
    events: 940,
    frames: bin + 1,
    image: { width: size, height: size, on: image(on), off: image(off) },
    prediction,
    probabilities,
    smoothed,
    decided:
      bin % 60 > 20
        ? { class: prediction, bin: bin - (bin % 60) + 20, confidence: 0.91 }
        : undefined,
    rates,
    raster,
    skipped: 0,
    computed: true,
    latencyMs: 7 + 3 * random.uniform() + (random.uniform() < 0.02 ? 12 : 0),
  };
}

export function exampleRun(
  id: string,
  epochs: number,
  seed: number,
  classes: readonly string[] = gestures,
): RunMessage {
  const random = createRandom(seed, 'run');
  const history = Array.from({ length: epochs }, (_, e) => ({
    epoch: e + 1,
    step: 18 * (e + 1),
    trainingLoss: 2.1 * Math.exp(-e / 7) + 0.1 * random.uniform(),
    validationLoss: 2.1 * Math.exp(-e / 9) + 0.2 + 0.15 * random.uniform(),
    validationAccuracy: 0.125 + 0.75 * (1 - Math.exp(-e / 5)) + 0.05 * random.uniform(),
    learningRate: 0.004 * (1 - e / epochs),
    gradientNorm: 1 + random.uniform(),
    firingRates: {},
  }));
  const confusion = classes.map((_, t) =>
    classes.map((_, p) => (t === p ? 4 + random.integer(3) : random.uniform() < 0.12 ? 1 : 0)),
  );
  const report = classificationReport(confusion, classes);
  return {
    id,
    config: {
      name: 'gestures',
      seed,
      dataset: 'gestures',
      representation: 'histogram',
      input: { bins: 12, height: 32, width: 32 },
      model: { kind: 'spikmamba', preset: 'nano' },
      training: { epochs: 20, batchSize: 8, learningRate: 0.004 },
    },
    classes: [...classes],
    synthetic: true,
    history,
    evaluations: [
      {
        part: 'test',
        looks: 1,
        loss: 0.52,
        accuracy: report.accuracy.value,
        accuracyInterval: [...report.accuracy.interval95!],
        balancedAccuracy: report.balancedAccuracy,
        classes: report.classes.map((row) => ({ ...row })),
        confusion,
      },
    ],
  };
}

function summaryOf({ id, config, history, classes, synthetic }: RunMessage): unknown {
  return {
    id,
    name: config.name,
    model: 'spikmamba nano',
    classes: classes.length,
    synthetic,
    epochs: history.length,
    totalEpochs: 20,
    bestAccuracy: Math.max(...history.map(({ validationAccuracy }) => validationAccuracy!)),
    modifiedMs: Date.UTC(2026, 0, 5, 14, 30),
  };
}

function exampleJobs(): JobMessage[] {
  const minutesAgo = (minutes: number): number => Date.now() - 60_000 * minutes;
  const job = (
    kind: string,
    queue: string,
    state: JobMessage['state'],
    more: Partial<JobMessage> = {},
  ): JobMessage => ({
    id: `${kind}-${createRandom(1, kind, state).integer(0xffffffff).toString(16).padStart(8, '0')}`,
    queue,
    kind,
    state,
    data: { folder: 'runs/gestures' },
    progress: null,
    attempts: 0,
    reason: null,
    result: null,
    cancelled: false,
    submittedMs: minutesAgo(12),
    startedMs: null,
    endedMs: null,
    ...more,
  });
  return [
    job('train', 'train', 'active', {
      progress: { phase: 'train', done: 214, total: 360, info: 'epoch 12, loss 0.641' },
      startedMs: minutesAgo(4),
    }),
    job('prepare', 'ingest', 'active', {
      progress: { phase: 'prepare', done: 31, total: 96 },
      startedMs: minutesAgo(1),
    }),
    job('evaluate', 'evaluate', 'blocked'),
    job('convert', 'ingest', 'waiting'),
    job('infer', 'infer', 'dead', {
      reason: 'walk.aedat, offset 18,220: expected an event, found the end of the file',
      attempts: 5,
      startedMs: minutesAgo(9),
      endedMs: minutesAgo(8),
    }),
    job('index', 'ingest', 'done', { startedMs: minutesAgo(11), endedMs: minutesAgo(10) }),
  ];
}

function countsOf(jobs: readonly JobMessage[]): unknown {
  const queues = ['ingest', 'train', 'evaluate', 'infer'];
  const row = (queue: string): unknown =>
    Object.fromEntries(
      jobStateNames.map((state) => [
        state,
        jobs.filter((job) => job.queue === queue && job.state === state).length,
      ]),
    );
  return Object.fromEntries(queues.map((queue) => [queue, row(queue)]));
}
