import { availableParallelism, cpus } from 'node:os';

import * as tf from '@tensorflow/tfjs-core';
import Table from 'cli-table3';
import { Command } from 'commander';

import { selectBackend } from '../engine/backend.js';
import { findPyTorch } from './pytorch.js';
import { durationsMs, median } from './timing.js';
import { works, type Work } from './works.js';

const program = new Command()
  .name('bench')
  .description('times our engine, and PyTorch beside it where it is installed')
  .argument('[works...]', `which ones; by default all: ${works.map(({ name }) => name).join(', ')}`)
  .option('--rounds <n>', 'turns of either side, one after the other', '5')
  .option('--repeats <n>', 'runs in each turn (quick works: four times as many)', '3')
  .option('--threads <n>', 'threads of both sides', String(availableParallelism()))
  .option('--backend <name>', 'backend of our side', 'native')
  .option('--alone', 'leave PyTorch out')
  .parse();
const { rounds, repeats, threads, backend, alone } = program.opts<{
  rounds: string;
  repeats: string;
  threads: string;
  backend: string;
  alone?: true;
}>();
process.env.SACCADE_THREADS = threads;

const chosen =
  program.args.length === 0 ? works : works.filter(({ name }) => program.args.includes(name));
const { detail } = await selectBackend(backend);
const pytorch = alone ? undefined : await findPyTorch(Number(threads));
console.log(`${cpus()[0].model}, ${threads} threads`);
console.log(`ours: ${backend} (${detail})`);
console.log(`PyTorch: ${pytorch?.description ?? 'left out or not installed'}`);

const table = new Table({
  head: ['work', 'ours, ms (best)', 'against', 'theirs, ms (best)', 'ratio', 'of the best', 'aim'],
});
for (const work of chosen) table.push(await row(work));
console.log(table.toString());
pytorch?.close();

/** Times of both sides, by turns: what else the machine does then falls on both. */
async function timed(work: Work): Promise<{ ours: number[][]; theirs: number[][] }> {
  const count = Number(repeats) * (work.quick === true ? 4 : 1);
  const ours: number[][] = [];
  const theirs: number[][] = [];
  tf.engine().startScope();
  const run = work.prepare();
  const instead = work.instead?.prepare();
  for (let round = 0; round < Number(rounds); round++) {
    ours.push(durationsMs(run, count));
    if (instead !== undefined) theirs.push(durationsMs(instead, count));
    else if (pytorch !== undefined) theirs.push(await pytorch.time(work.name, count));
  }
  tf.engine().endScope();
  tf.disposeVariables();
  return { ours, theirs };
}

async function row(work: Work): Promise<string[]> {
  const { title, aim, instead } = work;
  const { ours, theirs } = await timed(work);
  const best = (ms: number[][]): number => Math.min(...ms.flat());
  const digits = (ms: number[][]): string =>
    ms.length === 0 ? '-' : `${median(ms.flat()).toPrecision(3)} (${best(ms).toPrecision(3)})`;
  const times = (ratio: number): string => (theirs.length === 0 ? '-' : `${ratio.toFixed(2)} ×`);
  return [
    title,
    digits(ours),
    instead?.title ?? 'PyTorch',
    digits(theirs),
    times(median(theirs.map((ms, i) => median(ms) / median(ours[i])))),
    times(best(theirs) / best(ours)),
    `≥ ${aim} ×`,
  ];
}
