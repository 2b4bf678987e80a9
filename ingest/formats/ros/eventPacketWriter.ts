import { CdrWriter, EncapsulationKind } from '@foxglove/cdr';
import { emptyBatch, type EventBatch, sliceBatch } from '../../eventBatch.js';
import type { EncodeOptions } from '../../format.js';
import { rebatch } from '../../rebatch.js';
import {
  checkRosEvents,
  describeType,
  type MessageKind,
  stampOf,
  type WrittenMessage,
} from './written.js';

const messageLength = 8_192;
const eventLength = 8;
/** The latest time in a packet after its first event, µs: the field holds 32 bits of ns. */
const maxSpanUs = Math.floor((2 ** 32 - 1) / 1000);
const encoding = 'mono';

/**
 * `event_camera_msgs/EventPacket` messages of up to 8,192 events in the encoding `mono`, which holds all that is in
 * an event (`eventPacket.ts`).
 */
export function eventPackets(ros: 1 | 2): MessageKind {
  const fields = [
    'std_msgs/Header header',
    'uint32 height',
    'uint32 width',
    'uint64 seq',
    'uint64 time_base',
    'string encoding',
    'bool is_bigendian',
    'uint8[] events',
  ];
  return {
    ...describeType(ros, 'event_camera_msgs/EventPacket', [fields.join('\n')]),
    md5sum: '8a6101b351a64529ac77bd8b71074e52',
    messages: (batches, options) => writeEventPackets(batches, options, ros),
  };
}

async function* writeEventPackets(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
  ros: 1 | 2,
): AsyncGenerator<WrittenMessage> {
  const write = ros === 1 ? writeRos1 : writeCdr;
  let sequence = 0;
  for await (const batch of rebatch(checkRosEvents(batches, options, ros), messageLength)) {
    for (let start = 0; start < batch.length;) {
      const end = packetEnd(batch, start);
      yield write(sliceBatch(batch, start, end), sequence++);
      start = end;
    }
  }
  if (sequence === 0) yield write(emptyBatch(options.sensor), 0);
}

/** Index of the first event behind `start` whose time does not fit into a packet that begins there. */
function packetEnd({ length, tUs }: EventBatch, start: number): number {
  const baseUs = tUs[start];
  let end = start + 1;
  while (end < length && tUs[end] >= baseUs && tUs[end] - baseUs <= maxSpanUs) end++;
  return end;
}

/** Bit 63 polarity, 48-62 y, 32-47 x, 0-31 time in ns after the packet's. */
function monoWords({ length, tUs, x, y, polarity }: EventBatch): Uint8Array {
  const words = new DataView(new ArrayBuffer(eventLength * length));
  for (let i = 0; i < length; i++) {
    words.setUint32(eventLength * i, 1000 * (tUs[i] - tUs[0]), true);
    const on = polarity[i] === 0 ? 0 : 1;
    words.setUint32(eventLength * i + 4, (on << 31) | (y[i] << 16) | x[i], true);
  }
  return new Uint8Array(words.buffer);
}

function writeRos1(batch: EventBatch, sequence: number): WrittenMessage {
  const { timeNs, seconds, ns } = stampOf(batch);
  const events = monoWords(batch);
  const data = Buffer.alloc(28 + 16 + encoding.length + 5 + events.length);
  let at = 0;
  const uint32 = (value: number): void => void (at = data.writeUInt32LE(value, at));
  for (const value of [sequence, seconds, ns, 0]) uint32(value);
  uint32(batch.sensor.height);
  uint32(batch.sensor.width);
  at = data.writeBigUInt64LE(BigInt(sequence), at);
  at = data.writeBigUInt64LE(timeNs, at);
  uint32(encoding.length);
  at += data.write(encoding, at);
  at = data.writeUInt8(0, at); // little-endian
  uint32(events.length);
  data.set(events, at);
  return { timeNs, data };
}

function writeCdr(batch: EventBatch, sequence: number): WrittenMessage {
  const { timeNs, seconds, ns } = stampOf(batch);
  const events = monoWords(batch);
  const writer = new CdrWriter({ kind: EncapsulationKind.CDR_LE, size: 96 + events.length });
  writer.int32(seconds).uint32(ns).string('');
  writer.uint32(batch.sensor.height).uint32(batch.sensor.width);
  writer.uint64(BigInt(sequence)).uint64(timeNs).string(encoding).uint8(0);
  writer.uint8Array(events, true);
  return { timeNs, data: writer.data };
}
