import { CdrReader } from '@foxglove/cdr';
import type { DecodeMark } from '../../format.js';

/** One message of a recording, whatever container it lies in. */
export interface RosMessage {
  readonly topic: string;
  /** ROS 1 style name of the type, such as `dvs_msgs/EventArray`. */
  readonly type: string;
  readonly serialization: 'ros1' | 'cdr';
  readonly data: Uint8Array;
  /** Where it (or the compressed chunk that holds it) lies in the file, for reports. */
  readonly offset: number;
  /** Its place in words, in containers without byte offsets. */
  readonly place?: string;
  /** From where its container can be read again, from this message on. */
  readonly mark: DecodeMark;
}

/** `dvs_msgs/msg/EventArray` (ROS 2) to `dvs_msgs/EventArray`. */
export function plainType(type: string): string {
  return type.replace('/msg/', '/');
}

/** Reads the fields of a message in order. Throws a `RangeError` where it ends early. */
export interface FieldReader {
  uint8(): number;
  uint16(): number;
  uint32(): number;
  uint64(): bigint;
  string(): string;
  /** The length of an array and then its bytes. */
  uint8Array(): Uint8Array;
}

export function readFields({ data, serialization }: RosMessage): FieldReader {
  return serialization === 'ros1' ? new Ros1Reader(data) : new CdrReader(data);
}

/** The time stamp and the frame's name, in front of every message with events. */
export function skipHeader(reader: FieldReader, { serialization }: RosMessage): void {
  if (serialization === 'ros1') reader.uint32(); // sequence number
  reader.uint32();
  reader.uint32();
  reader.string();
}

/** ROS 1 serialization: little-endian fields without gaps. */
class Ros1Reader implements FieldReader {
  private readonly view: DataView;
  private offset = 0;

  constructor(private readonly data: Uint8Array) {
    this.view = new DataView(data.buffer, data.byteOffset, data.length);
  }

  uint8(): number {
    return this.view.getUint8(this.offset++);
  }

  uint16(): number {
    this.offset += 2;
    return this.view.getUint16(this.offset - 2, true);
  }

  uint32(): number {
    this.offset += 4;
    return this.view.getUint32(this.offset - 4, true);
  }

  uint64(): bigint {
    this.offset += 8;
    return this.view.getBigUint64(this.offset - 8, true);
  }

  string(): string {
    return new TextDecoder().decode(this.uint8Array());
  }

  uint8Array(): Uint8Array {
    const length = this.uint32();
    const start = this.offset;
    if (start + length > this.data.length) throw new RangeError('array ends behind the message');
    this.offset += length;
    return this.data.subarray(start, this.offset);
  }
}
