import { type FileHandle, open, stat } from 'node:fs/promises';
import { writeFileAtomically } from '../engine/support/atomicFile.js';
import { SaccadeError } from '../engine/support/errors.js';
import { ByteReader, type ByteSource, throwIfAborted } from './bytes.js';
import { type EventBatch, selectEvents, type SensorSize } from './eventBatch.js';
import {
  checkVariant,
  createReport,
  type DecodeReport,
  type EventFormat,
  type LayoutOptions,
  type RosMessageType,
  type WrittenCompression,
} from './format.js';
import { detectFormat, extensionOf, formatByExtension, formatByName } from './formats/index.js';
import {
  type Decode,
  makeTimeIndex,
  readTimeIndex,
  type TimeIndex,
  writeTimeIndex,
} from './timeIndex.js';
import { Spool } from './spool.js';
import { fileOfStream } from './temporaryFile.js';
import { requireOrder, sortEvents, type TimeOrder } from './timeOrder.js';

/** What format detection sees of a file. */
const headLength = 65_536;
const readLength = 256 * 1024;

/** Which part of a recording to read, and how. */
export interface ReadOptions {
  /** First time that is read, µs in the recording's own time. */
  readonly fromUs?: number;
  /** First time that is not read any more, µs. */
  readonly toUs?: number;
  /** Events per batch as decoded (default 65,536); the events do not depend on it. */
  readonly batchLength?: number;
  /** Events whose time goes back are kept where they are (default), or all are sorted, or it is an error. */
  readonly order?: TimeOrder;
  /** Whether each batch is done with when the next one is asked for, so that its memory can be used again. */
  readonly reuse?: boolean;
  readonly signal?: AbortSignal;
}

/** An event recording whose format and sensor size are known. Events are read when asked for. */
export interface Recording {
  readonly path: string;
  readonly format: EventFormat;
  readonly sensor: SensorSize;
  /** Who says the sensor size: the file, the caller, or a look at all events. */
  readonly sensorFrom: 'file' | 'inferred' | 'option';
  /** What the last read could not use; complete once that read has ended. */
  readonly report: DecodeReport;
  /** Events of the last read that were stored behind one of a later time; complete once that read has ended. */
  readonly backwardSteps: number;
  /** Reads the events with `fromUs <= t < toUs`, in stored order if not told otherwise. Each call reads anew. */
  batches(options?: ReadOptions): AsyncIterable<EventBatch>;
}

export interface OpenOptions {
  /** Name of a format; told from the content where not given. */
  readonly format?: string;
  /** Sensor size for files that do not state it. */
  readonly sensor?: SensorSize;
  /** Where a container holds the events, if not at the usual place. */
  readonly layout?: LayoutOptions;
  /**
   * The time index beside the recording (`PATH.idx`), with which slices of the time read only their own part:
   * `use` it where there is one (default), `make` one at the first slice where there is none and the format
   * can, or `ignore` it. The events never depend on it; the report covers what was read.
   */
  readonly index?: 'use' | 'make' | 'ignore';
  readonly signal?: AbortSignal;
}

/**
 * Opens a recording. Where neither the file nor the caller states the sensor size, all events are
 * looked at once, and it is the first of the format's usual sizes that holds them, else their extent.
 *
 * @throws SaccadeError (`input`) for a missing or unreadable file, a folder, or an unknown format.
 */
export async function openRecording(path: string, options: OpenOptions = {}): Promise<Recording> {
  const { size, head } = await readHead(path);
  const format =
    options.format === undefined
      ? detectFormat({ head, fileSize: size, extension: extensionOf(path) }, path)
      : formatByName(options.format);
  if (size === 0) throw new SaccadeError('input', 'the file is empty', { file: path });
  const { layout, signal } = options;
  const decode: Decode = (given) =>
    format.decodeFile?.(path, { ...given, file: path, layout }) ??
    format.decode(readFileBytes(path, given.signal), { ...given, file: path, layout });
  const stated = format.sensorOf?.(head) ?? (await sensorOfFirstBatch(format, decode, signal));
  const indexed = { path, format: format.name, layout };
  const index = options.index === 'ignore' ? undefined : await readTimeIndex(indexed);
  const given = stated ?? options.sensor;
  const sensor = given ?? index?.sensor ?? (await inferSensor(format, decode, signal));
  const sensorFrom = stated ? 'file' : options.sensor ? 'option' : 'inferred';
  const recording = new DecodedRecording(path, format, sensor, sensorFrom, decode);
  if (index !== undefined && sameSize(index.sensor, sensor)) recording.index = index;
  else if (options.index === 'make') {
    recording.makeIndex = async (readSignal) => {
      const made = await makeTimeIndex(decode, sensor, { signal: readSignal });
      if (made !== undefined) await writeTimeIndex(indexed, made, readSignal);
      return made;
    };
  }
  return recording;
}

const sameSize = (a: SensorSize, b: SensorSize): boolean =>
  a.width === b.width && a.height === b.height;

export interface StreamOptions extends Omit<OpenOptions, 'format'> {
  /** For error messages. */
  readonly file: string;
  /** A format or its name; told from the content where not given. */
  readonly format?: string | EventFormat;
  /** Whether to hand out events as they come, which takes a given format. */
  readonly live?: boolean;
}

/**
 * A recording that comes as a stream of bytes, from a pipe for instance. Reads up to 64 KiB to tell the
 * format and the size, unless the format is given and never states a size. Its `batches` can be called once.
 *
 * Containers state the size with their events, so where it is not given they are read up to the first of these. Those that
 * must be read out of order, and arrays that have no size, are kept in a temporary file until they are whole.
 *
 * @throws SaccadeError (`input`) where the stream is of no known format, or neither it nor
 *   `options.sensor` states the sensor size.
 */
export async function decodeStream(
  bytes: AsyncIterable<Uint8Array>,
  options: StreamOptions,
): Promise<Recording> {
  const { file, signal, live } = options;
  const reader = new ByteReader(bytes, file, signal);
  const givenFormat =
    typeof options.format === 'string' ? formatByName(options.format) : options.format;
  const nothingToTell = givenFormat !== undefined && givenFormat.sensorOf === undefined;
  const headOf = (): Uint8Array =>
    reader.bytes.slice(reader.position, Math.min(reader.end, headLength));
  let whole = false;
  if (live === true && givenFormat !== undefined) {
    // Not one byte more than it takes.
    while (!nothingToTell && givenFormat.sensorOf?.(headOf()) === undefined) {
      if (reader.available >= headLength || !(await reader.fill())) break;
    }
  } else {
    whole = !nothingToTell && !(await reader.require(headLength));
  }
  const head = headOf();
  const fileSize = whole ? head.length : undefined;
  const format = givenFormat ?? detectFormat({ head, fileSize }, file);
  const stated = format.sensorOf?.(head);
  const known = stated ?? options.sensor;
  if (
    live !== true &&
    (format.decodeFile !== undefined || (known === undefined && format.finite))
  ) {
    return openSpooled(restOf(reader), format, options);
  }
  let rest: AsyncIterable<Uint8Array> = restOf(reader);
  let found: SensorSize | undefined;
  const inEvents = known === undefined || format.sensorOf === undefined;
  if (stated === undefined && format.holdsSensorSize && inEvents) {
    const seen = new Spool();
    const keep = async function* (): AsyncGenerator<Uint8Array> {
      for await (const chunk of filledChunks(reader)) {
        await seen.write(chunk);
        yield chunk;
      }
    };
    const first: Decode = (given) =>
      format.decode(keep(), { ...given, file, live, layout: options.layout });
    try {
      found = await sensorOfFirstBatch(format, first, signal);
    } catch (error) {
      await seen.close();
      await reader.close();
      throw error;
    }
    rest = seenAndRest(seen, reader);
  }
  const sensor = found ?? known;
  if (sensor === undefined) {
    await reader.close();
    const message = `${format.title} does not state the sensor size here, so it must be given`;
    throw new SaccadeError('input', message, { file, field: 'sensor' });
  }
  let started = false;
  const decode: Decode = (given) => {
    if (started) throw readOnce(file);
    started = true;
    return format.decode(rest, { ...given, file, live, layout: options.layout });
  };
  const sensorFrom = (found ?? stated) ? 'file' : 'option';
  return new DecodedRecording(file, format, sensor, sensorFrom, decode);
}

const readOnce = (file: string): SaccadeError =>
  new SaccadeError('input', 'a stream can be read only once', { file });

/** Keeps the stream in a file, which is removed once its events were read (or the process ends). */
async function openSpooled(
  bytes: AsyncIterable<Uint8Array>,
  format: EventFormat,
  { file, layout, sensor, signal }: StreamOptions,
): Promise<Recording> {
  const temporary = await fileOfStream(bytes, { file, signal });
  const { path } = temporary;
  const decodeFile: Decode = (given) =>
    format.decodeFile?.(path, { ...given, file, layout }) ??
    format.decode(readFileBytes(path, given.signal), { ...given, file, layout });
  let started = false;
  const decode: Decode = async function* (given) {
    if (started) throw readOnce(file);
    started = true;
    try {
      yield* decodeFile(given);
    } finally {
      await temporary.remove();
    }
  };
  try {
    const stated = await sensorOfFirstBatch(format, decodeFile, signal);
    const known = stated ?? sensor ?? (await inferSensor(format, decodeFile, signal));
    const sensorFrom = stated ? 'file' : sensor ? 'option' : 'inferred';
    return new DecodedRecording(file, format, known, sensorFrom, decode);
  } catch (error) {
    await temporary.remove();
    throw error;
  }
}

class DecodedRecording implements Recording {
  report = createReport();
  backwardSteps = 0;
  index: TimeIndex | undefined;
  /** Called once, at the first slice. */
  makeIndex: ((signal?: AbortSignal) => Promise<TimeIndex | undefined>) | undefined;

  constructor(
    readonly path: string,
    readonly format: EventFormat,
    readonly sensor: SensorSize,
    readonly sensorFrom: Recording['sensorFrom'],
    private readonly decode: Decode,
  ) {}

  batches(options: ReadOptions = {}): AsyncGenerator<EventBatch> {
    const { order = 'keep', signal } = options;
    const kept = this.inStoredOrder(options);
    if (order === 'keep') return kept;
    return (order === 'sort' ? sortEvents : requireOrder)(kept, { file: this.path, signal });
  }

  private async *inStoredOrder(options: ReadOptions): AsyncGenerator<EventBatch> {
    const { fromUs = -Infinity, toUs = Infinity, batchLength, signal, reuse } = options;
    const report = createReport();
    this.report = report;
    this.backwardSteps = 0;
    const { sensor } = this;
    const decodeOptions = { sensor, batchLength, signal, report, reuse };
    const isSlice = fromUs > -Infinity || toUs < Infinity;
    if (isSlice && this.makeIndex !== undefined) {
      this.index = await this.makeIndex(signal);
      this.makeIndex = undefined;
    }
    const read =
      isSlice && this.index !== undefined
        ? this.index.read(this.decode, fromUs, toUs, decodeOptions)
        : this.decode(isSlice ? { ...decodeOptions, wanted: { fromUs, toUs } } : decodeOptions);
    let lastUs = -Infinity;
    for await (const batch of read) {
      const cut = cutTime(batch, fromUs, toUs);
      if (cut.length === 0) continue;
      this.backwardSteps += countBackwardSteps(cut.tUs, lastUs);
      lastUs = cut.tUs[cut.length - 1];
      yield cut;
    }
  }
}

function countBackwardSteps(tUs: Float64Array, beforeUs: number): number {
  let steps = 0;
  let lastUs = beforeUs;
  for (let i = 0; i < tUs.length; i++) {
    if (tUs[i] < lastUs) steps++;
    lastUs = tUs[i];
  }
  return steps;
}

/** The events with `fromUs <= t < toUs`. Times may go back, so each one is looked at. */
function cutTime(batch: EventBatch, fromUs: number, toUs: number): EventBatch {
  if (fromUs === -Infinity && toUs === Infinity) return batch;
  const keep = new Uint8Array(batch.length);
  let kept = 0;
  for (let i = 0; i < batch.length; i++) {
    if (batch.tUs[i] >= fromUs && batch.tUs[i] < toUs) {
      keep[i] = 1;
      kept++;
    }
  }
  return kept === batch.length ? batch : selectEvents(batch, keep);
}

/** For containers that state the size behind their first 64 KiB: what the first events say. */
async function sensorOfFirstBatch(
  format: EventFormat,
  decode: Decode,
  signal?: AbortSignal,
): Promise<SensorSize | undefined> {
  if (!format.holdsSensorSize) return undefined;
  for await (const { sensor } of decode({ batchLength: 1, signal, report: createReport() })) {
    return sensor === format.limits ? undefined : sensor;
  }
  return undefined;
}

async function inferSensor(
  format: EventFormat,
  decode: Decode,
  signal?: AbortSignal,
): Promise<SensorSize> {
  let width = 1;
  let height = 1;
  for await (const { length, x, y } of decode({
    signal,
    report: createReport(),
    reuse: true,
  })) {
    for (let i = 0; i < length; i++) {
      if (x[i] >= width) width = x[i] + 1;
      if (y[i] >= height) height = y[i] + 1;
    }
  }
  const holdsAll = (sensor: SensorSize): boolean =>
    sensor.width >= width && sensor.height >= height;
  return format.usualSensors.find(holdsAll) ?? { width, height };
}

/** What a recording holds, as `saccade info` shows it. */
export interface RecordingSummary {
  readonly format: string;
  readonly width: number;
  readonly height: number;
  readonly events: number;
  /** Time of the first event as stored, µs; null where there is none. */
  readonly tFirstUs: number | null;
  /** Time of the last event as stored, µs; null where there is none. */
  readonly tLastUs: number | null;
  readonly onEvents: number;
  readonly offEvents: number;
  /** Events whose time is before that of the event stored in front of them. */
  readonly backwardSteps: number;
}

/** Reads a recording once and sums it up. */
export async function summarise(
  recording: Recording,
  options: {
    readonly signal?: AbortSignal;
    /** Sees each batch, whose memory is used again. */
    readonly onBatch?: (batch: EventBatch) => void;
  } = {},
): Promise<RecordingSummary> {
  let events = 0;
  let onEvents = 0;
  let tFirstUs: number | null = null;
  let lastUs = -Infinity;
  const { signal, onBatch } = options;
  for await (const batch of recording.batches({ signal, reuse: true })) {
    const { length, tUs, polarity } = batch;
    if (length === 0) continue;
    onBatch?.(batch);
    tFirstUs ??= tUs[0];
    for (let i = 0; i < length; i++) {
      onEvents += polarity[i];
    }
    lastUs = tUs[length - 1];
    events += length;
  }
  return {
    format: recording.format.name,
    width: recording.sensor.width,
    height: recording.sensor.height,
    events,
    tFirstUs,
    tLastUs: events > 0 ? lastUs : null,
    onEvents,
    offEvents: events - onEvents,
    backwardSteps: recording.backwardSteps,
  };
}

export interface WriteOptions {
  /** Name of a format; that of the path's extension where not given. */
  readonly format?: string;
  readonly sensor: SensorSize;
  /** For formats that can compress (AEDAT 4.0); the others do not look at it. */
  readonly compression?: WrittenCompression;
  /** For ROS bags (default `EventArray`); the others do not look at it. */
  readonly rosMessage?: RosMessageType;
  /** One of the format's `variants`; its usual layout where not given. */
  readonly variant?: string;
  readonly signal?: AbortSignal;
}

/**
 * Writes a recording. The file appears whole or not at all.
 *
 * @returns the number of events and of bytes written.
 * @throws SaccadeError (`usage`) for an unknown format or extension, (`input`) for an event that the
 *   format cannot hold, (`environment`) where the file cannot be written.
 */
export async function writeRecording(
  path: string,
  batches: AsyncIterable<EventBatch>,
  options: WriteOptions,
): Promise<{ events: number; bytes: number }> {
  const { sensor, signal, compression, rosMessage, variant } = options;
  const format =
    options.format === undefined ? formatByExtension(path) : formatByName(options.format);
  checkVariant(format, variant);
  let events = 0;
  let bytes = 0;
  const counted = tap(batches, (batch) => (events += batch.length));
  let head: Uint8Array | undefined;
  const encoded = format.encode(counted, {
    file: path,
    sensor,
    signal,
    compression,
    rosMessage,
    variant,
    reuse: true,
    rewriteHead: (rewritten) => (head = rewritten),
  });
  try {
    await writeFileAtomically(
      path,
      tap(encoded, (chunk) => (bytes += chunk.length)),
      async (file) => {
        if (head !== undefined) await file.write(head, 0, head.length, 0);
      },
    );
  } catch (error) {
    throw systemError('environment', 'cannot write', path, error);
  }
  return { events, bytes };
}

async function* tap<T>(items: AsyncIterable<T>, look: (item: T) => void): AsyncGenerator<T> {
  for await (const item of items) {
    look(item);
    yield item;
  }
}

/** What is at hand and what comes, without closing the reader at the end. */
async function* filledChunks(reader: ByteReader): AsyncGenerator<Uint8Array> {
  while (reader.available > 0 || (await reader.fill())) {
    const chunk = reader.bytes.slice(reader.position, reader.end);
    reader.position = reader.end;
    yield chunk;
  }
}

async function* restOf(reader: ByteReader): AsyncGenerator<Uint8Array> {
  try {
    yield* filledChunks(reader);
  } finally {
    await reader.close();
  }
}

async function* seenAndRest(seen: Spool, reader: ByteReader): AsyncGenerator<Uint8Array> {
  try {
    yield* seen.read();
    await seen.close();
    yield* filledChunks(reader);
  } finally {
    await seen.close();
    await reader.close();
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (error) {
    throw systemError('input', 'cannot read', path, error);
  }
}

async function readHead(path: string): Promise<{ size: number; head: Uint8Array }> {
  const status = await stat(path).catch((error: unknown) => {
    throw systemError('input', 'cannot read', path, error);
  });
  if (!status.isFile()) {
    const found = status.isDirectory() ? 'this is a folder' : 'this is no regular file';
    throw new SaccadeError('input', `${found}, expected a recording file`, { file: path });
  }
  const bytes = readFileBytes(path);
  const reader = new ByteReader(bytes, path);
  await reader.require(headLength);
  const head = reader.bytes.slice(0, Math.min(reader.end, headLength));
  await reader.close();
  return { size: status.size, head };
}

function readFileBytes(path: string, signal?: AbortSignal, start = 0): ByteSource {
  return {
    [Symbol.asyncIterator]: () => readChunks(path, signal, start),
    from: (offset) => readFileBytes(path, signal, offset),
  };
}

async function* readChunks(
  path: string,
  signal: AbortSignal | undefined,
  start: number,
): AsyncGenerator<Uint8Array> {
  const file = await openFile(path);
  try {
    // The reader copies each chunk before it asks for the next one.
    const buffer = new Uint8Array(readLength);
    for (let position = start; ;) {
      throwIfAborted(signal, path);
      const { bytesRead } = await file
        .read(buffer, 0, readLength, position)
        .catch((error: unknown) => {
          throw systemError('input', 'cannot read', path, error);
        });
      if (bytesRead === 0) return;
      position += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

const systemMessages: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'this is a folder',
  ENOTDIR: 'a part of the path is no folder',
  ENOSPC: 'the disk is full',
};

/** Wraps errors of the operating system; others stay as they are. */
function systemError(
  kind: 'input' | 'environment',
  action: string,
  file: string,
  error: unknown,
): unknown {
  if (error instanceof SaccadeError || !(error instanceof Error) || !('code' in error)) {
    return error;
  }
  const message = systemMessages[String(error.code)] ?? error.message;
  return new SaccadeError(kind, `${action}: ${message}`, { file }, error);
}
