import { CdrWriter, EncapsulationKind } from '@foxglove/cdr';
import { SaccadeError } from '../../../engine/support/errors.js';
import { ByteWriter } from '../../bytes.js';
import { emptyBatch, type EventBatch, type SensorSize, sliceBatch } from '../../eventBatch.js';
import type { EncodeOptions } from '../../format.js';
import { rebatch } from '../../rebatch.js';
import { Evt3Encoder } from '../evt3.js';
import { evtLimits } from '../propheseeHeader.js';
import {
  checkRosEvents,
  describeType,
  type MessageKind,
  stampOf,
  type WrittenMessage,
} from './written.js';

const messageLength = 8_192;
const eventLength = 8;
/** How the events of packets are written. */
interface PacketEncoding {
  readonly name: string;
  /** The largest sensor that it can address. */
  readonly limits: SensorSize;
  /** The latest time in a packet after its first event, µs; infinite where times may also go back. */
  readonly maxSpanUs: number;
  /** The events of the next packet. */
  encode(batch: EventBatch, before: number): Uint8Array;
}

/** Encodings that are written besides `mono`, as variants. */
export const packetVariants = ['libcaer', 'evt3'];

/**
 * `event_camera_msgs/EventPacket` messages of up to 8,192 events (`eventPacket.ts`) in the encoding `mono`, or in another
 * one that the variant names. `mono` and `libcaer` hold all that is in an event; `evt3` only times that are no Unix times,
 * as `.raw` files of EVT 3.0.
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
  const encoding = startEncoding(options);
  let sequence = 0;
  let written = 0;
  for await (const batch of rebatch(checkRosEvents(batches, options, ros), messageLength)) {
    for (let start = 0; start < batch.length;) {
      const end = packetEnd(batch, start, encoding.maxSpanUs);
      const packet = sliceBatch(batch, start, end);
      yield write(packet, sequence++, encoding.name, encoding.encode(packet, written + start));
      start = end;
    }
    written += batch.length;
  }
  if (sequence === 0) yield write(emptyBatch(options.sensor), 0, encoding.name, new Uint8Array(0));
}

/** Index of the first event behind `start` whose time does not fit into a packet that begins there. */
function packetEnd({ length, tUs }: EventBatch, start: number, maxSpanUs: number): number {
  if (maxSpanUs === Infinity) return length;
  const baseUs = tUs[start];
  let end = start + 1;
  while (end < length && tUs[end] >= baseUs && tUs[end] - baseUs <= maxSpanUs) end++;
  return end;
}

function startEncoding(options: EncodeOptions): PacketEncoding {
  const { sensor, file, variant } = options;
  const encoding = variant === 'evt3' ? startEvt3(options) : variant === 'libcaer' ? libcaer : mono;
  const { width, height } = encoding.limits;
  if (sensor.width <= width && sensor.height <= height) return encoding;
  const message = `the encoding ${encoding.name} holds sensors up to ${width}x${height}, not ${sensor.width}x${sensor.height}`;
  throw new SaccadeError('input', message, { file });
}

const mono: PacketEncoding = {
  name: 'mono',
  limits: { width: 65_536, height: 32_768 },
  // The field holds 32 bits of ns.
  maxSpanUs: Math.floor((2 ** 32 - 1) / 1000),
  encode: monoWords,
};

const libcaer: PacketEncoding = {
  name: 'libcaer',
  limits: { width: 32_768, height: 32_768 },
  maxSpanUs: 2 ** 31 - 1,
  encode: libcaerWords,
};

/** Words of one encoder for all packets, as its decoder's state carries over from one to the next. */
function startEvt3({ sensor, file }: EncodeOptions): PacketEncoding {
  const encoder = new Evt3Encoder(sensor);
  const output = new ByteWriter();
  return {
    name: 'evt3',
    limits: evtLimits,
    maxSpanUs: Infinity,
    encode({ length, tUs, x, y, polarity }, before) {
      for (let i = 0; i < length; i++) {
        const problem = encoder.write(output, tUs[i], x[i], y[i], polarity[i] === 0 ? 0 : 1);
        if (problem === undefined) continue;
        const event = `event ${before + i} (t ${tUs[i]} µs, x ${x[i]}, y ${y[i]})`;
        throw new SaccadeError('input', `cannot write ${event}: ${problem}`, { file });
      }
      encoder.end(output);
      return output.take();
    },
  };
}

/** As polarity events of AEDAT 3.1: bit 0 valid, 1 polarity, 2-16 y, 17-31 x; then the time after the packet's, µs. */
function libcaerWords({ length, tUs, x, y, polarity }: EventBatch): Uint8Array {
  const words = new DataView(new ArrayBuffer(eventLength * length));
  for (let i = 0; i < length; i++) {
    const on = polarity[i] === 0 ? 0 : 1;
    words.setUint32(eventLength * i, (x[i] << 17) | (y[i] << 2) | (on << 1) | 1, true);
    words.setInt32(eventLength * i + 4, tUs[i] - tUs[0], true);
  }
  return new Uint8Array(words.buffer);
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

function writeRos1(
  batch: EventBatch,
  sequence: number,
  encoding: string,
  events: Uint8Array,
): WrittenMessage {
  const { timeNs, seconds, ns } = stampOf(batch);
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

function writeCdr(
  batch: EventBatch,
  sequence: number,
  encoding: string,
  events: Uint8Array,
): WrittenMessage {
  const { timeNs, seconds, ns } = stampOf(batch);
  const writer = new CdrWriter({ kind: EncapsulationKind.CDR_LE, size: 96 + events.length });
  writer.int32(seconds).uint32(ns).string('');
  writer.uint32(batch.sensor.height).uint32(batch.sensor.width);
  writer.uint64(BigInt(sequence)).uint64(timeNs).string(encoding).uint8(0);
  writer.uint8Array(events, true);
  return { timeNs, data: writer.data };
}
