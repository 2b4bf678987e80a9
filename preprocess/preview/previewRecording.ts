import { SaccadeError } from '../../engine/support/errors.js';
import { emptyBatch, type EventBatch } from '../../ingest/eventBatch.js';
import type { ReadOptions, Recording } from '../../ingest/recording.js';
import { clipLength, type Representation, representWindow } from '../representations/index.js';
import { type EventWindow, type WindowReport, windowsOf } from '../windows/index.js';
import type { BinShape } from './drawing.js';

export interface PreviewWindow {
  readonly kind: 'time' | 'count';
  /** µs or events. */
  readonly length: number;
}

export interface PreviewOptions {
  readonly representation: Representation;
  /** Which windows: of a duration in µs (default: 50 ms, less in a short recording) or of a number of events. */
  readonly window: PreviewWindow | undefined;
  /** From one start to the next in the window's unit, or windows `spread` over the whole recording, which is then read twice. */
  readonly stride: number | 'spread';
  /** Most windows that are taken. */
  readonly windows: number;
  /** Bins of each window. */
  readonly bins: number;
  readonly height: number;
  readonly width: number;
  readonly read?: Pick<ReadOptions, 'fromUs' | 'toUs' | 'signal'>;
  /** Filled in while it runs. */
  readonly report?: WindowReport;
}

/** One bin of one window. */
export interface PreviewFrame {
  /** Its part of the window's time, µs. */
  readonly startUs: number;
  readonly endUs: number;
  /** Events of the whole window. */
  readonly events: number;
  /** `[channels, height, width]`. */
  readonly values: Float32Array;
}

export interface Preview {
  readonly frames: readonly PreviewFrame[];
  readonly shape: BinShape;
  readonly window: PreviewWindow;
  /** From one window to the next, in the window's unit. */
  readonly stride: number;
  /** Whether the recording goes on behind the last window. */
  readonly cut: boolean;
}

/** Values of all frames: 512 MiB as float32. */
const maxValues = 2 ** 27;

export const defaultWindowUs = 50_000;
/** Windows of the default duration are shortened where fewer than these would fit. */
const minWindows = 8;

/**
 * Windows of a recording as dense frames for pictures, those without events among them.
 *
 * @throws SaccadeError (`usage`) for more values than fit into memory, (`input`) where there are no events.
 */
export async function previewRecording(
  recording: Recording,
  options: PreviewOptions,
): Promise<Preview> {
  const { representation, windows, bins, height, width, read = {} } = options;
  const size = { bins, height, width };
  const clip = clipLength(representation, size);
  if (clip * windows > maxValues) {
    const message = `${windows} windows of ${clip} values are too many for memory, expected at most ${maxValues} in all`;
    throw new SaccadeError('usage', message, { file: recording.path });
  }
  const { window, stride } = await layOut(recording, options);
  const { kind, length } = window;
  const config =
    kind === 'time'
      ? ({ kind, windowUs: length, strideUs: stride, incomplete: 'keep' } as const)
      : ({ kind, count: length, stride, incomplete: 'keep' } as const);
  const shape = { channels: clip / (bins * height * width), height, width };
  const frames: PreviewFrame[] = [];
  let next = 0;
  let cut = false;
  const add = (one: EventWindow): void => {
    const values = representWindow(one, representation, size);
    const { startUs, endUs, events } = one;
    const binUs = (endUs - startUs) / bins;
    for (let bin = 0; bin < bins; bin++) {
      frames.push({
        startUs: startUs + bin * binUs,
        endUs: startUs + (bin + 1) * binUs,
        events: events.length,
        values: values.subarray((bin * clip) / bins, ((bin + 1) * clip) / bins),
      });
    }
    next++;
  };
  for await (const one of windowsOf(recording.batches(read), config, options.report)) {
    const { index, startUs, endUs } = one;
    // Silence has windows too.
    while (next < Math.min(index, windows)) {
      const backUs = (index - next) * stride;
      const times = { startUs: startUs - backUs, endUs: endUs - backUs };
      add({ index: next, ...times, events: emptyBatch(recording.sensor) });
    }
    cut = next >= windows;
    if (cut) break;
    add(one);
  }
  if (frames.length === 0) {
    throw new SaccadeError('input', 'has no events to show', { file: recording.path });
  }
  return { frames, shape, window, stride, cut };
}

/** Windows of which length, and how far apart. */
async function layOut(
  recording: Recording,
  { window, stride, windows, read }: PreviewOptions,
): Promise<{ window: PreviewWindow; stride: number }> {
  if (stride !== 'spread') {
    return { window: window ?? { kind: 'time', length: defaultWindowUs }, stride };
  }
  let events = 0;
  let firstUs: number | undefined;
  let lastUs = -Infinity;
  for await (const batch of recording.batches({ ...read, reuse: true })) {
    if (batch.length > 0) firstUs ??= batch.tUs[0];
    events += batch.length;
    lastUs = Math.max(lastUs, latest(batch));
  }
  const durationUs = Math.max(1, lastUs + 1 - (firstUs ?? lastUs) || 0);
  const fitting = Math.ceil(durationUs / Math.min(windows, minWindows));
  const { kind, length } = window ?? {
    kind: 'time',
    length: Math.min(defaultWindowUs, fitting),
  };
  const whole = kind === 'time' ? durationUs : events;
  return { window: { kind, length }, stride: Math.max(length, Math.ceil(whole / windows)) };
}

function latest({ tUs }: EventBatch): number {
  let last = -Infinity;
  for (const t of tUs) if (t > last) last = t;
  return last;
}
