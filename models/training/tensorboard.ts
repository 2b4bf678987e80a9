import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import crc32c from 'crc-32/crc32c.js';
import { SaccadeError } from '../../engine/support/errors.js';

/** An open TensorBoard event file. Every call writes at once: an interrupted run loses no record. */
export interface EventFile {
  readonly path: string;
  /** One point of a curve; TensorBoard keeps 32 bits of the value, NaN and infinities included. */
  scalar(tag: string, value: number, step: number): void;
  /** One point of several curves, in one record. */
  scalars(values: Readonly<Record<string, number>>, step: number): void;
  /** A text (Markdown), for instance the run's configuration. */
  text(tag: string, markdown: string, step: number): void;
  /** Waits until the disk has what was written. */
  flush(): void;
  /** Flushes and closes; closing twice is harmless. */
  close(): void;
}

export interface EventFileOptions {
  /** The clock, in milliseconds since 1970. */
  readonly now?: () => number;
}

/**
 * Opens a new TensorBoard event file in `folder` (made where missing). A resumed run opens another
 * file in the same folder: TensorBoard shows all of a folder's files as one run.
 *
 * The file is a sequence of TFRecords, each an `Event` message of tensorflow/core/util/event.proto; the
 * first gives the version, "brain.Event:2".
 *
 * @throws SaccadeError `environment` where the folder or the file cannot be written.
 */
export function openEventFile(
  folder: string,
  { now = Date.now }: EventFileOptions = {},
): EventFile {
  const { path, descriptor } = orEnvironmentError(folder, () => createFile(folder, now()));
  let open = true;

  const writeEvent = (writeContent: (event: BinaryWriter) => void): void => {
    const event = new BinaryWriter();
    event.tag(eventFields.wallTime, WireType.Bit64).double(now() / 1000);
    writeContent(event);
    const record = tfRecord(event.finish());
    orEnvironmentError(path, () => {
      for (let at = 0; at < record.length;) at += writeSync(descriptor, record, at);
    });
  };
  const writeSummary = (step: number, writeValues: (summary: BinaryWriter) => void): void =>
    writeEvent((event) => {
      event.tag(eventFields.step, WireType.Varint).int64(step);
      event.tag(eventFields.summary, WireType.LengthDelimited).fork();
      writeValues(event);
      event.join();
    });
  const flush = (): void => orEnvironmentError(path, () => fsyncSync(descriptor));

  writeEvent((event) =>
    event.tag(eventFields.fileVersion, WireType.LengthDelimited).string('brain.Event:2'),
  );

  return {
    path,
    scalar: (tag, value, step) =>
      writeSummary(step, (summary) => writeScalarValue(summary, tag, value)),
    scalars: (values, step) =>
      writeSummary(step, (summary) => {
        for (const [tag, value] of Object.entries(values)) writeScalarValue(summary, tag, value);
      }),
    text: (tag, markdown, step) =>
      writeSummary(step, (summary) => writeTextValue(summary, tag, markdown)),
    flush,
    close: () => {
      if (!open) return;
      open = false;
      flush();
      closeSync(descriptor);
    },
  };
}

// Field numbers of tensorflow/core/util/event.proto and tensorflow/core/framework/{summary,tensor,
// tensor_shape}.proto.
const eventFields = { wallTime: 1, step: 2, fileVersion: 3, summary: 5 };
const summaryFields = { value: 1 };
const valueFields = { tag: 1, simpleValue: 2, tensor: 8, metadata: 9 };
const metadataFields = { pluginData: 1, dataClass: 4 };
const pluginDataFields = { pluginName: 1 };
const tensorFields = { dtype: 1, shape: 2, stringValues: 8 };
const shapeFields = { dimension: 2 };
const dimensionFields = { size: 1 };
const dataClassTensor = 2;
const dtypeString = 7;

function writeScalarValue(summary: BinaryWriter, tag: string, value: number): void {
  summary.tag(summaryFields.value, WireType.LengthDelimited).fork();
  summary.tag(valueFields.tag, WireType.LengthDelimited).string(tag);
  summary.tag(valueFields.simpleValue, WireType.Bit32).float(Math.fround(value));
  summary.join();
}

/** As the text plugin reads it: a string tensor of shape [1]. */
function writeTextValue(summary: BinaryWriter, tag: string, markdown: string): void {
  summary.tag(summaryFields.value, WireType.LengthDelimited).fork();
  summary.tag(valueFields.tag, WireType.LengthDelimited).string(tag);

  summary.tag(valueFields.metadata, WireType.LengthDelimited).fork();
  summary.tag(metadataFields.pluginData, WireType.LengthDelimited).fork();
  summary.tag(pluginDataFields.pluginName, WireType.LengthDelimited).string('text');
  summary.join();
  summary.tag(metadataFields.dataClass, WireType.Varint).int32(dataClassTensor);
  summary.join();

  summary.tag(valueFields.tensor, WireType.LengthDelimited).fork();
  summary.tag(tensorFields.dtype, WireType.Varint).int32(dtypeString);
  summary.tag(tensorFields.shape, WireType.LengthDelimited).fork();
  summary.tag(shapeFields.dimension, WireType.LengthDelimited).fork();
  summary.tag(dimensionFields.size, WireType.Varint).int64(1);
  summary.join();
  summary.join();
  summary.tag(tensorFields.stringValues, WireType.LengthDelimited).string(markdown);
  summary.join();

  summary.join();
}

/**
 * TFRecord framing (tensorflow/core/lib/io/record_writer.h): uint64 length, its masked CRC, the data,
 * its masked CRC; all little-endian.
 */
function tfRecord(data: Uint8Array): Uint8Array {
  const record = new Uint8Array(8 + 4 + data.length + 4);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc32c(record.subarray(0, 8)), true);
  record.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc32c(data), true);
  return record;
}

/** Rotated by 15 bits plus a constant (tensorflow/core/lib/hash/crc32c.h), as unsigned 32 bits. */
export function maskedCrc32c(data: Uint8Array): number {
  const crc = crc32c.buf(data);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/**
 * Named as TensorBoard wants it: it takes every file with "tfevents" in its name, in the order of their
 * names. A number at the end keeps files of the same second apart.
 */
function createFile(folder: string, nowMs: number): { path: string; descriptor: number } {
  mkdirSync(folder, { recursive: true });
  const seconds = String(Math.floor(nowMs / 1000)).padStart(10, '0');
  for (let serial = 0; ; serial++) {
    const name = `events.out.tfevents.${seconds}.${hostname()}.${process.pid}.${serial}`;
    const path = join(folder, name);
    try {
      return { path, descriptor: openSync(path, 'wx') };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

function orEnvironmentError<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new SaccadeError(
      'environment',
      `TensorBoard events cannot be written: ${reason}`,
      { file },
      error,
    );
  }
}
