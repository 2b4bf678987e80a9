import type { EventBatch } from '../../eventBatch.js';
import type { EncodeOptions } from '../../format.js';
import { checkEvents } from '../../rebatch.js';

/** A message to write. */
export interface WrittenMessage {
  /** Time of its first event. */
  readonly timeNs: bigint;
  readonly data: Uint8Array;
}

/** Messages of one type, as containers write them. */
export interface MessageKind {
  readonly name: string;
  /** The type's definition, which containers keep beside the messages. */
  readonly definition: string;
  /** ROS 1's checksum of the type. */
  readonly md5sum: string;
  messages(
    batches: AsyncIterable<EventBatch>,
    options: EncodeOptions,
  ): AsyncGenerator<WrittenMessage>;
}

const ros1Second = 2 ** 32;
/** Seconds are signed in ROS 2. */
const ros2Second = 2 ** 31;

/** As `checkEvents`, and refuses times that a stamp cannot hold. */
export function checkRosEvents(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
  ros: 1 | 2,
): AsyncGenerator<EventBatch> {
  const seconds = ros === 1 ? ros1Second : ros2Second;
  return checkEvents(batches, options, (tUs) =>
    tUs < 0 || tUs >= seconds * 1e6
      ? `ROS ${ros} holds times from 0 to ${seconds - 1} s`
      : undefined,
  );
}

/** The time of the first event, also in seconds and ns. */
export function stampOf({ length, tUs }: EventBatch): {
  readonly timeNs: bigint;
  readonly seconds: number;
  readonly ns: number;
} {
  const firstUs = length === 0 ? 0 : tUs[0];
  const seconds = Math.floor(firstUs / 1e6);
  return { timeNs: BigInt(firstUs) * 1000n, seconds, ns: 1000 * (firstUs - 1e6 * seconds) };
}

export const timeType = (ros: 1 | 2): string => (ros === 1 ? 'time' : 'builtin_interfaces/Time');

/** @param parts the type's definition, then those of the types in it, but for the header's. */
export function describeType(
  ros: 1 | 2,
  type: string,
  [own, ...others]: readonly string[],
): { name: string; definition: string } {
  const sequence = ros === 1 ? 'uint32 seq\n' : '';
  const parts = [
    own,
    `MSG: std_msgs/Header\n${sequence}${timeType(ros)} stamp\nstring frame_id`,
    ...others,
    ...(ros === 1 ? [] : ['MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec']),
  ];
  const name = ros === 1 ? type : type.replace('/', '/msg/');
  return { name, definition: `${parts.join(`\n${'='.repeat(80)}\n`)}\n` };
}
