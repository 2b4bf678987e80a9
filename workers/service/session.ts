import { setTimeout as sleep } from 'node:timers/promises';

import { SaccadeError } from '../../engine/support/errors.js';
import type { EventBatch, SensorSize } from '../../ingest/eventBatch.js';
import type { DecodeReport } from '../../ingest/format.js';
import {
  applyFilters,
  type EventFilter,
  type FilterState,
  startFilters,
} from '../../preprocess/filters/index.js';
import type { ExitPolicy } from '../../models/runtime/exitPolicy.js';
import { type EventBin, EventBinner, type StreamInput, type StreamReport } from '../binning.js';
import type { Batcher, BinResult } from './batcher.js';
import type { ServedModel } from './batchTasks.js';
import type { SteppedModel } from './batchThread.js';
import { decide, type DecisionState } from './decision.js';
import { drawBin } from './image.js';
import { ServiceError } from './errors.js';
import type { ServiceLimits } from './limits.js';
import type {
  BinMessage,
  DecisionOptions,
  EndMessage,
  PredictionMessage,
  StreamMessage,
  StreamState,
} from './messages.js';
import type { ServiceMetrics } from './metrics.js';
import { decodeSnapshot, encodeSnapshot, type StreamSnapshot } from './snapshot.js';

/** Early exit, and how many bins the clips have that it was calibrated on. */
export type ServiceExit = ExitPolicy & { readonly bins: number };

/** What all streams of a service share. */
export interface StreamContext {
  readonly description: ServedModel;
  readonly model: SteppedModel;
  readonly batcher: Batcher;
  readonly input: StreamInput;
  readonly filters: readonly EventFilter[];
  /** Decides clips as soon as they are sure. */
  readonly exit?: ServiceExit;
  readonly limits: ServiceLimits;
  readonly metrics: ServiceMetrics;
  /** Told of the snapshots of streams that are open or evicted, the newest of each, and when there is none any more. */
  readonly onStored?: (id: string, snapshot: Uint8Array | undefined) => Promise<void>;
  /** Closes the bins of live streams where no later event says that they are over; never where not given. */
  readonly closing?: { readonly afterMs: number; readonly clock: Clock };
}

/** Tells the time that passes while nothing comes. */
export interface Clock {
  /** @returns a function that calls it off. */
  after(ms: number, work: () => void): () => void;
}

export const wallClock: Clock = {
  after(ms, work) {
    const timer = setTimeout(work, ms).unref();
    return () => clearTimeout(timer);
  },
};

/** Where a stream's events come from, for as long as it lasts. */
export interface EventSource {
  readonly kind: StreamMessage['source'];
  /** The file, or the other side's address. */
  readonly from: string;
  readonly sensor: SensorSize;
  readonly report: DecodeReport;
  /** Whether it waits while nobody reads; otherwise it drops, and counts that in `report`. */
  readonly waits: boolean;
  batches(signal: AbortSignal): AsyncIterable<EventBatch>;
  /** Whether its end is that of the stream; otherwise another source may go on. */
  isEnd(): boolean;
}

/** Somebody who looks at a stream. */
export interface Watcher {
  /** Takes a message, unless it has more waiting than it may: then false. */
  send(message: BinMessage | EndMessage): boolean;
}

/** Somebody who wants every prediction. */
export interface PredictionListener {
  tell(message: PredictionMessage): void;
  /** Resolves once there is room for more; meanwhile the stream stands still. */
  room(signal: AbortSignal): Promise<void>;
}

/** Numbers of streams in the model. */
let nextNumber = 1;

/**
 * One stream: its binning, its place in the model, its decision, and those who watch. It outlives its source: where the
 * connection breaks, another one goes on. Memory holds the open bin and at most `backlogBins` others.
 */
export class StreamSession {
  readonly createdMs = Date.now();
  /** When the last events came, ms of `performance.now`. */
  activeMs = performance.now();
  state: StreamState = 'waiting';
  reason: string | undefined;

  private readonly number = nextNumber++;
  private source: EventSource | undefined;
  private lastSource: Pick<EventSource, 'kind' | 'from'> = { kind: 'none', from: '' };
  private stop: AbortController | undefined;
  private done: Promise<void> = Promise.resolve();

  private sensor: SensorSize | undefined;
  private filterStates: FilterState[] | undefined;
  private binner: EventBinner;
  private report: StreamReport & { droppedEvents: number } = {
    lateEvents: 0,
    jumps: 0,
    droppedEvents: 0,
  };
  private decoded = { droppedDatagrams: 0, outsideSensor: 0, damages: 0 };
  private skippedMessages = 0;
  private taken = 0;
  private bins = 0;
  /** Bins of the clip that have been handed over. */
  private frames = 0;
  /** Bins of the clip that the model's state holds. */
  private stateFrames = 0;
  /** Number of the clip that is handed over, and of the one that early exit has decided. */
  private clip = 0;
  private decidedClip: number | undefined;
  private decision: DecisionState | undefined;
  private outstanding = 0;
  private failure: unknown;
  private wake: (() => void) | undefined;
  /** When the last event of the open bin came. */
  private arrivedMs = 0;
  /** Calls the closing of the open bin off. */
  private stayOpen: (() => void) | undefined;
  private allowance: number;
  private allowanceMs = performance.now();
  private rate = 0;
  private rateMs = performance.now();
  private ratedEvents = 0;
  private readonly watchers = new Map<Watcher, { skipped: number }>();
  private readonly listeners = new Set<PredictionListener>();
  private lock: Promise<unknown> = Promise.resolve();
  private working = 0;
  /** What an evicted stream has left. */
  private stored: Uint8Array | undefined;
  /** Whether somebody was given a snapshot to keep, and the events that it holds. */
  private isKept = false;
  private keptEvents = 0;

  private constructor(
    private readonly context: StreamContext,
    readonly id: string,
    readonly options: DecisionOptions,
  ) {
    this.binner = this.newBinner();
    this.allowance = context.limits.eventsPerSecond;
    context.batcher.add(this.number);
  }

  static create(context: StreamContext, id: string, options: DecisionOptions): StreamSession {
    return new StreamSession(context, id, options);
  }

  /** @throws SaccadeError of kind `input` where the snapshot is damaged or of another model. */
  static async resume(
    context: StreamContext,
    id: string,
    bytes: Uint8Array,
  ): Promise<StreamSession> {
    const snapshot = readSnapshot(context, bytes);
    const session = new StreamSession(context, id, snapshot.options);
    try {
      await session.restore(snapshot);
    } catch (error) {
      session.release();
      throw error;
    }
    return session;
  }

  /** A stream that an earlier service evicted. @throws SaccadeError as `resume` does. */
  static evicted(context: StreamContext, id: string, bytes: Uint8Array): StreamSession {
    const snapshot = readSnapshot(context, bytes);
    const session = new StreamSession(context, id, snapshot.options);
    session.release();
    session.taken = snapshot.taken;
    session.bins = snapshot.bins;
    session.stored = bytes;
    session.isKept = true;
    session.state = 'evicted';
    session.reason = 'the service was stopped';
    return session;
  }

  get isOpen(): boolean {
    return this.state === 'running' || this.state === 'waiting';
  }

  /** Whether it is open and nothing comes or waits. */
  isIdle(sinceMs: number): boolean {
    return this.isOpen && this.working === 0 && this.activeMs < sinceMs;
  }

  /** Bytes that it keeps while it is evicted. */
  get storedBytes(): number {
    return this.stored?.length ?? 0;
  }

  /**
   * Takes the events of a source until it ends or breaks, or the stream is ended.
   *
   * @throws SaccadeError where the source is damaged beyond use, or asks for more than the limits allow.
   */
  async attach(source: EventSource): Promise<void> {
    if (this.source !== undefined) {
      throw new ServiceError('conflict', `the stream has a source: ${this.source.from}`);
    }
    if (!this.isOpen && this.state !== 'evicted') {
      throw new ServiceError('conflict', `the stream has ${this.state}`);
    }
    const { width, height } = source.sensor;
    if (width * height > this.context.limits.sensorPixels) {
      const most = this.context.limits.sensorPixels;
      throw new SaccadeError('input', `${width}x${height}, expected at most ${most} pixels`, {
        file: this.id,
        field: 'sensor',
      });
    }
    this.source = source;
    this.lastSource = { kind: source.kind, from: source.from };
    this.stop = new AbortController();
    this.done = this.consume(source, this.stop.signal);
    await this.done;
  }

  private async consume(source: EventSource, signal: AbortSignal): Promise<void> {
    try {
      if (this.state === 'evicted') await this.wakeUp();
      this.useSensor(source.sensor);
      this.state = 'running';
      this.activeMs = performance.now();
      for await (const batch of source.batches(signal)) {
        await this.exclusively(() => this.take(batch, source, signal));
        if (signal.aborted) break;
      }
      if (!signal.aborted && source.isEnd()) {
        await this.exclusively(async () => {
          const last = this.binner.end();
          if (last !== undefined) await this.submit(last, this.arrivedMs, signal);
          await this.drained();
        });
        this.finish('ended');
      }
    } catch (error) {
      if (!signal.aborted) {
        this.finish('failed', error instanceof Error ? error.message : String(error));
        throw error;
      }
    } finally {
      this.countDecoded(source.report);
      this.source = undefined;
      if (this.state === 'running') this.state = 'waiting';
    }
  }

  /** The state as bytes, from which a stream can go on. */
  async snapshot(): Promise<Uint8Array> {
    if (this.stored !== undefined) return this.stored;
    if (!this.isOpen) {
      throw new ServiceError('conflict', `the stream has ${this.state}: it has no state any more`);
    }
    return this.exclusively(() => this.takeSnapshot());
  }

  private async takeSnapshot(): Promise<Uint8Array> {
    await this.drained();
    const { options, sensor, taken, report, bins, frames, decision } = this;
    return encodeSnapshot({
      model: this.context.description.hash,
      options,
      sensor: sensor ?? null,
      taken,
      report,
      bins,
      frames,
      decision: decision ?? null,
      binner: this.binner.state(),
      clip: await this.context.model.state(this.number),
      filters: this.filterStates,
    });
  }

  /** Gives those who keep snapshots a new one, where there is news: what is left where the service is killed. */
  async keep(): Promise<void> {
    await this.exclusively(async () => {
      if (!this.isOpen || this.taken === this.keptEvents) return;
      const { taken } = this;
      const bytes = await this.takeSnapshot();
      // It may have been ended meanwhile.
      if (!this.isOpen) return;
      this.keptEvents = taken;
      this.isKept = true;
      await this.context.onStored?.(this.id, bytes);
    });
  }

  /** Events that it has taken: a source that begins anew has to leave them out. */
  get eventsTaken(): number {
    return this.taken;
  }

  /** Leaves nothing but a snapshot, from which the next source goes on. */
  async evict(reason: string): Promise<void> {
    const bytes = await this.exclusively(async () => {
      const taken = await this.takeSnapshot();
      this.stop?.abort();
      return taken;
    });
    await this.done.catch(() => undefined);
    if (!this.isOpen) return;
    this.store(bytes);
    this.state = 'evicted';
    this.reason = reason;
    this.release();
    this.filterStates = undefined;
    this.binner = this.newBinner();
  }

  /** Drops the snapshot of an evicted stream, where there is no more room for it. */
  forget(reason: string): void {
    this.finish('ended', reason);
  }

  /** Takes no more of its source, not even what waits. Another one can go on. */
  interrupt(): void {
    this.stop?.abort();
  }

  /** Ends the stream, whatever it is doing. */
  async end(reason = 'ended on request'): Promise<void> {
    this.stop?.abort();
    if (this.isOpen || this.state === 'evicted') this.finish('ended', reason);
    await this.done.catch(() => undefined);
  }

  /** @throws ServiceError where there are too many. */
  watch(watcher: Watcher): () => void {
    if (this.watchers.size >= this.context.limits.watchersPerStream) {
      throw new ServiceError(
        'limit',
        `the stream has ${this.watchers.size} watchers, which is the most`,
      );
    }
    this.watchers.set(watcher, { skipped: 0 });
    return () => this.watchers.delete(watcher);
  }

  /** Tells each prediction, until the function that it returns is called. */
  onPrediction(listener: PredictionListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  describe(): StreamMessage {
    const { classes } = this.context.description;
    const { smoothed, candidate } = this.decision ?? {};
    const live = this.source?.report;
    const decoded = live === undefined ? this.decoded : added(this.decoded, live);
    const idle = performance.now() - this.rateMs > 3000;
    return {
      id: this.id,
      source: this.lastSource.kind,
      from: this.lastSource.from,
      state: this.state,
      reason: this.reason,
      sensor: this.sensor ?? null,
      createdMs: this.createdMs,
      events: this.taken,
      eventsPerSecond: idle ? 0 : Math.round(this.rate),
      bins: this.bins,
      backlog: this.outstanding,
      watchers: this.watchers.size,
      prediction: candidate === undefined ? null : classes[candidate],
      confidence: candidate === undefined ? null : smoothed![candidate],
      decided: this.decided() ?? null,
      losses: { ...this.report, ...decoded, skippedMessages: this.skippedMessages },
      options: this.options,
    };
  }

  /** Bins of a clip; 0 where it has no end. */
  private get clipBins(): number {
    const { restartBins } = this.options;
    return restartBins > 0 ? restartBins : (this.context.exit?.bins ?? 0);
  }

  private decided(): PredictionMessage['decided'] {
    const { decided } = this.decision ?? {};
    return decided && { ...decided, class: this.context.description.classes[decided.class] };
  }

  private useSensor(sensor: SensorSize): void {
    if (this.sensor === undefined) {
      this.filterStates = startFilters(this.context.filters, sensor);
      this.sensor = sensor;
      return;
    }
    const { width, height } = this.sensor;
    if (width !== sensor.width || height !== sensor.height) {
      throw new SaccadeError(
        'input',
        `the stream began with ${width}x${height}, found ${sensor.width}x${sensor.height}`,
        { file: this.id, field: 'sensor' },
      );
    }
  }

  private async take(batch: EventBatch, source: EventSource, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { metrics, filters } = this.context;
    const nowMs = performance.now();
    this.activeMs = nowMs;
    this.taken += batch.length;
    metrics.events.inc(batch.length);
    this.countRate(batch.length, nowMs);
    const passed = applyFilters(batch, filters, this.filterStates!);
    if (passed.length > 0) {
      const { lateEvents, droppedEvents } = this.report;
      for (const bin of this.binner.push(passed)) {
        // The last event of the bin may have come with an earlier batch.
        const isOwn =
          bin.events.length > 0 && bin.events.tUs[bin.events.length - 1] >= passed.tUs[0];
        await this.submit(bin, isOwn ? nowMs : this.arrivedMs, signal);
        if (signal.aborted) return;
      }
      this.arrivedMs = nowMs;
      this.expectMore(passed, source, signal);
      metrics.drop('late', this.report.lateEvents - lateEvents);
      const dropped = this.report.droppedEvents - droppedEvents;
      metrics.drop('fullBin', dropped);
      if (dropped > 0 && source.waits) {
        const most = this.context.limits.binEvents;
        throw new SaccadeError('input', `more than ${most} events in one bin`, { file: this.id });
      }
    }
    await this.keepRate(batch.length, signal);
  }

  /**
   * Closes the open bin by the clock, unless something else comes before: when its own end has passed, counted from its last
   * event, and then `afterMs` more. Recordings have all the time that they want.
   */
  private expectMore(events: EventBatch, source: EventSource, signal: AbortSignal): void {
    const { closing } = this.context;
    if (closing === undefined || source.kind === 'replay') return;
    this.stayOpen?.();
    const leftUs = Math.max(0, this.binner.openEndUs! - events.tUs[events.length - 1]);
    const { arrivedMs } = this;
    const close = async (): Promise<void> => {
      if (!this.isOpen || signal.aborted || this.arrivedMs !== arrivedMs) return;
      const bin = this.binner.close();
      if (bin !== undefined) await this.submit(bin, arrivedMs, signal);
    };
    this.stayOpen = closing.clock.after(leftUs / 1e3 + closing.afterMs, () => {
      // What fails here has failed the stream, which tells it.
      this.exclusively(close).catch(() => undefined);
    });
  }

  private async submit(bin: EventBin, arrivedMs: number, signal: AbortSignal): Promise<void> {
    const { batcher, input, limits } = this.context;
    while (this.outstanding >= limits.backlogBins) {
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
    for (const { room } of this.listeners) await room(signal);
    if (this.failure !== undefined) throw this.failure as Error;
    if (signal.aborted) return;
    const { clipBins: restartBins } = this;
    const fresh =
      this.frames === 0 || bin.afterJump || (restartBins > 0 && this.frames >= restartBins);
    this.frames = fresh ? 1 : this.frames + 1;
    if (fresh) this.clip++;
    const { clip } = this;
    const isNeeded = (): boolean => this.decidedClip !== clip;
    const watched = this.watchers.size > 0;
    const image = watched ? drawBin(bin.events) : undefined;
    const { bin: number, startUs, endUs, events } = bin;
    const about = { bin: number, startUs, endUs, events: events.length };
    const told = (result: BinResult | undefined): void =>
      this.predicted(about, result, { clip, fresh }, arrivedMs, image);
    if (!isNeeded() && this.outstanding === 0) {
      told(undefined);
      return;
    }
    const job = { values: input.represent(bin), fresh, watched, isNeeded };
    this.outstanding++;
    batcher
      .submit(this.number, job)
      .then(told)
      .catch((error: unknown) => (this.failure ??= error))
      .finally(() => {
        this.outstanding--;
        this.wake?.();
      });
  }

  /** @param result undefined where the model did not run. */
  private predicted(
    about: Pick<PredictionMessage, 'bin' | 'startUs' | 'endUs' | 'events'>,
    result: BinResult | undefined,
    { clip, fresh }: { readonly clip: number; readonly fresh: boolean },
    arrivedMs: number,
    image: BinMessage['image'] | undefined,
  ): void {
    const { description, metrics, exit } = this.context;
    this.bins++;
    metrics.bins.inc();
    if (result === undefined) metrics.skippedBins.inc();
    // What was on its way to the model when its clip was decided gets the same answer as what is not computed.
    if (result !== undefined && this.decidedClip !== clip) {
      this.decision = decide(
        fresh ? undefined : this.decision,
        result.probabilities,
        about.bin,
        this.options,
        result.frames,
        exit && { policy: exit, isLast: result.frames === this.clipBins },
      );
      this.stateFrames = result.frames;
      if (exit !== undefined && this.decision.decided !== undefined) this.decidedClip = clip;
    }
    const latencyMs = performance.now() - arrivedMs;
    metrics.latency.observe(latencyMs / 1e3);
    const { smoothed, candidate, probabilities } = this.decision!;
    const message: PredictionMessage = {
      type: 'prediction',
      ...about,
      frames: this.stateFrames,
      prediction: description.classes[candidate],
      probabilities: [...probabilities],
      smoothed: [...smoothed],
      decided: this.decided(),
      latencyMs,
      computed: result !== undefined,
    };
    for (const { tell } of this.listeners) tell(message);
    if (image === undefined) return;
    const { spikes } = result ?? {};
    const byLayer = <T>(values: readonly T[]): Record<string, T> =>
      Object.fromEntries(values.map((value, i) => [description.layers[i].path, value]));
    const shown = {
      ...message,
      type: 'bin' as const,
      image,
      rates: byLayer(spikes?.rates ?? []),
      raster: byLayer((spikes?.raster ?? []).map((bits) => Buffer.from(bits).toString('base64'))),
    };
    for (const [watcher, count] of this.watchers) {
      if (watcher.send({ ...shown, skipped: count.skipped })) continue;
      count.skipped++;
      this.skippedMessages++;
      metrics.drop('slowWatcher', 1);
    }
  }

  private async drained(): Promise<void> {
    while (this.outstanding > 0) await new Promise<void>((resolve) => (this.wake = resolve));
    if (this.failure !== undefined) throw this.failure as Error;
  }

  /** One after the other: snapshots are taken between batches. */
  private exclusively<T>(work: () => Promise<T>): Promise<T> {
    this.working++;
    const result = this.lock.then(work).finally(() => this.working--);
    this.lock = result.catch(() => undefined);
    return result;
  }

  private finish(state: 'ended' | 'failed', reason?: string): void {
    this.state = state;
    this.reason = reason;
    this.store(undefined);
    this.release();
    this.filterStates = undefined;
    this.binner = this.newBinner();
    const report = this.describe();
    for (const watcher of this.watchers.keys()) watcher.send({ type: 'end', state, report });
    this.watchers.clear();
  }

  private store(snapshot: Uint8Array | undefined): void {
    this.stored = snapshot;
    if (snapshot === undefined && !this.isKept) return;
    this.isKept = snapshot !== undefined;
    void this.context.onStored?.(this.id, snapshot);
  }

  private release(): void {
    this.stayOpen?.();
    this.context.batcher.remove(this.number);
    // Where the thread has ended there is nothing to release.
    this.context.model.release(this.number).catch(() => undefined);
  }

  private async wakeUp(): Promise<void> {
    const snapshot = readSnapshot(this.context, this.stored!);
    this.context.batcher.add(this.number);
    await this.restore(snapshot);
    // Whoever keeps it still has it, until there is a newer one.
    this.stored = undefined;
    this.reason = undefined;
  }

  private async restore(snapshot: StreamSnapshot): Promise<void> {
    const { sensor, taken, report, bins, frames, decision, binner, clip, filters } = snapshot;
    if (clip !== undefined) await this.context.model.restore(this.number, clip);
    this.sensor = sensor ?? undefined;
    this.filterStates = filters && [...filters];
    this.taken = taken;
    this.report = { ...report };
    this.bins = bins;
    this.frames = clip === undefined ? 0 : frames;
    this.decision = decision ?? undefined;
    this.stateFrames = clip?.frame ?? 0;
    const isDecided = this.context.exit !== undefined && decision?.decided !== undefined;
    this.decidedClip = isDecided ? this.clip : undefined;
    this.binner = this.newBinner(binner);
  }

  private newBinner(from?: StreamSnapshot['binner']): EventBinner {
    const { input, limits } = this.context;
    return new EventBinner(input.windowUs, input.bins, this.report, from, limits.binEvents);
  }

  private countRate(events: number, nowMs: number): void {
    this.ratedEvents += events;
    const elapsedMs = nowMs - this.rateMs;
    if (elapsedMs < 500) return;
    this.rate = (1e3 * this.ratedEvents) / elapsedMs;
    this.ratedEvents = 0;
    this.rateMs = nowMs;
  }

  /** Lets the source wait where it has sent more than it may. */
  private async keepRate(events: number, signal: AbortSignal): Promise<void> {
    const { eventsPerSecond } = this.context.limits;
    const nowMs = performance.now();
    const earned = ((nowMs - this.allowanceMs) * eventsPerSecond) / 1e3;
    this.allowance = Math.min(eventsPerSecond, this.allowance + earned) - events;
    this.allowanceMs = nowMs;
    if (this.allowance >= 0) return;
    const waitMs = (-1e3 * this.allowance) / eventsPerSecond;
    await sleep(waitMs, undefined, { signal }).catch(() => undefined);
  }

  private countDecoded(report: DecodeReport): void {
    this.decoded = added(this.decoded, report);
  }
}

function readSnapshot(
  { description, filters, limits }: StreamContext,
  bytes: Uint8Array,
): StreamSnapshot {
  const snapshot = decodeSnapshot(bytes, filters, limits);
  if (snapshot.model !== description.hash) {
    throw new SaccadeError('input', 'is a state of another model', {
      file: 'snapshot',
      field: 'model',
    });
  }
  const { decision } = snapshot;
  const classes = description.classes.length;
  const isOwn =
    decision === null ||
    (decision.smoothed.length === classes &&
      decision.probabilities.length === classes &&
      decision.candidate < classes &&
      (decision.decided?.class ?? 0) < classes);
  if (!isOwn) {
    throw new SaccadeError('input', `expected ${classes} classes`, {
      file: 'snapshot',
      field: 'decision',
    });
  }
  return snapshot;
}

function added(
  {
    droppedDatagrams,
    outsideSensor,
    damages,
  }: Record<'droppedDatagrams' | 'outsideSensor' | 'damages', number>,
  { skipped, damageCount }: DecodeReport,
): { droppedDatagrams: number; outsideSensor: number; damages: number } {
  return {
    droppedDatagrams: droppedDatagrams + (skipped.droppedDatagrams ?? 0),
    outsideSensor: outsideSensor + (skipped.outsideSensor ?? 0),
    damages: damages + damageCount,
  };
}
