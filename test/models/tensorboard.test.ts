import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SaccadeError } from '../../engine/support/errors.js';
import { maskedCrc32c, openEventFile } from '../../models/training/tensorboard.js';

/** CRC-32C bit by bit (reflected polynomial 0x82f63b78). */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function unmasked(masked: number): number {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}

type Field = number | Buffer;

/** A protobuf message as lists of raw values by field number. */
function fieldsOf(message: Buffer): Map<number, Field[]> {
  const fields = new Map<number, Field[]>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const type = tag & 7;
    let value: Field;
    if (type === 0) value = varint();
    else if (type === 1) value = message.readDoubleLE((at += 8) - 8);
    else if (type === 5) value = message.readFloatLE((at += 4) - 4);
    else {
      const length = varint();
      value = message.subarray(at, (at += length));
    }
    fields.set(tag >>> 3, [...(fields.get(tag >>> 3) ?? []), value]);
  }
  return fields;
}

const messageAt = (fields: Map<number, Field[]>, field: number): Map<number, Field[]> =>
  fieldsOf(fields.get(field)?.[0] as Buffer);

/** The events of a file, with every length and checksum verified. */
function eventsOf(path: string): Map<number, Field[]>[] {
  const bytes = readFileSync(path);
  const events: Map<number, Field[]>[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(unmasked(bytes.readUInt32LE(at + 8))).toBe(crc32c(bytes.subarray(at, at + 8)));
    const data = bytes.subarray(at + 12, at + 12 + length);
    expect(data.length).toBe(length);
    expect(unmasked(bytes.readUInt32LE(at + 12 + length))).toBe(crc32c(data));
    events.push(fieldsOf(data));
    at += 16 + length;
  }
  return events;
}

interface Point {
  wallTime: Field | undefined;
  step: Field;
  values: [string, Field | undefined][];
}

function pointOf(event: Map<number, Field[]>): Point {
  const values = (messageAt(event, 5).get(1) ?? []).map((value): [string, Field | undefined] => {
    const fields = fieldsOf(value as Buffer);
    return [String(fields.get(1)?.[0]), fields.get(2)?.[0]];
  });
  return { wallTime: event.get(1)?.[0], step: event.get(2)?.[0] ?? 0, values };
}

describe('maskedCrc32c', () => {
  it('masks the CRC-32C of the known vector', () => {
    const data = Buffer.from('123456789');
    expect(crc32c(data)).toBe(0xe3069283);
    expect(unmasked(maskedCrc32c(data))).toBe(0xe3069283);
    // RFC 3720, B.4: 32 bytes of zeros.
    expect(unmasked(maskedCrc32c(new Uint8Array(32)))).toBe(0x8a9136aa);
  });
});

describe('openEventFile', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'saccade-events-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('starts with the version, in a file of the name that TensorBoard looks for', () => {
    const file = openEventFile(join(folder, 'new', 'run'), { now: () => 1_700_000_000_250 });
    file.close();
    const [name] = readdirSync(join(folder, 'new', 'run'));
    expect(name).toMatch(/^events\.out\.tfevents\.1700000000\.\S+$/);
    expect(file.path).toBe(join(folder, 'new', 'run', name));
    const [event, ...others] = eventsOf(file.path);
    expect(others).toEqual([]);
    expect(event.get(1)).toEqual([1_700_000_000.25]);
    expect(String(event.get(3)?.[0])).toBe('brain.Event:2');
  });

  it('writes each point with its step and time, readable before it is closed', () => {
    let nowMs = 1000;
    const file = openEventFile(folder, { now: () => (nowMs += 500) });
    file.scalar('loss', 0.5, 0);
    file.scalars({ 'rate/layer 1': 0.25, 'rate/größe': 2 }, 3_000_000_000);
    file.flush();
    expect(eventsOf(file.path).slice(1).map(pointOf)).toEqual([
      { wallTime: 2.5, step: 0, values: [['loss', 0.5]] },
      {
        wallTime: 3,
        step: 3_000_000_000,
        values: [
          ['rate/layer 1', 0.25],
          ['rate/größe', 2],
        ],
      },
    ]);
    file.close();
  });

  it('keeps values that are not finite or beyond 32 bits', () => {
    const file = openEventFile(folder);
    file.scalars({ a: NaN, b: -Infinity, c: 1e300 }, 1);
    file.close();
    expect(pointOf(eventsOf(file.path)[1]).values).toEqual([
      ['a', NaN],
      ['b', -Infinity],
      ['c', Infinity],
    ]);
  });

  it('writes texts as the text plugin reads them', () => {
    const file = openEventFile(folder);
    const markdown = `# config\n${'x'.repeat(300)}`;
    file.text('config', markdown, 2);
    file.close();
    const value = messageAt(messageAt(eventsOf(file.path)[1], 5), 1);
    expect(String(value.get(1)?.[0])).toBe('config');
    expect(String(messageAt(messageAt(value, 9), 1).get(1)?.[0])).toBe('text');
    const tensor = messageAt(value, 8);
    expect(tensor.get(1)).toEqual([7]);
    expect(messageAt(messageAt(tensor, 2), 2).get(1)).toEqual([1]);
    expect(String(tensor.get(8)?.[0])).toBe(markdown);
  });

  it('opens another file for a resumed run, even within the second', () => {
    const now = (): number => 5000;
    const first = openEventFile(folder, { now });
    first.scalar('loss', 2, 0);
    first.close();
    first.close();
    const before = readFileSync(first.path);
    const second = openEventFile(folder, { now });
    second.scalar('loss', 1, 1);
    second.close();
    expect(readFileSync(first.path)).toEqual(before);
    const files = readdirSync(folder).sort();
    expect(files).toHaveLength(2);
    const steps = files.map((name) => pointOf(eventsOf(join(folder, name))[1]).step);
    expect(steps).toEqual([0, 1]);
  });

  it('names the folder that it cannot write', () => {
    const blocked = join(folder, 'file');
    writeFileSync(blocked, '');
    const open = (): unknown => openEventFile(join(blocked, 'run'));
    expect(open).toThrow(SaccadeError);
    expect(open).toThrow(join(blocked, 'run'));
  });
});
