import type { EventRate } from '../ingest/eventRate.js';

export interface PlotOptions {
  /** Columns of the terminal. */
  readonly width: number;
  /** Rows of the bars. Default 5. */
  readonly rows?: number;
  readonly colour?: boolean;
}

const eighths = ' ▁▂▃▄▅▆▇█';
const minBars = 10;
/** Room for the labels, such as "12.3M/s". */
const margin = 8;

/** Events per second over time, as bars of block characters with both axes; at most `width` characters a line. */
export function ratePlot(
  rate: EventRate,
  { width, rows = 5, colour = false }: PlotOptions,
): string[] {
  const { fromUs, intervalUs, counts } = rate;
  const bars = Math.max(minBars, width - margin - 1);
  const perSecond = barsOf(counts, bars).map(
    (count) => (count * bars * 1e6) / (counts.length * intervalUs),
  );
  const top = Math.max(...perSecond);
  const topLabel = `${shortNumber(top)}/s`;
  const paint = (text: string): string => (colour ? `\u001b[36m${text}\u001b[39m` : text);
  const lines: string[] = [];
  for (let row = rows - 1; row >= 0; row--) {
    const text = perSecond.map((value) => {
      const height = (value / top) * rows * 8 - row * 8;
      // What is not nothing is seen.
      const level = row === 0 && value > 0 ? Math.max(1, height) : height;
      return eighths[Math.max(0, Math.min(8, Math.round(level)))];
    });
    const label = row === rows - 1 ? topLabel : row === 0 ? '0' : '';
    lines.push(`${label.padStart(margin)}┤${paint(text.join(''))}`.trimEnd());
  }
  const endUs = fromUs + counts.length * intervalUs;
  const start = secondsText(0);
  const end = `${secondsText(endUs - fromUs)}`;
  const gap = Math.max(1, bars - start.length - end.length);
  lines.push(`${' '.repeat(margin + 1)}${start}${' '.repeat(gap)}${end}`);
  return lines;
}

/** Counts spread over as many bars; a count that lies in several is divided among them. */
function barsOf(counts: readonly number[], bars: number): number[] {
  const sums = new Array<number>(bars).fill(0);
  const share = bars / counts.length;
  for (const [i, count] of counts.entries()) {
    const start = i * share;
    const end = (i + 1) * share;
    for (let bar = Math.floor(start); bar < Math.min(bars, Math.ceil(end)); bar++) {
      sums[bar] += (count * (Math.min(end, bar + 1) - Math.max(start, bar))) / share;
    }
  }
  return sums;
}

/** "950", "12.3k", "4.56M". */
function shortNumber(value: number): string {
  for (const [unit, letter] of [
    [1e9, 'G'],
    [1e6, 'M'],
    [1e3, 'k'],
  ] as const) {
    if (value >= unit) return `${Number((value / unit).toPrecision(3))}${letter}`;
  }
  return `${Number(value.toPrecision(3))}`;
}

function secondsText(us: number): string {
  return `${Number((us / 1e6).toPrecision(4))} s`;
}
