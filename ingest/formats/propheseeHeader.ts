import type { ByteReader } from '../bytes.js';
import type { SensorSize } from '../eventBatch.js';
import { headerLines, readTextHeader } from './textHeader.js';

const prefix = '% ';
const lastLine = 'end';

/** Cameras whose files name no size, only a system (OpenEB's table). */
const sensorOfSystem: Readonly<Record<string, SensorSize>> = {
  '21': { width: 640, height: 480 },
  '48': { width: 1280, height: 720 },
};

/** EVT words hold x and y in 11 bits. */
export const evtLimits: SensorSize = { width: 2048, height: 2048 };

/** The header lines, `% key value`, at the start of a `.raw` or `.dat` file, without the `% `. */
export const propheseeLines = (head: Uint8Array): string[] => headerLines(head, prefix, lastLine);

/** Reads the header lines of a stream. */
export const readPropheseeLines = (input: ByteReader): Promise<string[]> =>
  readTextHeader(input, prefix, lastLine);

/** The version of the encoding, for instance `2.0`, that a header states in its old or new style. */
export function evtEncodingOf(lines: readonly string[]): string | undefined {
  for (const line of lines) {
    const old = /^evt\s+(\d\.\d)/i.exec(line);
    if (old) return old[1];
    const format = /^format\s+EVT(\d)(\d)?\s*(;|$)/i.exec(line);
    if (format) return `${format[1]}.${format[2] ?? 0}`;
  }
  return undefined;
}

/** The size that a `.raw` header states: `format …;height=;width=`, `geometry WxH`, or a known `system_ID`. */
export function evtSensorOf(lines: readonly string[]): SensorSize | undefined {
  const header = lines.join('\n');
  const format = formatLine(lines);
  const geometry = /^geometry\s+(\d+)x(\d+)/m.exec(header);
  const width = Number(/;\s*width=(\d+)/.exec(format)?.[1] ?? geometry?.[1]);
  const height = Number(/;\s*height=(\d+)/.exec(format)?.[1] ?? geometry?.[2]);
  if (width >= 1 && width <= evtLimits.width && height >= 1 && height <= evtLimits.height) {
    return { width, height };
  }
  return sensorOfSystem[/^system_ID\s+(\d+)/m.exec(header)?.[1] ?? ''];
}

/** The order of the two halves of 64-bit words that a header states: `little`, `legacy`, or nothing. */
export function evtEndiannessOf(lines: readonly string[]): string | undefined {
  const inFormat = /;\s*endianness=(\w+)/.exec(formatLine(lines))?.[1];
  const own = lines.find((line) => /^endianness\s/i.test(line))?.split(/\s+/)[1];
  return (inFormat ?? own)?.toLowerCase();
}

function formatLine(lines: readonly string[]): string {
  return lines.find((line) => /^format\s/.test(line)) ?? '';
}

/** A header that both old and new readers understand, for instance of version `3.0` and format `EVT3`. */
export function evtHeader(
  version: string,
  format: string,
  { width, height }: SensorSize,
  more = '',
): string {
  return `% evt ${version}\n% format ${format};height=${height};width=${width}${more}\n% geometry ${width}x${height}\n% end\n`;
}
