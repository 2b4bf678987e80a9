import type { DecodeReport } from '../ingest/format.js';
import {
  decodeStream,
  type OpenOptions,
  openRecording,
  type Recording,
} from '../ingest/recording.js';
import { grouped, note, type CommandIo } from './io.js';

/** The path that stands for standard input or output. */
export const standardStream = '-';

/** Opens the recording that a command was given; `-` is standard input, which can be read once. */
export function openInput(
  io: CommandIo,
  path: string,
  options: Pick<OpenOptions, 'format' | 'sensor' | 'index'>,
): Promise<Recording> {
  const { signal } = io;
  return path === standardStream
    ? decodeStream(io.stdin, { ...options, signal, file: 'standard input' })
    : openRecording(path, { ...options, signal });
}

/** What `--json` says about the parts of a recording that could not be used. */
export function damageFields({ damageCount, damages, skipped }: DecodeReport) {
  return { damageCount, damages, skipped };
}

/** Damaged places that are listed one by one in a warning. */
const listedDamages = 5;

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
  if (skipped.outsideSensor !== undefined) {
    const count = grouped(skipped.outsideSensor);
    note(io, `warning: ${path}: ${count} events outside the sensor were passed over`);
  }
}
