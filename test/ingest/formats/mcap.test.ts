import { McapStreamReader } from '@mcap/core';
import { describe, expect, it } from 'vitest';
import { mcap } from '../../../ingest/formats/mcap.js';
import { describeFormat } from '../formatConformance.js';
import type { EncodeOptions } from '../../../ingest/format.js';
import { collect, decodeBytes, encodeRows, type EventRow, streamOf } from '../streams.js';
import { asPackets, rosRange } from './rosMessages.js';

describeFormat(mcap, { ...rosRange, headerLength: 8 });
describeFormat(asPackets(mcap), { ...rosRange, headerLength: 8 });
describeFormat(
  asPackets(mcap, 'libcaer'),
  { ...rosRange, headerLength: 8, share: 0.5 },
  'in libcaer words',
);

const rows = Array.from({ length: 20_000 }, (_, i): EventRow => [i * 10, i % 300, i % 200, i & 1]);
const sensor = { width: 346, height: 260 };

describe('mcap', () => {
  it('writes what the MCAP library reads', async () => {
    const reader = new McapStreamReader();
    reader.append(await encodeRows(mcap, sensor, rows, 1000));
    const records = [];
    for (let record; (record = reader.nextRecord());) records.push(record);
    expect(reader.done()).toBe(true);
    expect(records.filter(({ type }) => type === 'Message')).toHaveLength(3);
    expect(records.find(({ type }) => type === 'Schema')).toMatchObject({
      name: 'dvs_msgs/msg/EventArray',
      encoding: 'ros2msg',
    });
  });

  it('has variants of EventPacket only, for sensors that they can address', async () => {
    const write = (options: Partial<EncodeOptions>, size = sensor): Promise<Uint8Array[]> =>
      collect(mcap.encode(streamOf([]), { file: 'written', sensor: size, ...options }));
    const wrong = write({ rosMessage: 'EventArray', variant: 'evt3' });
    await expect(wrong).rejects.toThrow(/"evt3" is of EventPacket/);
    await expect(write({ variant: 'mono2' })).rejects.toThrow(/has only libcaer, evt3/);
    const large = { width: 2_049, height: 1 };
    await expect(write({ variant: 'evt3' }, large)).rejects.toThrow(/evt3 .*2048x2048, not 2049x1/);
    const bytes = Buffer.concat(await write({ variant: 'libcaer' }, large));
    expect(bytes.includes('EventPacket')).toBe(true);
  });

  it('passes over a damaged chunk and says where it is', async () => {
    const many = Array.from({ length: 400_000 }, (_, i): EventRow => [i, i % 300, i % 200, 1]);
    const bytes = await encodeRows(mcap, sensor, many, 10_000);
    bytes[2_000_000] ^= 0xff;
    const { rows: read, report } = await decodeBytes(mcap, bytes);
    expect(report.damageCount).toBe(1);
    expect(report.damages[0].message).toMatch(/CRC/);
    expect(report.damages[0].offset).toBeGreaterThan(0);
    expect(read.length).toBeGreaterThan(200_000);
    expect(read.length).toBeLessThan(many.length);
    expect(read.at(-1)).toEqual(many.at(-1));
  });
});
