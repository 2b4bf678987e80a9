import { InvalidArgumentError, Option } from 'commander';

import {
  bundleJob,
  type BundleOutcome,
  type BundlePart,
  bundleParts,
} from '../../workers/bundle.js';
import { grouped, listing, print, printJson, type RegisterCommand } from '../io.js';
import { commandJob } from '../jobContext.js';
import { collected, examples, jsonOption, parseNames } from '../options.js';

interface Options {
  readonly node: string;
  readonly without: readonly BundlePart[];
  readonly add?: readonly string[];
  readonly json?: boolean;
}

const partNames = Object.keys(bundleParts) as BundlePart[];

export const registerBundle: RegisterCommand = (program, io) => {
  program
    .command('bundle')
    .summary('pack everything for a machine without Node and network')
    .description(
      'Packs Node, this build of Saccade and the packages that it uses into one archive, for machines of ' +
        'the same system and processor as this one, such as hosts with a GPU. There: unpack it, and run ' +
        '`saccade` in its folder. With --json: {path, bytes, unpackedBytes, folder, node, packages, without, ' +
        'native}.',
    )
    .argument('<archive>', 'file to write, .tar.xz or .tar.gz')
    .addOption(
      new Option('--node <file>', 'executable of Node (default: the one that runs this)').default(
        process.execPath,
        '',
      ),
    )
    .addOption(
      new Option(
        '--without <parts>',
        `what is not needed there, separated by commas: ${partNames.join(', ')}`,
      )
        .argParser(parseParts)
        .default([], ''),
    )
    .addOption(
      new Option('--add <folder>', 'a folder that comes along, beside dist').argParser(collected),
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade bundle saccade.tar.xz', 'everything'],
        [
          'saccade bundle saccade.tar.xz --without jobs,serve,tracing,wasm',
          'what trains and evaluates, half as large',
        ],
        ['tar -xf saccade.tar.xz && saccade/saccade doctor', 'on the other machine'],
      ),
    )
    .action(async (path: string, { node, without, add, json }: Options) => {
      const job = commandJob(io, json);
      const outcome = await bundleJob({ path, node, without, extras: add }, job.context).finally(
        job.done,
      );
      if (json) printJson(io, outcome);
      else print(io, ...describe(outcome));
    });
};

function parseParts(text: string): readonly BundlePart[] {
  const names = parseNames(text);
  const unknown = names.find((name) => !(partNames as readonly string[]).includes(name));
  if (unknown === undefined) return names as readonly BundlePart[];
  throw new InvalidArgumentError(`'${unknown}' is none of ${partNames.join(', ')}.`);
}

function describe(outcome: BundleOutcome): string[] {
  const { path, bytes, unpackedBytes, folder, node, packages, without, native } = outcome;
  const mebibytes = (count: number): string => `${(count / 2 ** 20).toFixed(1)} MiB`;
  return listing([
    ['archive', `${path}, ${mebibytes(bytes)} (unpacked ${mebibytes(unpackedBytes)})`],
    ['node', node],
    [
      'packages',
      `${grouped(packages)}${without.length > 0 ? `, without ${without.join(', ')}` : ''}`,
    ],
    ['native', native ? 'the compiled backend is in it' : 'not built here, so it is not in it'],
    ['run it', `tar -xf ${path} && ${folder}/saccade doctor`],
  ]);
}
