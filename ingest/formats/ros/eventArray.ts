import { CdrWriter, EncapsulationKind } from '@foxglove/cdr';
import { type BatchBuilder, emptyBatch, type EventBatch } from '../../eventBatch.js';
import { countSkipped, type DecodeReport, type EncodeOptions } from '../../format.js';
import { rebatch } from '../../rebatch.js';
import type { FieldReader } from './message.js';
import {
  checkRosEvents,
  describeType,
  type MessageKind,
  stampOf,
  timeType,
  type WrittenMessage,
} from './written.js';

/** One event of a message that was read. */
const eventLength = 13;

/**
 * Reads the events of a `dvs_msgs/EventArray` (also `prophesee_event_msgs/EventArray`) behind its size:
 * `Event[] { uint16 x, uint16 y, time ts, bool polarity }`. Times are cut to whole µs.
 *
 * @param bytes of the whole message, which bounds the count.
 */
export function readEventArray(
  reader: FieldReader,
  bytes: number,
  events: BatchBuilder,
  report: DecodeReport,
): void {
  const { width, height } = events.sensor;
  const count = reader.uint32();
  if (count * eventLength > bytes) {
    throw new RangeError(`it states ${count} events, more than its ${bytes} bytes hold`);
  }
  let outside = 0;
  for (let i = 0; i < count; i++) {
    const x = reader.uint16();
    const y = reader.uint16();
    const seconds = reader.uint32();
    const nanoseconds = reader.uint32();
    const polarity = reader.uint8();
    if (x >= width || y >= height) outside++;
    else events.push(seconds * 1e6 + Math.floor(nanoseconds / 1000), x, y, polarity === 0 ? 0 : 1);
  }
  countSkipped(report, 'outsideSensor', outside);
}

const messageLength = 8_192;
/** From event to event in CDR; nothing follows the last one's 13 bytes. */
const cdrEventStep = 16;
const cdrEventsLength = (events: number): number =>
  events === 0 ? 0 : cdrEventStep * (events - 1) + eventLength;

/** Batches to messages of 8,192 events each. An empty recording becomes one message without events. */
async function* writeEventArrays(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
  ros: 1 | 2,
): AsyncGenerator<WrittenMessage> {
  const checked = checkRosEvents(batches, options, ros);
  const write = ros === 1 ? writeRos1 : writeCdr;
  let sequence = 0;
  for await (const batch of rebatch(checked, messageLength)) yield write(batch, sequence++);
  if (sequence === 0) yield write(emptyBatch(options.sensor), 0);
}

function writeRos1(batch: EventBatch, sequence: number): WrittenMessage {
  const { sensor, length, tUs, x, y, polarity } = batch;
  const { timeNs, seconds, ns } = stampOf(batch);
  const data = new Uint8Array(28 + eventLength * length);
  const view = new DataView(data.buffer);
  [sequence, seconds, ns, 0, sensor.height, sensor.width, length].forEach((value, i) =>
    view.setUint32(4 * i, value, true),
  );
  for (let i = 0, at = 28; i < length; i++, at += eventLength) {
    const second = Math.floor(tUs[i] / 1e6);
    view.setUint16(at, x[i], true);
    view.setUint16(at + 2, y[i], true);
    view.setUint32(at + 4, second, true);
    view.setUint32(at + 8, 1000 * (tUs[i] - 1e6 * second), true);
    view.setUint8(at + 12, polarity[i]);
  }
  return { timeNs, data };
}

function writeCdr(batch: EventBatch): WrittenMessage {
  const { sensor, length, tUs, x, y, polarity } = batch;
  const { timeNs, seconds, ns } = stampOf(batch);
  const writer = new CdrWriter({ kind: EncapsulationKind.CDR_LE, size: 64 });
  writer.int32(seconds).uint32(ns).string('');
  writer.uint32(sensor.height).uint32(sensor.width).sequenceLength(length);
  const head = writer.data;
  const data = new Uint8Array(head.length + cdrEventsLength(length));
  data.set(head);
  // By hand, as the writer takes most of the time. The fields are aligned to their own sizes: x follows the polarity
  // before it by one byte, and the time begins each 16 bytes.
  const view = new DataView(data.buffer);
  for (let i = 0, at = head.length; i < length; i++, at += cdrEventStep) {
    const second = Math.floor(tUs[i] / 1e6);
    const places = i === 0 ? at : at - 2;
    view.setUint16(places, x[i], true);
    view.setUint16(places + 2, y[i], true);
    view.setInt32(at + 4, second, true);
    view.setUint32(at + 8, 1000 * (tUs[i] - 1e6 * second), true);
    view.setUint8(at + 12, polarity[i]);
  }
  return { timeNs, data };
}

/** The messages that are written without another wish. */
export function eventArrays(ros: 1 | 2): MessageKind {
  const time = timeType(ros);
  return {
    ...describeType(ros, 'dvs_msgs/EventArray', [
      'std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events',
      `MSG: dvs_msgs/Event\nuint16 x\nuint16 y\n${time} ts\nbool polarity`,
    ]),
    md5sum: '5e8beee5a6c107e504c2e78903c224b8',
    messages: (batches, options) => writeEventArrays(batches, options, ros),
  };
}
