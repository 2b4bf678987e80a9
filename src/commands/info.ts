import { basename } from 'node:path';
import { EventRateCounter } from '../../ingest/eventRate.js';
import { isSynthetic, originFile } from '../../ingest/simulator/origin.js';
import { type Recording, type RecordingSummary, summarise } from '../../ingest/recording.js';
import { damageFields, type InputOptions, openInput, warnOfDamage } from '../input.js';
import { grouped, listing, print, printJson, type RegisterCommand, terminalOf } from '../io.js';
import {
  addressHelp,
  examples,
  formatOption,
  jsonOption,
  type LayoutChoice,
  layoutInput,
  layoutOptions,
  sensorOption,
  sourceOptions,
} from '../options.js';
import { ratePlot } from '../ratePlot.js';

interface Options extends InputOptions, LayoutChoice {
  readonly json?: boolean;
}

export const registerInfo: RegisterCommand = (program, io) => {
  const command = program
    .command('info')
    .summary('say what a recording holds')
    .description(
      'Reads a whole recording and says what it holds, with its rate over time. Of a damaged one, it counts what is readable and ' +
        'lists the damage; that is no failure. With --json: {format, width, height, events, tFirstUs, ' +
        'tLastUs, onEvents, offEvents, backwardSteps, sensorFrom, synthetic, damageCount, damages, skipped, ' +
        'rate: {fromUs, intervalUs, counts}}.',
    )
    .argument('<file>', 'recording, - for standard input, or an address')
    .addOption(
      formatOption('--format <name>', 'format of the file (default: told from its content)', {
        wire: true,
      }),
    )
    .addOption(sensorOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade info walk.aedat', 'format, size, counts and times'],
        ['saccade info events.csv --sensor 346x260 --json', 'for machines'],
        [
          "saccade info 'tcp://192.168.1.20:7777?format=dv'",
          'what a live camera sends, until Ctrl-C',
        ],
      ),
    )
    .addHelpText('after', addressHelp);
  for (const option of [...layoutOptions(), ...sourceOptions()]) command.addOption(option);
  command.action(async (file: string, options: Options) => {
    const recording = await openInput(io, file, {
      ...options,
      ...layoutInput(options, options.format),
    });
    const counter = new EventRateCounter();
    // A live source ends by itself on Ctrl-C.
    const summary = await summarise(recording, {
      signal: io.signal,
      onBatch: (batch) => counter.add(batch),
    });
    const { path, sensorFrom, report } = recording;
    const synthetic = await isSynthetic(path);
    const rate = counter.rate() ?? null;
    if (options.json) {
      printJson(io, { ...summary, sensorFrom, synthetic, ...damageFields(report), rate });
    } else {
      print(io, ...describe(recording, summary, synthetic));
      if (rate !== null) print(io, '', ...ratePlot(rate, terminalOf(io)));
    }
    warnOfDamage(io, recording);
  });
};

function describe(
  { path, format, sensorFrom, report }: Recording,
  summary: RecordingSummary,
  synthetic: boolean,
): string[] {
  const { width, height, events, tFirstUs, tLastUs, onEvents, backwardSteps } = summary;
  const origin = { file: 'stated by the file', inferred: 'inferred', option: 'as given' };
  const rows: [string, string][] = [
    ['format', `${format.name} (${format.title})`],
    ['sensor', `${width}x${height} (${origin[sensorFrom]})`],
    ['events', grouped(events)],
  ];
  if (synthetic) rows.push(['origin', `synthetic (${basename(originFile(path))} says how)`]);
  if (tFirstUs !== null && tLastUs !== null) {
    const seconds = (tLastUs - tFirstUs) / 1e6;
    rows.push(
      ['first', `${tFirstUs} µs`],
      ['last', `${tLastUs} µs`],
      ['duration', `${seconds.toFixed(6)} s`],
      ['mean rate', seconds > 0 ? `${grouped(Math.round(events / seconds))} events/s` : '–'],
      ['ON', `${grouped(onEvents)} (${((100 * onEvents) / events).toFixed(2)} %)`],
      ['OFF', grouped(events - onEvents)],
      ['time goes back', backwardSteps === 1 ? 'once' : `${grouped(backwardSteps)} times`],
    );
  }
  for (const [what, count] of Object.entries(report.skipped)) {
    const name = what.startsWith('dropped')
      ? what.replace('dropped', 'dropped ')
      : `skipped ${what}`;
    rows.push([name, grouped(count)]);
  }
  rows.push(['damaged places', grouped(report.damageCount)]);
  return listing(rows);
}
