import { SaccadeError } from '../../../engine/support/errors.js';
import { throwIfAborted } from '../../bytes.js';
import {
  BatchBuilder,
  defaultBatchLength,
  type EventBatch,
  type SensorSize,
} from '../../eventBatch.js';
import { countSkipped, type DecodeMark, type DecodeOptions, reportDamage } from '../../format.js';
import { type MarkedBatch, markOfPart, rebatchMarked } from '../../rebatch.js';
import { readEventArray } from './eventArray.js';
import { EventPacketReader } from './eventPacket.js';
import { readFields, type RosMessage, skipHeader } from './message.js';

type MessageKind = 'array' | 'packet';

/** Types of messages that hold events. */
const kinds: Readonly<Record<string, MessageKind>> = {
  'dvs_msgs/EventArray': 'array',
  'prophesee_event_msgs/EventArray': 'array',
  'event_camera_msgs/EventPacket': 'packet',
  'event_array_msgs/EventArray': 'packet',
};

export const rosLimits: SensorSize = { width: 65_536, height: 65_536 };

/**
 * The events of a recording's messages, in the order of the messages. Of several topics with events, the
 * first one is read (or `options.layout.path`); messages of others are counted by topic in the report.
 * A damaged message is reported and passed over.
 *
 * @param readMessages reads the container from its start on, or from the mark of a message.
 * @throws SaccadeError (`input`) that lists the topics, where there are messages but none with events.
 */
export function decodeRosEvents(
  readMessages: (from: DecodeMark | undefined) => AsyncIterable<RosMessage>,
  options: DecodeOptions,
): AsyncGenerator<EventBatch> {
  const resume = markOfPart(options.resume);
  if (resume === undefined) {
    return rebatchMarked(eventsOf(readMessages(undefined), options, []), options);
  }
  // The length of the codec's state, the state, and what the container needs.
  const [length, ...state] = resume.state;
  const from = { offset: resume.offset, state: state.slice(length) };
  return rebatchMarked(eventsOf(readMessages(from), options, state.slice(0, length)), options);
}

async function* eventsOf(
  messages: AsyncIterable<RosMessage>,
  options: DecodeOptions,
  codecState: readonly number[],
): AsyncGenerator<MarkedBatch> {
  const { report } = options;
  const packets = new EventPacketReader(codecState);
  let topic = options.layout?.path;
  let events: BatchBuilder | undefined;
  const others = new Map<string, string>();
  for await (const message of messages) {
    throwIfAborted(options.signal, options.file);
    const kind = Object.hasOwn(kinds, message.type) ? kinds[message.type] : undefined;
    if (kind !== undefined) topic ??= message.topic;
    if (kind === undefined || message.topic !== topic) {
      others.set(message.topic, message.type);
      countSkipped(report, `message of ${message.topic}`);
      continue;
    }
    const before = packets.state();
    const { offset, state } = message.mark;
    const mark = { offset, state: [before.length, ...before, ...state] };
    try {
      const reader = readFields(message);
      skipHeader(reader, message);
      const height = reader.uint32();
      const width = reader.uint32();
      // What the first message says counts, wherever reading begins.
      const sensor = options.resume ? options.sensor : sensorOf(width, height, options.sensor);
      events ??= new BatchBuilder(sensor ?? rosLimits, defaultBatchLength);
      if (kind === 'array') readEventArray(reader, message.data.length, events, report);
      else await packets.read(reader, events, report);
    } catch (error) {
      if (error instanceof SaccadeError || !(error instanceof Error)) throw error;
      const which = `${message.type} of ${message.place ?? message.topic}`;
      reportDamage(report, message.offset, `${which}: ${error.message}`);
    }
    if (events !== undefined && events.length > 0) yield { batch: events.take(), mark };
  }
  if (events !== undefined || report.damageCount > 0) return;
  if (others.size === 0) {
    reportDamage(report, 0, 'there are no messages');
    return;
  }
  const there = [...others].map(([name, type]) => `${name} (${type})`).join(', ');
  const wanted = topic === undefined ? `of a type ${Object.keys(kinds).join(', ')}` : `of ${topic}`;
  const message = `expected messages with events ${wanted}; topics here: ${there}`;
  throw new SaccadeError('input', message, { file: options.file });
}

function sensorOf(width: number, height: number, given?: SensorSize): SensorSize {
  const stated = width > 0 && height > 0;
  if (stated && width <= rosLimits.width && height <= rosLimits.height) return { width, height };
  return given ?? rosLimits;
}
