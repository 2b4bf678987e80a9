import { availableParallelism, cpus } from 'node:os';

import * as tf from '@tensorflow/tfjs-core';
import Table from 'cli-table3';
import { Command } from 'commander';

import { selectBackend } from '../engine/backend.js';
import { findPyTorch } from './pytorch.js';
import { medianMs } from './timing.js';
import { works, type Work } from './works.js';

const program = new Command()
  .name('bench')
  .description('times our engine, and PyTorch beside it where it is installed')
  .argument('[works...]', `which ones; by default all: ${works.map(({ name }) => name).join(', ')}`)
  .option('--repeats <n>', 'runs of each work, of which the median counts', '5')
  .option('--threads <n>', 'threads of both sides', String(availableParallelism()))
  .option('--backend <name>', 'backend of our side', 'native')
  .option('--alone', 'leave PyTorch out')
  .parse();
const { repeats, threads, backend, alone } = program.opts<{
  repeats: string;
  threads: string;
  backend: string;
  alone?: true;
}>();
process.env.SACCADE_THREADS = threads;

const chosen =
  program.args.length === 0 ? works : works.filter(({ name }) => program.args.includes(name));
const { detail } = await selectBackend(backend);
const pytorch = alone ? undefined : findPyTorch();
console.log(`${cpus()[0].model}, ${threads} threads`);
console.log(`ours: ${backend} (${detail})`);
console.log(
  pytorch === undefined ? 'PyTorch: left out or not installed' : `PyTorch ${pytorch.version}`,
);

const table = new Table({ head: ['work', 'ours, ms', 'against', 'theirs, ms', 'ratio', 'aim'] });
for (const work of chosen) {
  const count = Number(repeats) * (work.quick === true ? 4 : 1);
  const ours = timed(work.prepare.bind(work), count);
  const theirs =
    work.instead === undefined
      ? pytorch?.time(work.name, Number(threads), Number(repeats))
      : timed(work.instead.prepare.bind(work.instead), count);
  table.push(row(work, ours, theirs));
}
console.log(table.toString());

/** Times one work and frees all that it made. */
function timed(prepare: Work['prepare'], count: number): number {
  tf.engine().startScope();
  const ms = medianMs(prepare(), count);
  tf.engine().endScope();
  tf.disposeVariables();
  return ms;
}

function row({ title, aim, instead }: Work, ours: number, theirs: number | undefined): string[] {
  const digits = (ms: number): string => ms.toPrecision(3);
  return [
    title,
    digits(ours),
    instead?.title ?? 'PyTorch',
    theirs === undefined ? '-' : digits(theirs),
    theirs === undefined ? '-' : `${(theirs / ours).toFixed(2)} ×`,
    `≥ ${aim} ×`,
  ];
}
