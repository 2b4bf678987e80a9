/**
 * Several GPUs of one host: NCCL's results, and training with a part of every batch on each, compared with training on
 * one. Writes one JSON document to standard output.
 *
 *     node nccl.mjs [GPUs]
 *     SACCADE_BACKEND=native node nccl.mjs 2    the script itself, where there is no GPU
 */
import { spawn, spawnSync } from 'node:child_process';
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import * as tf from '@tensorflow/tfjs-core';

import { selectBackend } from '../../engine/backend.js';
import type { CudaBackend } from '../../engine/cuda/backend.js';
import { NcclTransport } from '../../engine/cuda/nccl.js';
import { createRandom } from '../../engine/support/random.js';
import { TcpTransport } from '../../engine/transport/tcpTransport.js';
import type { Transport } from '../../engine/transport/transport.js';
import { flatten, Initialiser } from '../../models/parameters.js';
import { smoothTargets } from '../../models/training/loss.js';
import {
  createTrainingStep,
  disposeTraining,
  startTraining,
  trainingStep,
} from '../../models/training/step.js';
import { modelFor, stepSettings } from './steps.js';

const classes = 11;

interface Run {
  readonly model: object;
  /** Clips on all GPUs together, or, with `each`, on every one. */
  readonly batch: number;
  readonly each?: boolean;
  readonly bins: number;
  readonly size: number;
  readonly steps: number;
  readonly recorded?: boolean;
  /** Normalise by the statistics of the whole batch. */
  readonly together?: boolean;
}

const nano: Run = {
  model: { kind: 'spikmamba', preset: 'nano' },
  batch: 12,
  bins: 4,
  size: 32,
  steps: 20,
};
const small: Run = {
  model: { kind: 'spikmamba', preset: 'small' },
  batch: 32,
  each: true,
  bins: 16,
  size: 128,
  steps: 20,
  recorded: true,
};
const runs: Readonly<Record<string, Run>> = {
  linear: { ...nano, model: { kind: 'linear' } },
  nano,
  nanoTogether: { ...nano, together: true },
  nanoRecorded: { ...nano, recorded: true },
  nanoTogetherRecorded: { ...nano, recorded: true, together: true },
  small,
  smallTogether: { ...small, together: true },
};

/** Losses of a run on this process's part of the batches, and how long a step takes. */
function train(run: Run, transport: Transport | undefined): object {
  const config = { ...stepSettings, synchroniseStatistics: run.together };
  const { rank, world } = transport ?? { rank: 0, world: 1 };
  const { bins, size, recorded = false, each = false } = run;
  const whole = each ? run.batch * world : run.batch;
  const model = modelFor(run.model, { bins, size }, classes);
  const random = createRandom(3, 'clips');
  const pixels = bins * 2 * size * size;
  const own = whole / world;
  const values = new Float32Array(own * pixels);
  for (let i = 0; i < whole * pixels; i++) {
    // All are drawn, so that each process has its part of the same.
    const event = random.uniform() < 0.1 ? 1 : 0;
    const at = i - rank * own * pixels;
    if (at >= 0 && at < values.length) values[at] = event;
  }
  const input = tf.tensor(values, [own, bins, 2, size, size]);
  const labels = Array.from({ length: own }, (_, i) => (rank * own + i) % classes);
  const targets = tf.tensor(smoothTargets(labels, classes, 0.1), [own, classes]);
  let state = startTraining(flatten(model.initialise(new Initialiser(1)) as never));
  const steps = createTrainingStep(model, transport);
  const losses: number[] = [];
  const times: number[] = [];
  for (let i = 0; i < run.steps; i++) {
    const start = performance.now();
    const result = recorded
      ? steps.step(state, input, targets, config)
      : trainingStep(model, state, input, targets, config, transport);
    ({ state } = result);
    times.push(performance.now() - start);
    losses.push(result.loss);
  }
  const sum = [...state.leaves.values()].reduce((total, x) => total + (x.dataSync() as Float32Array).reduce((a, b) => a + b, 0), 0); // prettier-ignore
  // The weights must be the same bits everywhere.
  const sameWeights = transport === undefined || !transport.any(transport.shareText(String(sum)) !== String(sum)); // prettier-ignore
  const median = times.slice(5).sort((a, b) => a - b)[Math.floor((times.length - 5) / 2)];
  const { notRecorded } = steps;
  steps.dispose();
  disposeTraining(state);
  tf.dispose([input, targets]);
  return {
    first: losses[0],
    last: losses.at(-1),
    losses,
    milliseconds: median,
    clipsPerSecond: (1000 * whole) / median,
    sameWeights,
    notRecorded,
  };
}

/** Sums and means of arrays of several lengths, and how fast long ones go. */
function reduce(transport: Transport, backend: CudaBackend): object {
  const { rank, world } = transport;
  const wrong: string[] = [];
  for (const lengths of [[1], [3, 0, 1000], [1 << 20], [(1 << 22) + 1, 7]]) {
    for (const operation of ['sum', 'mean'] as const) {
      tf.tidy(() => {
        const values = lengths.map((length) =>
          tf.add(tf.mod(tf.range(0, Math.max(length, 1)).slice(0, length), 17), rank),
        );
        const results = transport.reduce(values, operation).finish();
        results.forEach((result, i) => {
          const total = lengths[i] === 0 ? [] : result.dataSync();
          for (let k = 0; k < total.length; k++) {
            const expected = world * (k % 17) + (world * (world - 1)) / 2;
            const wanted = operation === 'sum' ? expected : expected / world;
            if (Math.abs(total[k] - wanted) > 1e-5 * Math.abs(wanted) + 1e-6) {
              wrong.push(`${operation} of ${lengths[i]}: ${total[k]} at ${k}, not ${wanted}`);
              break;
            }
          }
        });
      });
    }
  }
  const spread = tf.tidy(() => [...transport.broadcast([tf.tensor1d([rank, 5])])[0].dataSync()]);
  if (transport instanceof TcpTransport) return { wrong, spread };
  const length = 1 << 24;
  const values = tf.ones([length]);
  const once = (): void => tf.dispose(transport.reduce([values], 'sum').finish());
  for (let i = 0; i < 3; i++) once();
  const milliseconds = Array.from({ length: 10 }, () => backend.driver.time(once)).sort((a, b) => a - b)[5]; // prettier-ignore
  values.dispose();
  return {
    wrong,
    spread,
    milliseconds64MiB: milliseconds,
    // Bytes that each GPU must send, of the best algorithm.
    busGigabytesPerSecond: (4 * length * 2 * (world - 1)) / world / milliseconds / 1e6,
  };
}

async function child(rank: number, world: number, port: number): Promise<void> {
  const report: Record<string, unknown> = { world };
  const attempt = (name: string, work: () => unknown): void => {
    writeSync(2, `${(performance.now() / 1000).toFixed(1)} ${rank}/${world} ${name}\n`);
    try {
      report[name] = work();
    } catch (error) {
      report[name] = { error: String((error as Error).stack).slice(0, 1500) };
    }
  };
  try {
    const { name: live, detail } = await selectBackend(process.env.SACCADE_BACKEND ?? 'cuda');
    const backend = tf.backend() as unknown as CudaBackend;
    const place = { rank, world, host: '127.0.0.1', port };
    const transport =
      live === 'cuda' ? await NcclTransport.open(backend, place) : await TcpTransport.open(place);
    report.device = detail;
    report.nccl = transport instanceof NcclTransport ? transport.version : 'none';
    attempt('reduce', () => reduce(transport, backend));
    for (const [name, run] of Object.entries(runs)) attempt(name, () => train(run, transport));
    if (world === 1) {
      for (const name of ['nanoRecorded', 'small']) {
        attempt(`${name} without NCCL`, () => train(runs[name], undefined));
      }
    }
    report.fallbacks = Object.fromEntries(backend.fallbacks ?? []);
    await transport.close();
  } catch (error) {
    report.error = String((error as Error).stack).slice(0, 1500);
  }
  if (rank === 0 || report.error !== undefined) writeSync(1, `${JSON.stringify(report)}\n`);
  process.exit(report.error === undefined ? 0 : 1);
}

/** Runs this script on so many GPUs, and gives what the processes say. */
async function group(world: number, port: number, seconds: number): Promise<unknown> {
  const texts: string[] = [];
  const codes = await Promise.all(
    Array.from({ length: world }, (_, rank) => {
      const process_ = spawn(
        process.execPath,
        [fileURLToPath(import.meta.url), 'child', `${rank}`, `${world}`, `${port}`],
        {
          stdio: ['ignore', 'pipe', 'inherit'],
          env: { ...process.env, CUDA_VISIBLE_DEVICES: String(rank) },
          timeout: 1000 * seconds,
          killSignal: 'SIGKILL',
        },
      );
      process_.stdout.setEncoding('utf8').on('data', (text: string) => texts.push(text));
      return new Promise((resolve) => process_.once('close', (code, signal) => resolve(code ?? signal))); // prettier-ignore
    }),
  );
  const lines = texts.join('').split('\n').filter((line) => line.startsWith('{')); // prettier-ignore
  return { codes, reports: lines.map((line) => JSON.parse(line) as unknown) };
}

/** Where Python's packages have NCCL, if it is nowhere else. */
function findNccl(): void {
  const code = 'import nvidia.nccl as n; print(list(n.__path__)[0])';
  const found = spawnSync('python3', ['-c', code], { encoding: 'utf8' }).stdout?.trim();
  if (!found) return;
  const before = process.env.SACCADE_CUDA_LIBRARIES;
  process.env.SACCADE_CUDA_LIBRARIES = [before, join(found, 'lib')].filter(Boolean).join(':');
}

const [mode, ...places] = process.argv.slice(2);
if (mode === 'child') {
  const [rank, world, port] = places.map(Number);
  await child(rank, world, port);
} else {
  findNccl();
  const listed = spawnSync('nvidia-smi', ['-L'], { encoding: 'utf8' }).stdout ?? '';
  const gpus = mode === undefined ? Math.max(1, listed.split('\n').filter(Boolean).length) : Number(mode); // prettier-ignore
  const report: Record<string, unknown> = { gpus };
  report.one = await group(1, 29_511, 55);
  if (gpus > 1) report.all = await group(gpus, 29_512, 35);
  const losses = (part: unknown, name: string): number[] => {
    const { reports } = (part ?? { reports: [] }) as { reports: Record<string, { losses?: number[] }>[] }; // prettier-ignore
    return reports[0]?.[name]?.losses ?? [];
  };
  report.differences = Object.fromEntries(
    Object.keys(runs).map((name) => {
      const [a, b] = [losses(report.one, name), losses(report.all, name)];
      // `linear` has no batch statistics, and `together` they are those of all: rounding alone, until a spike is another.
      // `small` has more clips on more GPUs.
      return [name, a.reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] ?? NaN))), 0)];
    }),
  );
  writeSync(1, `${JSON.stringify(report)}\n`);
}
