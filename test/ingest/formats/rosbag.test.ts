import { Bag } from '@foxglove/rosbag';
import lz4 from 'lz4js';
import { describe, expect, it } from 'vitest';
import { rosbag } from '../../../ingest/formats/rosbag.js';
import { describeFormat } from '../formatConformance.js';
import { decodeBytes, encodeRows, type EventRow } from '../streams.js';
import { asPackets, evt3Range, rosRange } from './rosMessages.js';

// Behind the record of the connection: a bag has no checksums, and with another type it has no events.
describeFormat(rosbag, { ...rosRange, headerLength: 4_700 });
describeFormat(asPackets(rosbag), { ...rosRange, headerLength: 4_700 });
describeFormat(asPackets(rosbag, 'evt3'), { ...evt3Range, headerLength: 4_700 }, 'in EVT 3.0');

const sensor = { width: 346, height: 260 };
const rows = Array.from({ length: 100_000 }, (_, i): EventRow => [
  1e15 + i * 10,
  i % 346,
  i % 260,
  i & 1,
]);

/** A record of a bag: fields as `name=value`, then data. */
function record(fields: Record<string, string | number | Uint8Array>, data: Uint8Array): Buffer {
  const parts = Object.entries(fields).map(([name, value]) => {
    const bytes =
      typeof value === 'number'
        ? new Uint8Array(Uint32Array.of(value).buffer)
        : Buffer.from(value as string);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(name.length + 1 + bytes.length);
    return Buffer.concat([length, Buffer.from(`${name}=`), bytes]);
  });
  const header = Buffer.concat(parts);
  const lengths = [header, data].map(({ length }) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(length);
    return bytes;
  });
  return Buffer.concat([lengths[0], header, lengths[1], data]);
}

describe('rosbag', () => {
  it('writes a bag with an index that another reader follows', async () => {
    const bytes = await encodeRows(rosbag, sensor, rows, 1000);
    const bag = new Bag({
      size: () => bytes.length,
      read: (offset, length) => Promise.resolve(bytes.subarray(offset, offset + length)),
    });
    await bag.open();
    expect(bag.connections.get(0)).toMatchObject({ type: 'dvs_msgs/EventArray' });
    interface Read {
      width: number;
      events: { x: number; y: number; ts: { sec: number; nsec: number }; polarity: boolean }[];
    }
    const read: EventRow[] = [];
    for await (const { message } of bag.messageIterator()) {
      const { width, events } = message as Read;
      expect(width).toBe(sensor.width);
      for (const { x, y, ts, polarity } of events) {
        read.push([ts.sec * 1e6 + ts.nsec / 1000, x, y, polarity ? 1 : 0]);
      }
    }
    expect(read).toEqual(rows);
  });

  it('reads LZ4 chunks, and passes over a damaged one', async () => {
    const plain = Buffer.from(await encodeRows(rosbag, sensor, rows.slice(0, 300)));
    // Behind the magic and the padded header record, a chunk with a header of 41 bytes.
    const start = 13 + 4096;
    const headerLength = plain.readUInt32LE(start);
    const length = plain.readUInt32LE(start + 4 + headerLength);
    const content = plain.subarray(start + 8 + headerLength, start + 8 + headerLength + length);
    const op = Uint8Array.of(5);
    const compressed = lz4.compress(content);
    const chunk = record({ op, compression: 'lz4', size: length }, compressed);
    const damaged = record({ op, compression: 'lz4', size: length + 1 }, compressed);
    const unknown = record({ op, compression: 'zip', size: length }, compressed);
    const bag = Buffer.concat([plain.subarray(0, start), damaged, chunk, unknown]);
    const { rows: read, report } = await decodeBytes(rosbag, bag);
    expect(read).toEqual(rows.slice(0, 300));
    expect(report.damages.map(({ offset }) => offset)).toEqual([
      start,
      start + damaged.length + chunk.length,
    ]);
    expect(report.damages[1].message).toMatch(/"zip", expected none, lz4 or bz2/);
  });

  it('names the topics where none has events', async () => {
    const connection = (conn: number, topic: string, type: string): Buffer => {
      const data = record({ topic, type }, new Uint8Array(0)).subarray(4, -4);
      return record({ op: Uint8Array.of(7), conn, topic }, data);
    };
    const message = record(
      { op: Uint8Array.of(2), conn: 3, time: new Uint8Array(8) },
      new Uint8Array(4),
    );
    const bag = Buffer.concat([
      Buffer.from('#ROSBAG V2.0\n'),
      connection(3, '/imu', 'sensor_msgs/Imu'),
      message,
    ]);
    await expect(decodeBytes(rosbag, bag)).rejects.toThrow(/\/imu \(sensor_msgs\/Imu\)/);
  });
});
