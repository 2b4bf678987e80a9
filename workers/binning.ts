import { SaccadeError } from '../engine/support/errors.js';
import { BatchBuilder, type EventBatch } from '../ingest/eventBatch.js';
import {
  clipLength,
  parseRepresentation,
  type Representation,
  representWindow,
} from '../preprocess/representations/index.js';
import type { LoadedModel } from './runs.js';

/** What a stream could not use; filled in while it runs. */
export interface StreamReport {
  /** Events whose bin was closed when they came. */
  lateEvents: number;
  /** Jumps in time, longer than `longestGapBins`, after which the state began anew. */
  jumps: number;
  /** Events of bins that held as many as they may. */
  droppedEvents?: number;
}

/** The events of one time bin of a stream. */
export interface EventBin {
  /** Number of the bin since the stream's first event, from 0. */
  readonly bin: number;
  readonly startUs: number;
  readonly endUs: number;
  readonly events: EventBatch;
  /** Whether the time has jumped to this bin, so that nothing before belongs to it. */
  readonly afterJump: boolean;
}

/** Where a stream's binning stands: plain data. */
export interface BinnerState {
  /** Time at which bin 0 starts; undefined before the first event. */
  readonly originUs: number | undefined;
  /** The bin that is being filled, and its events so far. */
  readonly current: number;
  readonly open: EventBatch | undefined;
  readonly afterJump: boolean;
}

/** A gap in time of more bins than this is taken for a jump of the clock, not for a scene at rest. */
export const longestGapBins = 10_000;

/**
 * Cuts a stream of events into time bins that start with its first event, as windows of a training clip are cut:
 * bin `b` of a window of `windowUs` holds the times from `b · windowUs / bins` on. A bin is over with the first
 * event behind it. Memory holds the bin that is open.
 */
export class EventBinner {
  private originUs: number | undefined;
  private current = 0;
  private afterJump = false;
  private builder: BatchBuilder | undefined;

  /**
   * @param windowUs time of `bins` bins, µs.
   * @param from where an earlier binner stood, to go on from there.
   * @param maxEvents of a bin: those that come when it is full are dropped and counted.
   */
  constructor(
    private readonly windowUs: number,
    private readonly bins: number,
    private readonly report: StreamReport,
    from?: BinnerState,
    private readonly maxEvents = Infinity,
  ) {
    if (from === undefined) return;
    this.originUs = from.originUs;
    this.current = from.current;
    this.afterJump = from.afterJump;
    if (from.open !== undefined) {
      this.builder = new BatchBuilder(from.open.sensor, firstCapacity);
      this.builder.append(from.open);
    }
  }

  /** Takes events and gives the bins that are over, empty ones too. Read it to its end. */
  *push(batch: EventBatch): Generator<EventBin, void> {
    for (let i = 0; i < batch.length; i++) {
      const t = batch.tUs[i];
      this.originUs ??= t;
      this.builder ??= new BatchBuilder(batch.sensor, firstCapacity);
      const bin = Math.floor((this.bins * (t - this.originUs)) / this.windowUs);
      if (bin < this.current) {
        this.report.lateEvents++;
        continue;
      }
      if (bin - this.current > longestGapBins) {
        this.report.jumps++;
        if (this.hasEvents) yield this.take();
        this.originUs = t;
        this.current = 0;
        this.afterJump = true;
      } else {
        while (this.current < bin) {
          yield this.take();
          this.current++;
        }
      }
      if (this.builder.length >= this.maxEvents) {
        this.report.droppedEvents = (this.report.droppedEvents ?? 0) + 1;
        continue;
      }
      this.builder.push(t, batch.x[i], batch.y[i], batch.polarity[i]);
    }
  }

  /** The bin that is open, at the end of the stream; undefined where it has no event. */
  end(): EventBin | undefined {
    return this.hasEvents ? this.take() : undefined;
  }

  /** Closes the bin that is open, where it has events, though none behind it has come: those that come for it yet are late. */
  close(): EventBin | undefined {
    const bin = this.end();
    if (bin !== undefined) this.current++;
    return bin;
  }

  /** Time at which the bin that is open is over, µs; undefined before the first event. */
  get openEndUs(): number | undefined {
    return this.originUs === undefined ? undefined : this.startOf(this.current + 1);
  }

  private get hasEvents(): boolean {
    return this.builder !== undefined && this.builder.length > 0;
  }

  state(): BinnerState {
    const { originUs, current, afterJump, builder } = this;
    const open = builder?.take();
    if (open !== undefined) builder!.append(open);
    return { originUs, current, afterJump, open };
  }

  private take(): EventBin {
    const { current, afterJump } = this;
    this.afterJump = false;
    const events = this.builder!.take();
    const [startUs, endUs] = [this.startOf(current), this.startOf(current + 1)];
    return { bin: current, startUs, endUs, events, afterJump };
  }

  private startOf(bin: number): number {
    return this.originUs! + (bin * this.windowUs) / this.bins;
  }
}

const firstCapacity = 4096;

/** How the bins of a stream become a model's input. */
export interface StreamInput {
  readonly windowUs: number;
  readonly bins: number;
  /** Values of one bin, `[channels, height, width]`. */
  readonly length: number;
  /** One bin as the model sees it, written over `out` where given. */
  represent(bin: EventBin, out?: Float32Array): Float32Array;
}

/**
 * What a model takes from a stream.
 *
 * @throws SaccadeError of kind `usage` where the model sees whole clips only, or its bins need events of
 *   their neighbours.
 */
export function streamInput({
  model,
  experiment: { preprocess },
  path,
}: Pick<LoadedModel, 'experiment' | 'path'> & {
  readonly model: { readonly streaming: boolean };
}): StreamInput {
  const { window, representation: name, bins, height, width } = preprocess;
  const representation = parseRepresentation(name);
  const refused = refusal(model.streaming, representation, window.kind, name);
  if (refused !== undefined || window.kind !== 'time') {
    throw new SaccadeError('usage', `cannot be streamed: ${refused}`, { file: path });
  }
  const size = { bins: 1, height, width };
  return {
    windowUs: window.windowUs,
    bins,
    length: clipLength(representation, size),
    represent: ({ bin: index, startUs, endUs, events }, out) =>
      representWindow({ index, startUs, endUs, events }, representation, size, out),
  };
}

function refusal(
  streaming: boolean,
  { binwise }: Representation,
  windowKind: string,
  name: string,
): string | undefined {
  if (!streaming) return 'the model sees whole clips only; train one with model.mode: causal';
  if (!binwise) {
    return `the representation ${name} mixes neighbouring bins; train with spikes, histogram or another of single bins`;
  }
  if (windowKind === 'time') return undefined;
  return 'its windows count events; train with preprocess.window.kind: time';
}
