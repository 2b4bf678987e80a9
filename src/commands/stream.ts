import { SaccadeError } from '../../engine/support/errors.js';
import { deriveRecording } from '../../ingest/derivedRecording.js';
import type { Recording } from '../../ingest/recording.js';
import { record } from '../../ingest/sources/index.js';
import { totalWork, type Work } from '../../models/context.js';
import type { DeltaUnit } from '../../models/runtime/deltaModel.js';
import type { LoadedModel } from '../../workers/runs.js';
import type { BinPrediction } from '../../workers/stream.js';
import { backendOption, deltaUnitOption, exitOption } from '../experimentOptions.js';
import { type InputOptions, openInput, warnOfDamage, workSignal } from '../input.js';
import { type CommandIo, grouped, note, print, type RegisterCommand } from '../io.js';
import {
  addressHelp,
  examples,
  formatOption,
  integerBetween,
  jsonOption,
  numberBetween,
  sensorOption,
  sourceOptions,
} from '../options.js';
import { checkOutput } from '../output.js';
import { windowLine } from './infer.js';

interface Options extends Omit<InputOptions, 'index' | 'layout'> {
  readonly record?: string;
  readonly every?: boolean;
  readonly exit?: boolean;
  readonly delta?: number;
  readonly deltaUnit?: DeltaUnit;
  readonly restart?: number;
  readonly backend?: string;
  readonly json?: boolean;
}

export const registerStream: RegisterCommand = (program, io) => {
  const command = program
    .command('stream')
    .summary('recognise an action while it happens')
    .description(
      'Reads events as they come, runs the model once per time bin with the state of all bins before, and ' +
        'prints the prediction whenever it changes. Memory stays bounded however long the stream. A prediction ' +
        'is drawn from all bins since the start, so give --restart for streams without end. Ctrl-C ends a live source. With ' +
        '--json: one JSON document a line and bin, {bin, startUs, endUs, events, prediction, ' +
        'probabilities, frames}. With --exit, each clip (--restart, by default as long as in training) is decided as soon ' +
        'as the model is sure, which does not run for what is left of it; one line a clip, and decidedBins in JSON. With --delta, JSON has work: {macs, denseMacs}, the ' +
        'multiply-accumulates that were made in the bin and that would have been.',
    )
    .argument('<checkpoint>', 'checkpoint (.safetensors) or run folder of a causal model')
    .argument('<source>', 'recording, - for standard input, or an address')
    .option('--every', 'print every bin, not only changes')
    .option(
      '--restart <bins>',
      'forget all that was before after so many bins (default: never)',
      integerBetween(1, 1_000_000_000),
    )
    .addOption(exitOption())
    .option(
      '--delta <theta>',
      'compute products only where their input has changed by more than this; 0 is exact',
      numberBetween(0, Number.MAX_SAFE_INTEGER),
    )
    .addOption(deltaUnitOption())
    .option('--record <file>', 'write the events on their way; what came is kept however it ends')
    .addOption(
      formatOption('--format <name>', 'format of the source (default: told from its content)', {
        wire: true,
      }),
    )
    .addOption(sensorOption())
    .addOption(backendOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade stream runs/gestures wave.es', 'a recording, bin by bin'],
        [
          'camera | saccade stream runs/gestures - --format es --restart 24',
          'a live stream, beginning anew after 24 bins',
        ],
        [
          "saccade stream runs/gestures 'ws://localhost:8080/events?format=es' --drop oldest --record today.es",
          'the latest events, and all that were taken in a file',
        ],
        ['saccade stream runs/gestures wave.es --speed 1', 'a recording in real time'],
        [
          'saccade stream runs/gestures wave.es --delta 0',
          'the same predictions, and what need not be computed',
        ],
        [
          'saccade stream runs/gestures wave.es --exit',
          'answers as early as it can (see `calibrate`)',
        ],
      ),
    )
    .addHelpText('after', addressHelp);
  for (const option of sourceOptions()) command.addOption(option);
  command.action(async (checkpoint: string, source: string, options: Options) => {
    const { backend, record: file, delta, deltaUnit } = options;
    if (deltaUnit !== undefined && delta === undefined) {
      throw new SaccadeError('usage', 'needs --delta', { field: '--delta-unit' });
    }
    if (file !== undefined) await checkOutput(file, source);
    const [{ selectBackend }, { loadModel }] = await Promise.all([
      import('../../engine/backend.js'),
      import('../../workers/runs.js'),
    ]);
    await selectBackend(backend);
    const loaded = await loadModel(checkpoint);
    const opened = await openInput(io, source, options);
    const recording = file === undefined ? opened : recorded(opened, file);
    await runStream(io, loaded, recording, options, workSignal(io, source));
  });
};

/** The same recording, written to a file on its way. */
function recorded(recording: Recording, path: string): Recording {
  const { sensor } = recording;
  return deriveRecording(recording, (read) =>
    record(recording.batches({ ...read, reuse: false }), path, { sensor }),
  );
}

/** Drops are told while they happen, at most this often. */
const dropNoteMs = 5000;

/** Call it now and then: it says how many events were dropped so far, where there are more. */
function dropNotes(io: CommandIo, recording: Recording): () => void {
  let told = 0;
  let toldMs = -Infinity;
  return () => {
    const count = recording.report.skipped.droppedEvents ?? 0;
    const nowMs = performance.now();
    if (count === told || nowMs - toldMs < dropNoteMs) return;
    [told, toldMs] = [count, nowMs];
    note(io, `${grouped(count)} events dropped so far`);
  };
}

type StreamChoices = Pick<Options, 'every' | 'restart' | 'exit' | 'delta' | 'deltaUnit' | 'json'>;

/** Streams a recording through a model and prints what it recognises. */
export async function runStream(
  io: CommandIo,
  loaded: LoadedModel,
  recording: Recording,
  { every, restart, exit, delta, deltaUnit, json }: StreamChoices,
  signal = io.signal,
): Promise<BinPrediction | undefined> {
  const [{ streamPredictions }, { readExit }] = await Promise.all([
    import('../../workers/stream.js'),
    import('../../workers/exit.js'),
  ]);
  const { classes } = loaded;
  const report = { lateEvents: 0, jumps: 0 };
  const predictions = streamPredictions(loaded, recording.batches({ signal }), {
    restartBins: restart,
    exit: exit === true ? await readExit(loaded) : undefined,
    delta: delta === undefined ? undefined : { threshold: delta, unit: deltaUnit },
    report,
  });
  let last: BinPrediction | undefined;
  const drops = dropNotes(io, recording);
  const spent = { clips: 0, bins: 0 };
  let work: Work = { macs: 0, denseMacs: 0 };
  for await (const bin of predictions) {
    drops();
    const { decidedBins } = bin;
    if (bin.work !== undefined) work = totalWork([work, bin.work]);
    const isDecision = decidedBins !== undefined && isNewDecision(bin, last);
    if (isDecision) {
      spent.clips++;
      spent.bins += decidedBins;
    }
    const isNews = exit === true ? isDecision : bin.prediction !== last?.prediction;
    if (json) {
      print(io, JSON.stringify({ ...bin, prediction: classes[bin.prediction] }));
    } else if (every || isNews) {
      print(io, windowLine(bin, classes));
    }
    last = bin;
  }
  if (!json) {
    const end = last === undefined ? 'no events' : classes[last.prediction];
    print(io, `end of ${recording.path} after ${(last?.bin ?? -1) + 1} bins: ${end}`);
  }
  if (!json && spent.clips > 0) {
    const mean = (spent.bins / spent.clips).toFixed(2);
    print(io, `${grouped(spent.clips)} clips decided after ${mean} bins on average`);
  }
  if (!json && work.denseMacs > 0) {
    const saved = (100 * (1 - work.macs / work.denseMacs)).toFixed(1);
    print(
      io,
      `${grouped(work.macs)} of ${grouped(work.denseMacs)} multiply-accumulates of real values made: ${saved} % saved`,
    );
  }
  if (report.lateEvents > 0) {
    note(io, `warning: ${grouped(report.lateEvents)} events came after their bin was closed`);
  }
  if (report.jumps > 0) {
    note(io, `warning: the time jumped ${grouped(report.jumps)} times; the state began anew there`);
  }
  warnOfDamage(io, recording);
  return last;
}

/** Whether a clip was decided by this bin, rather than before it. */
function isNewDecision(
  { decidedBins, probabilities }: BinPrediction,
  last?: BinPrediction,
): boolean {
  return decidedBins !== undefined && last?.probabilities !== probabilities;
}
