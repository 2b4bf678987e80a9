import { readFileSync } from 'node:fs';
import { SaccadeError } from '../../engine/support/errors.js';
import type { SensorSize } from '../../ingest/eventBatch.js';
import { defineFilter, onceForSensor } from './filter.js';

/** Columns `fromX` … `toX` of a row. */
interface Run {
  readonly y: number;
  readonly fromX: number;
  readonly toX: number;
}

const place = /^(\d{1,5})(?:-(\d{1,5}))?\/(\d{1,5})$/;

/**
 * Drops the events of a fixed list of pixels, such as those that are known to be hot: `pixels` is
 * `3/4+0-639/7` (column 3 of row 4, all of row 7 of a VGA sensor), or `@FILE`, a text with `x y` or `x,y` in
 * each line and comments after `#`. In the description the file has become the list, so that what depends on
 * it is made anew when the file changes.
 */
export const mask = defineFilter({
  name: 'mask',
  summary: 'drop the events of listed pixels',
  arguments: [],
  texts: [
    {
      name: 'pixels',
      what: 'x/y or x0-x1/y, joined by +, or @ and the name of a file with x y in each line',
      canonical: (text) => {
        const runs = text.startsWith('@') ? readPixels(text.slice(1)) : parseRuns(text);
        return mergeRuns(runs).map(runText).join('+');
      },
    },
  ],
  create: (_values, { pixels }) => {
    const runs = parseRuns(pixels);
    const masked = onceForSensor((sensor) => tableOf(runs, sensor));
    return {
      start: (sensor) => void masked(sensor),
      mark({ length, sensor, x, y }, _state, keep) {
        const table = masked(sensor);
        for (let i = 0; i < length; i++) keep[i] = 1 - table[y[i] * sensor.width + x[i]];
      },
    };
  },
});

function parseRuns(text: string): Run[] {
  return text.split('+').map((part) => {
    const match = place.exec(part.trim());
    const [fromX, toX, y] = match === null ? [] : [match[1], match[2] ?? match[1], match[3]];
    if (fromX === undefined || Number(fromX) > Number(toX)) {
      throw new SaccadeError(
        'usage',
        `filter "mask": "${part}" is no pixel, expected x/y or x0-x1/y, for instance 3/4+0-639/7`,
      );
    }
    return { y: Number(y), fromX: Number(fromX), toX: Number(toX) };
  });
}

function readPixels(file: string): Run[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new SaccadeError('input', `cannot read the pixels (${code})`, { file }, error);
  }
  const runs = text.split('\n').flatMap((line, i): Run[] => {
    const content = line.split('#', 1)[0].trim();
    if (content === '') return [];
    const match = /^(\d{1,5})[\s,]+(\d{1,5})$/.exec(content);
    if (match === null) {
      const message = `line ${i + 1} is "${content}", expected a pixel's x and y`;
      throw new SaccadeError('input', message, { file });
    }
    return [{ y: Number(match[2]), fromX: Number(match[1]), toX: Number(match[1]) }];
  });
  if (runs.length === 0) throw new SaccadeError('input', 'has no pixels', { file });
  return runs;
}

/** The same pixels in the order of rows, each once, neighbours joined. */
function mergeRuns(runs: readonly Run[]): Run[] {
  const sorted = [...runs].sort((a, b) => a.y - b.y || a.fromX - b.fromX);
  const merged: Run[] = [];
  for (const run of sorted) {
    const last = merged.at(-1);
    if (last !== undefined && last.y === run.y && run.fromX <= last.toX + 1) {
      merged[merged.length - 1] = { ...last, toX: Math.max(last.toX, run.toX) };
    } else merged.push(run);
  }
  return merged;
}

function runText({ y, fromX, toX }: Run): string {
  return fromX === toX ? `${fromX}/${y}` : `${fromX}-${toX}/${y}`;
}

function tableOf(runs: readonly Run[], { width, height }: SensorSize): Uint8Array {
  const table = new Uint8Array(width * height);
  for (const run of runs) {
    if (run.toX >= width || run.y >= height) {
      throw new SaccadeError(
        'usage',
        `filter "mask" lists ${runText(run)}, expected pixels of the sensor, which has ${width} columns ` +
          `and ${height} rows`,
      );
    }
    table.fill(1, run.y * width + run.fromX, run.y * width + run.toX + 1);
  }
  return table;
}
