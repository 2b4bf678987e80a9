import type { EventBatch } from '../../ingest/eventBatch.js';
import { type ClipGrid, defineRepresentation } from './representation.js';

interface AdaptiveState {
  readonly grid: ClipGrid;
  readonly out: Float32Array;
  /** Each event as 2 · pixel + polarity, in stored order; longer than `length`, to grow. */
  events: Uint32Array;
  length: number;
}

/** A run of events, from `start` up to `end`. */
type Run = readonly [start: number, end: number];

/**
 * ExACT's adaptive fine-grained event frames (AFE; Zhou et al., CVPR 2024, sec. 3.1), which SpikMamba
 * reads. A run of N events becomes one frame where its two halves look alike: where the images of their
 * counts, each polarity opened by 2 × 2 pixels against noise, differ by at most `threshold` · N in sum.
 * Otherwise it is halved, and so are the halves, as long as they hold more than `minimumEvents`.
 *
 * Where the paper leaves room: the difference counts each event once, so the authors' index of
 * 200 · (three equal channels) / N <= 50 is a threshold of 1/12. Frames have 1 where there was OFF, any
 * event, and ON, in three channels: the complement of the authors' coloured picture on white, so that no
 * event is 0 and so is padding. Of more frames than `bins`, those in the middle of `bins` equal shares are
 * taken; fewer are followed by empty ones. Times do not matter, only order. It needs all events of the
 * window at once, 4 bytes each.
 */
export const adaptiveFrames = defineRepresentation({
  name: 'afe',
  summary: 'three-channel frames of adaptive counts of events (ExACT; Zhou et al., CVPR 2024)',
  arguments: [
    {
      name: 'minimumEvents',
      minimum: 1,
      maximum: 1e9,
      integer: true,
      default: 100_000,
      what: 'events of a half that is not halved again',
    },
    {
      name: 'threshold',
      minimum: 0,
      maximum: 1,
      default: 0.0833,
      what: 'share of differing counts up to which halves look alike',
    },
  ],
  create: ({ minimumEvents, threshold }) => ({
    channels: 3,
    values: 'binary',
    binwise: false,
    start: (grid, out): AdaptiveState => ({ grid, out, events: new Uint32Array(1024), length: 0 }),
    add(state: AdaptiveState, { length, sensor, x, y, polarity }: EventBatch) {
      if (state.length + length > state.events.length) {
        const grown = new Uint32Array(2 * (state.length + length));
        grown.set(state.events.subarray(0, state.length));
        state.events = grown;
      }
      for (let i = 0; i < length; i++) {
        state.events[state.length++] = 2 * (y[i] * sensor.width + x[i]) + polarity[i];
      }
    },
    finish({ grid, out, events, length }: AdaptiveState) {
      const runs = adaptiveRuns(events.subarray(0, length), grid, minimumEvents, threshold);
      out.fill(0);
      const taken = Math.min(grid.bins, runs.length);
      for (let bin = 0; bin < taken; bin++) {
        const run =
          runs.length <= grid.bins ? bin : Math.floor(((bin + 0.5) * runs.length) / grid.bins);
        draw(out, events, runs[run], bin, grid);
      }
    },
  }),
});

/** The runs that become frames, in order. */
function adaptiveRuns(
  events: Uint32Array,
  { sensor }: ClipGrid,
  minimumEvents: number,
  threshold: number,
): Run[] {
  if (events.length === 0) return [];
  const images = new CountImages(sensor.width, sensor.height);
  const divide = (start: number, end: number): Run[] => {
    const count = end - start;
    const middle = start + Math.floor(count / 2);
    if (middle === start) return [[start, end]];
    const difference = images.difference(
      events.subarray(start, middle),
      events.subarray(middle, end),
    );
    if (difference <= threshold * count) return [[start, end]];
    if (middle - start <= minimumEvents) {
      return [
        [start, middle],
        [middle, end],
      ];
    }
    return [...divide(start, middle), ...divide(middle, end)];
  };
  return divide(0, events.length);
}

/** Memory for the images of two halves. */
class CountImages {
  private readonly counts: Float64Array;
  private readonly eroded: Float64Array;
  private readonly halves: readonly [Float64Array, Float64Array];

  constructor(
    private readonly width: number,
    private readonly height: number,
  ) {
    const pixels = width * height;
    this.counts = new Float64Array(pixels);
    this.eroded = new Float64Array(pixels);
    this.halves = [new Float64Array(pixels), new Float64Array(pixels)];
  }

  /** Sum over pixels by which the images of two runs differ. */
  difference(one: Uint32Array, other: Uint32Array): number {
    const [a, b] = this.halves;
    this.draw(a, one);
    this.draw(b, other);
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += Math.abs(a[i] - b[i]);
    return sum;
  }

  /** Counts of both polarities, each after an opening: the least, then the greatest, of 2 × 2 pixels. */
  private draw(image: Float64Array, events: Uint32Array): void {
    const { counts, eroded, width, height } = this;
    image.fill(0);
    for (let polarity = 0; polarity < 2; polarity++) {
      counts.fill(0);
      for (const event of events) if ((event & 1) === polarity) counts[event >>> 1]++;
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const i = y * width + x;
          const left = x > 0 ? 1 : 0;
          const above = y > 0 ? width : 0;
          eroded[i] = Math.min(
            Math.min(counts[i], counts[i - left]),
            Math.min(counts[i - above], counts[i - above - left]),
          );
        }
      }
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const i = y * width + x;
          const right = x < width - 1 ? 1 : 0;
          const below = y < height - 1 ? width : 0;
          image[i] += Math.max(
            Math.max(eroded[i], eroded[i + right]),
            Math.max(eroded[i + below], eroded[i + below + right]),
          );
        }
      }
    }
  }
}

/** Marks the events of a run in a frame. */
function draw(
  out: Float32Array,
  events: Uint32Array,
  [start, end]: Run,
  bin: number,
  { sensor, height, width, rows, columns }: ClipGrid,
): void {
  const plane = height * width;
  for (const event of events.subarray(start, end)) {
    const pixel = event >>> 1;
    const row = rows[Math.floor(pixel / sensor.width)];
    const cell = row * width + columns[pixel % sensor.width];
    const channel = (event & 1) === 1 ? 2 : 0;
    out[(3 * bin + channel) * plane + cell] = 1;
    out[(3 * bin + 1) * plane + cell] = 1;
  }
}
