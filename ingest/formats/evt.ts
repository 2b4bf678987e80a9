import { SaccadeError } from '../../engine/support/errors.js';
import type { ByteReader } from '../bytes.js';
import type { SensorSize } from '../eventBatch.js';
import type { DecodeOptions, EncodeOptions, EventFormat } from '../format.js';
import { type BlockDecoder, decodeEvents, encodeEvents, type EventEncoder } from '../transcode.js';
import {
  evtEncodingOf,
  evtLimits,
  evtSensorOf,
  propheseeLines,
  readPropheseeLines,
} from './propheseeHeader.js';

const evtUsualSensors: readonly SensorSize[] = [
  { width: 320, height: 320 },
  { width: 640, height: 480 },
  { width: 1280, height: 720 },
];

/** What sets one version of EVT apart. */
export interface EvtVersion extends Pick<EventFormat, 'name' | 'extensions'> {
  /** As headers state it, for instance `2.1`. */
  readonly version: string;
  /** Begins to decode behind the header, whose lines it is given. */
  decoder(
    sensor: SensorSize,
    options: DecodeOptions,
    input: ByteReader,
    lines: readonly string[],
  ): BlockDecoder | Promise<BlockDecoder>;
  encoder(sensor: SensorSize, options: EncodeOptions): EventEncoder;
}

/** A version of Prophesee's EVT: header lines `% key value`, then little-endian words. */
export function defineEvt({ version, decoder, encoder, ...names }: EvtVersion): EventFormat {
  return {
    ...names,
    title: `Prophesee EVT ${version} (.raw)`,
    holdsSensorSize: true,
    usualSensors: evtUsualSensors,
    limits: evtLimits,

    detect: ({ head }) => (evtEncodingOf(propheseeLines(head)) === version ? 1 : 0),

    sensorOf: (head) => evtSensorOf(propheseeLines(head)),

    decode: (bytes, options) =>
      decodeEvents(bytes, options, async (input) => {
        const lines = await readEvtHeader(input, version, options.file);
        const sensor = evtSensorOf(lines) ?? options.sensor ?? evtLimits;
        return decoder(sensor, options, input, lines);
      }),

    encode: (batches, options) => {
      requireEvtSensor(version, options);
      return encodeEvents(batches, options, encoder(options.sensor, options));
    },
  };
}

/**
 * Reads the header lines of an EVT stream.
 *
 * @param version that they must state, for instance `2.1`.
 * @throws SaccadeError (`input`) where they state another or none.
 */
async function readEvtHeader(input: ByteReader, version: string, file: string): Promise<string[]> {
  const lines = await readPropheseeLines(input);
  const encoding = evtEncodingOf(lines);
  if (encoding === version) return lines;
  const [major, minor] = version.split('.');
  const format = `EVT${major}${minor === '0' ? '' : minor}`;
  const found = encoding === undefined ? '' : `, found EVT ${encoding}`;
  const message = `not EVT ${version}: expected a header line "% evt ${version}" or "% format ${format}"${found}`;
  throw new SaccadeError('input', message, { file, offset: 0 });
}

/** @throws SaccadeError (`input`) where a sensor has more pixels than EVT words can address. */
function requireEvtSensor(version: string, { sensor, file }: EncodeOptions): void {
  const { width, height } = sensor;
  if (width <= evtLimits.width && height <= evtLimits.height) return;
  const message = `EVT ${version} holds sensors up to 2048x2048, not ${width}x${height}`;
  throw new SaccadeError('input', message, { file });
}
