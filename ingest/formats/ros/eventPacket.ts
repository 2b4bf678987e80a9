import { ByteReader } from '../../bytes.js';
import { BatchBuilder, defaultBatchLength } from '../../eventBatch.js';
import { countSkipped, type DecodeReport } from '../../format.js';
import { Evt3Decoder } from '../evt3.js';
import type { FieldReader } from './message.js';

/** Codecs of `event_camera_msgs/EventPacket`, by the name in its field `encoding`. */
const codecs: Readonly<Record<string, (state: readonly number[]) => PacketCodec>> = {
  evt3: createEvt3Codec,
  libcaer: () => ({ decode: decodeLibcaer }),
  libcaer_cmp: createLibcaerCompressedCodec,
  mono: () => ({ decode: decodeMono }),
  trigger: () => ({ decode: passOverTriggers }),
};

/** The latest time that packets may count from, and the longest that those of one may last, µs: together they stay exact. */
const maxUs = 2 ** 52;

interface Packet {
  readonly view: DataView;
  readonly littleEndian: boolean;
  /** Time that the events' own times count from, whole µs and the ns above. */
  readonly baseUs: number;
  readonly baseNs: number;
}

/** A codec is made once per recording: it may keep state between packets. */
interface PacketCodec {
  /** Adds the events of a packet. */
  decode(packet: Packet, events: BatchBuilder, report: DecodeReport): void | Promise<void>;
  /** What it keeps, from which a new one can go on. */
  state?(): readonly number[];
}

/**
 * Reads `event_camera_msgs/EventPacket` (`event_array_msgs/EventArray`) messages of one topic behind
 * their size: `uint64 seq, uint64 time_base (ns), string encoding, bool is_bigendian, uint8[] events`.
 *
 * Encodings, see ros-event-camera/event_camera_codecs:
 * - `evt3`: Prophesee EVT 3.0 words; time and row carry over from packet to packet, and are the sensor's own.
 * - `libcaer`: 8 bytes, the polarity event of AEDAT 3.1 (bit 1 polarity, 2–16 y, 17–31 x) and a 31-bit time in µs.
 * - `libcaer_cmp`: 16-bit words with the type in the top four bits; the time starts anew with each packet, the place carries over.
 * - `mono`: 64 bits, polarity 63, y 48–62, x 32–47 and time in ns 0–31.
 * - `trigger`: 64 bits as in `mono`, of external triggers, which are counted.
 */
export class EventPacketReader {
  private readonly made = new Map<string, PacketCodec>();

  /** @param resumed what `state` gave in front of the packet that is read first. */
  constructor(private readonly resumed: readonly number[] = []) {}

  /** What packets to come depend on. */
  state(): readonly number[] {
    for (const codec of this.made.values()) if (codec.state !== undefined) return codec.state();
    return this.resumed;
  }

  async read(reader: FieldReader, events: BatchBuilder, report: DecodeReport): Promise<void> {
    reader.uint64(); // sequence number
    const timeBase = reader.uint64();
    const encoding = reader.string();
    const littleEndian = reader.uint8() === 0;
    const data = reader.uint8Array();
    let codec = this.made.get(encoding);
    if (codec === undefined) {
      const make = Object.hasOwn(codecs, encoding) ? codecs[encoding] : undefined;
      if (make === undefined) {
        const known = Object.keys(codecs).join(', ');
        throw new RangeError(`encoding "${encoding.slice(0, 40)}", expected one of ${known}`);
      }
      codec = make(this.resumed);
      this.made.set(encoding, codec);
    }
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    const baseUs = Number(timeBase / 1000n);
    const baseNs = Number(timeBase % 1000n);
    // EVT 3.0 words have the sensor's own times.
    if (baseUs > maxUs && encoding !== 'evt3') {
      throw new RangeError(`a time base of ${timeBase} ns, expected at most ${maxUs} µs`);
    }
    await codec.decode({ view, littleEndian, baseUs, baseNs }, events, report);
  }
}

/** Feeds the packets' words, one after the other, to the decoder of `.raw` files. */
function createEvt3Codec(resumed: readonly number[]): PacketCodec {
  let words = new Uint8Array(0);
  const input = new ByteReader(
    (async function* () {
      for (;;) yield words;
    })(),
    'packet',
  );
  let decoder: Evt3Decoder | undefined;
  let decoded: BatchBuilder | undefined;
  const state = (): readonly number[] => decoder?.mark(input).state ?? [];
  const decode: PacketCodec['decode'] = async ({ view, littleEndian }, events, report) => {
    decoded ??= new BatchBuilder(events.sensor, defaultBatchLength);
    if (decoder === undefined) {
      decoder = new Evt3Decoder(events.sensor, report);
      if (resumed.length > 0) decoder.resume(resumed);
    }
    words = new Uint8Array(view.byteLength & ~1);
    for (let at = 0; at < words.length; at += 2) {
      new DataView(words.buffer).setUint16(at, view.getUint16(at, littleEndian), true);
    }
    for (let left = words.length; left > 0;) {
      const before = input.available;
      await input.fill();
      left -= input.available - before;
      let count: number;
      do {
        decoder.decode(input, decoded, defaultBatchLength);
        count = decoded.length;
        events.append(decoded.take());
      } while (count === defaultBatchLength);
    }
  };
  return { decode, state };
}

function decodeLibcaer(packet: Packet, events: BatchBuilder, report: DecodeReport): void {
  const { view, littleEndian, baseUs } = packet;
  const { width, height } = events.sensor;
  let wrapUs = 0;
  let lastUs = 0;
  let outside = 0;
  for (let at = 0; at + 8 <= view.byteLength; at += 8) {
    const data = view.getUint32(at, littleEndian);
    const us = view.getInt32(at + 4, littleEndian);
    if (us < lastUs - 2 ** 30) wrapUs += 2 ** 31;
    if (wrapUs >= maxUs) throw new RangeError(`times that last more than ${maxUs} µs`);
    lastUs = us;
    const x = data >>> 17;
    const y = (data >>> 2) & 0x7fff;
    if (x >= width || y >= height) outside++;
    else events.push(baseUs + wrapUs + us, x, y, (data >>> 1) & 1);
  }
  countSkipped(report, 'outsideSensor', outside);
}

function createLibcaerCompressedCodec(resumed: readonly number[]): PacketCodec {
  let [x = 0, baseY = 0, polarity = 0] = resumed;
  const state = (): readonly number[] => [x, baseY, polarity];
  const decode: PacketCodec['decode'] = ({ view, littleEndian, baseUs }, events, report) => {
    const { width, height } = events.sensor;
    let highUs = 0;
    let lowUs = 0;
    let outside = 0;
    let unknown = 0;
    for (let at = 0; at + 2 <= view.byteLength; at += 2) {
      const word = view.getUint16(at, littleEndian);
      const value = word & 0xfff;
      switch (word >> 12) {
        case 0:
          highUs = value * 4096;
          break;
        case 1:
          lowUs = value;
          break;
        case 2:
          x = word & 0x7ff;
          break;
        case 3: {
          const y = word & 0x7ff;
          if (x >= width || y >= height) outside++;
          else events.push(baseUs + highUs + lowUs, x, y, (word >> 11) & 1);
          break;
        }
        case 4:
          baseY = word & 0x7ff;
          polarity = (word >> 11) & 1;
          break;
        case 5:
          for (let bit = 0; bit < 8; bit++) {
            if ((word & (1 << bit)) === 0) continue;
            if (x >= width || baseY + bit >= height) outside++;
            else events.push(baseUs + highUs + lowUs, x, baseY + bit, polarity);
          }
          baseY += 8;
          break;
        default:
          unknown++;
      }
    }
    countSkipped(report, 'outsideSensor', outside);
    countSkipped(report, 'unknownWord', unknown);
  };
  return { decode, state };
}

function passOverTriggers({ view }: Packet, _events: BatchBuilder, report: DecodeReport): void {
  countSkipped(report, 'trigger', view.byteLength >>> 3);
}

function decodeMono(packet: Packet, events: BatchBuilder, report: DecodeReport): void {
  const { view, littleEndian, baseUs, baseNs } = packet;
  const { width, height } = events.sensor;
  const [low, high] = littleEndian ? [0, 4] : [4, 0];
  let outside = 0;
  for (let at = 0; at + 8 <= view.byteLength; at += 8) {
    const ns = view.getUint32(at + low, littleEndian);
    const word = view.getUint32(at + high, littleEndian);
    const x = word & 0xffff;
    const y = (word >>> 16) & 0x7fff;
    if (x >= width || y >= height) outside++;
    else events.push(baseUs + Math.floor((baseNs + ns) / 1000), x, y, word >>> 31);
  }
  countSkipped(report, 'outsideSensor', outside);
}
