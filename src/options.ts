import { InvalidArgumentError, Option } from 'commander';

import { SaccadeError } from '../engine/support/errors.js';
import type { SensorSize } from '../ingest/eventBatch.js';
import type { LayoutOptions } from '../ingest/format.js';
import { formats } from '../ingest/formats/index.js';
import { dropPolicies, wireFormats } from '../ingest/sources/index.js';

/** Values of options. Each parser throws commander's error, which names the option, and says what was expected. */
type Parser<T> = (text: string) => T;

/** `WIDTHxHEIGHT` in pixels, as sensors are named: 346x260. */
export const parseSensor: Parser<SensorSize> = (text) => {
  const [width, height] = parsePair(text, 'WIDTHxHEIGHT in pixels, for instance 346x260');
  return { width, height };
};

/** `HEIGHTxWIDTH`, as tensors are named: 32x48 has 32 rows. */
export const parseSize: Parser<{ readonly height: number; readonly width: number }> = (text) => {
  const [height, width] = parsePair(text, 'HEIGHTxWIDTH (rows x columns), for instance 32x48');
  return { height, width };
};

function parsePair(text: string, expected: string): [number, number] {
  const match = /^(\d{1,5})x(\d{1,5})$/i.exec(text);
  const [first, second] = match === null ? [0, 0] : [Number(match[1]), Number(match[2])];
  if (first < 1 || second < 1 || first > 65_536 || second > 65_536) {
    throw new InvalidArgumentError(`Expected ${expected}.`);
  }
  return [first, second];
}

/** A whole number of at least `low` and at most `high`. */
export function integerBetween(low: number, high: number): Parser<number> {
  return (text) => {
    const value = /^[+-]?\d+$/.test(text) ? Number(text) : NaN;
    if (!(value >= low && value <= high)) {
      throw new InvalidArgumentError(`Expected a whole number ${range(low, high)}.`);
    }
    return value;
  };
}

/** A number of at least `low` and at most `high`. */
export function numberBetween(low: number, high: number): Parser<number> {
  return (text) => {
    const value = text.trim() === '' ? NaN : Number(text);
    if (!(value >= low && value <= high)) {
      throw new InvalidArgumentError(`Expected a number ${range(low, high)}.`);
    }
    return value;
  };
}

function range(low: number, high: number): string {
  if (high === Infinity || high === Number.MAX_SAFE_INTEGER) return `of at least ${low}`;
  return `from ${low} to ${high}`;
}

/** A time in whole µs; recordings may start at any time, also before 0. */
export const parseTimeUs: Parser<number> = (text) => {
  const value = /^[+-]?\d+$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value)) {
    throw new InvalidArgumentError('Expected a time in whole µs, for instance 1500000.');
  }
  return value;
};

/** Numbers of at least `low`, separated by commas. */
export function numbersFrom(low: number): Parser<readonly number[]> {
  const parse = numberBetween(low, Number.MAX_SAFE_INTEGER);
  return (text) => text.split(',').map(parse);
}

/** Names separated by commas. */
export const parseNames: Parser<readonly string[]> = (text) => {
  const names = text.split(',').map((name) => name.trim());
  if (names.includes('')) throw new InvalidArgumentError('Expected names separated by commas.');
  return names;
};

/** Collects the values of an option that may be given several times, in order. */
export function collected(value: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, value];
}

/** The environment variable that holds what others must know to connect. */
export const tokenVariable = 'SACCADE_TOKEN';

/** `--json`, which every command has. */
export function jsonOption(): Option {
  return new Option('--json', 'print one JSON document, for machines');
}

/** `--sensor`, which every command has that reads a recording. */
export function sensorOption(): Option {
  return new Option(
    '--sensor <WIDTHxHEIGHT>',
    'sensor size of a file that does not state it (default: inferred from the events)',
  ).argParser(parseSensor);
}

/** An option that names an event format, one of files or, for addresses, of the wire. */
export function formatOption(
  flags: string,
  description: string,
  { wire = false }: { readonly wire?: boolean } = {},
): Option {
  const names = formats.map(({ name }) => name);
  return new Option(flags, description).choices(wire ? [...names, ...wireFormats] : names);
}

/** Options of commands that read files and live sources alike. */
export function sourceOptions(): Option[] {
  return [
    new Option(
      '--speed <k>',
      'pace of a file that is replayed; 1 is real time (default: as fast as it is read)',
    ).argParser(numberBetween(1e-6, 1e6)),
    new Option(
      '--drop <policy>',
      'where events come faster than they are used: make the source wait, or drop and count the oldest or ' +
        'newest (default: wait; by UDP oldest)',
    ).choices(dropPolicies),
    new Option(
      '--queue <events>',
      'events that wait before any is dropped (default: 4000000)',
    ).argParser(integerBetween(1, 1e9)),
  ];
}

/** Where the events are in a file, and in which order and unit; values of the options. */
export interface LayoutChoice {
  readonly columnOrder?: LayoutOptions['columns'];
  readonly timeUnit?: keyof typeof usPerTimeUnit;
  readonly eventsAt?: string;
}

const usPerTimeUnit = { s: 1e6, ms: 1e3, us: 1, ns: 1e-3 } as const;

/** `x,y,p,t`: each of t, x, y and p once, and `-` for columns to pass over. Gives their numbers from 1 on. */
export const parseColumnOrder: Parser<NonNullable<LayoutOptions['columns']>> = (text) => {
  const names = text.split(',').map((name) => name.trim());
  const roles = names.filter((name) => name !== '-');
  if ([...roles].sort().join() !== 'p,t,x,y') {
    throw new InvalidArgumentError(
      'Expected t, x, y and p once each, for instance x,y,p,t or -,t,x,y,p.',
    );
  }
  return Object.fromEntries(roles.map((role) => [role, String(names.indexOf(role) + 1)]));
};

/** Options of commands that read recordings whose layout cannot always be told. */
export function layoutOptions(): Option[] {
  return [
    new Option(
      '--column-order <t,x,y,p>',
      'columns of a text recording, - for others (default: told from names or values)',
    ).argParser(parseColumnOrder),
    new Option(
      '--time-unit <unit>',
      'unit of the times of text, arrays and containers (default: told from names or values)',
    ).choices(Object.keys(usPerTimeUnit)),
    new Option(
      '--events-at <name>',
      'topic, group, variable or stream of a container that holds the events (default: the first)',
    ),
  ];
}

/** What the options say, with the format: an order of columns is one of text. */
export function layoutInput(
  { columnOrder, timeUnit, eventsAt }: LayoutChoice,
  given: string | undefined,
): { format: string | undefined; layout: LayoutOptions | undefined } {
  const format = given ?? (columnOrder === undefined ? undefined : 'csv');
  if (columnOrder !== undefined && format !== 'csv') {
    const message = `is for text (csv), and the format is ${format}`;
    throw new SaccadeError('usage', message, { field: '--column-order' });
  }
  const isGiven = [columnOrder, timeUnit, eventsAt].some((value) => value !== undefined);
  const usPerUnit = timeUnit === undefined ? undefined : usPerTimeUnit[timeUnit];
  const layout = isGiven ? { columns: columnOrder, path: eventsAt, usPerUnit } : undefined;
  return { format, layout };
}

/** What addresses look like, for the end of a help text. */
export const addressHelp = `
Sources and sinks, besides files and - (standard input or output):
  tcp://HOST:PORT    ws://HOST:PORT/PATH    udp://HOST:PORT    file:PATH
  tls://HOST:PORT    wss://HOST:PORT/PATH   (encrypted)
with options behind a ?, as in tcp://127.0.0.1:7777?format=es&sensor=346x260
  format   of the stream: a format of files (es by TCP), dv (AEDAT4 as DV sends it), spif (words of AEStream)
  sensor   WIDTHxHEIGHT, where the stream does not state it
  listen   wait for the other side to connect (tls, wss: with cert=FILE and key=FILE)
  drop, queue, speed   as the options of these names
Ctrl-C ends a live source; what came until then is kept.`;

/** The text below a command's options. Each example is a command line and what it does. */
export function examples(...lines: readonly (readonly [command: string, what: string])[]): string {
  const text = lines.map(([command, what]) => `  $ ${command}\n      ${what}`);
  return `\nExamples:\n${text.join('\n')}`;
}
