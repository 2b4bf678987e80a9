import { access } from 'node:fs/promises';
import { SaccadeError } from '../engine/support/errors.js';
import { deriveRecording } from '../ingest/derivedRecording.js';
import type { EventBatch, SensorSize } from '../ingest/eventBatch.js';
import type { DecodeReport, LayoutOptions } from '../ingest/format.js';
import type { OpenOptions, Recording } from '../ingest/recording.js';
import {
  type Address,
  type DropPolicy,
  openSource,
  parseAddress,
  schemes,
  withOptions,
} from '../ingest/sources/index.js';
import { grouped, note, type CommandIo } from './io.js';

/** The path that stands for standard input or output. */
export const standardStream = '-';

/** What the command line says about a source of events, besides its address. */
export interface InputOptions {
  /** Name of a format of files or of the wire. */
  readonly format?: string;
  readonly sensor?: SensorSize;
  readonly layout?: LayoutOptions;
  readonly index?: OpenOptions['index'];
  readonly speed?: number;
  readonly drop?: DropPolicy;
  readonly queue?: number;
}

/**
 * What a path on the command line stands for: an address with a scheme or options, or a file. A file whose
 * name only looks like an address is a file all the same.
 */
export async function addressOf(
  path: string,
  changes: Readonly<Record<string, string | number | undefined>> = {},
): Promise<Address> {
  const hasScheme = schemes.some((scheme) => path.startsWith(`${scheme}:`));
  const known = isStandardStream(path) || hasScheme || /^[a-z]{2,}:\/\//.test(path);
  const isFile = !known && (!path.includes('?') || (await exists(path)));
  if (!isFile) return parseAddress(withOptions(path, changes));
  // A name may hold a question mark; an address knows it by its scheme and path.
  return { ...parseAddress(withOptions('file:.', changes)), uri: path, path };
}

/**
 * Opens the recording that a command was given: a file, `-` for standard input, or an address
 * (`ingest/sources/address.ts`). A live one (all but files) can be read once, and ends on Ctrl-C as if the other
 * side had closed it.
 */
export async function openInput(
  io: CommandIo,
  path: string,
  options: InputOptions,
): Promise<Recording> {
  const { signal } = io;
  const { format, sensor, layout, index, speed, drop, queue } = options;
  const address = await addressOf(path, { format, speed, drop, queue });
  const recording = await openSource(address, {
    sensor,
    layout,
    index,
    signal,
    stdin: address.scheme === 'stdio' ? io.stdin : undefined,
    onListening: listeningNote(io, address),
  });
  const stated = recording.sensor;
  if (sensor !== undefined && recording.sensorFrom === 'file' && !sameSize(stated, sensor)) {
    const size = `${stated.width}x${stated.height}`;
    note(
      io,
      `warning: ${path}: the recording states its sensor size, ${size}; --sensor is not used`,
    );
  }
  if (address.scheme === 'file') return recording;
  return deriveRecording(recording, (read) =>
    untilStopped(recording.batches({ ...read, signal }), signal),
  );
}

function isStandardStream(path: string): boolean {
  return path === standardStream || path.startsWith(`${standardStream}?`);
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

const sameSize = (a: SensorSize, b: SensorSize): boolean =>
  a.width === b.width && a.height === b.height;

/** Says where to connect to, once somebody can. */
export function listeningNote(io: CommandIo, { uri, scheme, host }: Address) {
  return (port: number): void => note(io, `${uri}: waiting at ${scheme}://${host}:${port}`);
}

/** The signal of what is done with the events: Ctrl-C ends a live source, and the work behind it is finished. */
export function workSignal(io: CommandIo, source: string): AbortSignal {
  const isLive =
    isStandardStream(source) ||
    schemes.some((scheme) => scheme !== 'file' && source.startsWith(`${scheme}:`));
  return isLive ? new AbortController().signal : io.signal;
}

async function* untilStopped(
  batches: AsyncIterable<EventBatch>,
  signal: AbortSignal,
): AsyncGenerator<EventBatch> {
  try {
    yield* batches;
  } catch (error) {
    if (signal.aborted && error instanceof SaccadeError && error.kind === 'interrupted') return;
    throw error;
  }
}

/** What `--json` says about the parts of a recording that could not be used. */
export function damageFields({ damageCount, damages, skipped }: DecodeReport) {
  return { damageCount, damages, skipped };
}

/** Damaged places that are listed one by one in a warning. */
const listedDamages = 5;

/** What queues drop, by its name in a report. */
const dropped = { droppedEvents: 'events', droppedDatagrams: 'datagrams' };

/** Warns where a part of a recording could not be used. */
export function warnOfDamage(io: CommandIo, { path, report }: Recording): void {
  const { damageCount, damages, skipped } = report;
  if (damageCount > 0) {
    const places = damageCount === 1 ? '1 damaged place was' : `${damageCount} damaged places were`;
    note(io, `warning: ${path}: ${places} passed over`);
    for (const { offset, message } of damages.slice(0, listedDamages)) {
      note(io, `  byte ${offset}: ${message}`);
    }
    if (damageCount > listedDamages) note(io, `  and ${damageCount - listedDamages} more`);
  }
  for (const [name, what] of Object.entries(dropped)) {
    if (skipped[name] === undefined) continue;
    const count = grouped(skipped[name]);
    note(
      io,
      `warning: ${path}: ${count} ${what} were dropped, as they came faster than they were used`,
    );
  }
  if (skipped.outsideSensor !== undefined) {
    const count = grouped(skipped.outsideSensor);
    note(io, `warning: ${path}: ${count} events outside the sensor were passed over`);
  }
}
