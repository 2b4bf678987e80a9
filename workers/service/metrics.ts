import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

import { streamStates } from './messages.js';

/** Why something was lost; the value of the label `reason`. */
export type DropReason = 'late' | 'fullBin' | 'datagram' | 'unknownSender' | 'slowWatcher';

export interface ServiceMetrics {
  readonly registry: Registry;
  readonly events: Counter;
  readonly bins: Counter;
  /** Of them, those that the model did not run for: their clip was decided. */
  readonly skippedBins: Counter;
  /** From the arrival of a bin's last event to its prediction, s. */
  readonly latency: Histogram;
  readonly batchSize: Histogram;
  /** Of one batch in the model, s. */
  readonly batchSeconds: Histogram;
  drop(reason: DropReason, count: number): void;
}

/** What is counted elsewhere and looked up when somebody asks. */
export interface MetricSources {
  readonly streams: () => Readonly<Record<(typeof streamStates)[number], number>>;
  /** Jobs by queue and state; undefined where there are no queues. */
  readonly queues: () => Promise<
    Readonly<Record<string, Readonly<Record<string, number>>>> | undefined
  >;
}

/** The counters of one service, in a registry of its own. */
export function createMetrics(): ServiceMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const drops = new Counter({
    name: 'saccade_drops_total',
    help: 'What was lost: events that came late or for a full bin, datagrams, messages to slow watchers',
    labelNames: ['reason'],
    registers,
  });
  return {
    registry,
    events: new Counter({
      name: 'saccade_events_total',
      help: 'Events taken from all streams',
      registers,
    }),
    bins: new Counter({ name: 'saccade_bins_total', help: 'Predictions made', registers }),
    skippedBins: new Counter({
      name: 'saccade_bins_skipped_total',
      help: 'Predictions of bins that were not computed, as early exit had decided their clip',
      registers,
    }),
    latency: new Histogram({
      name: 'saccade_prediction_latency_seconds',
      help: 'From the arrival of the last event of a bin to its prediction',
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
      registers,
    }),
    batchSize: new Histogram({
      name: 'saccade_batch_streams',
      help: 'Streams in a batch',
      buckets: [1, 2, 4, 8, 16, 32, 64, 128],
      registers,
    }),
    batchSeconds: new Histogram({
      name: 'saccade_batch_seconds',
      help: 'Time of a batch in the model',
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1],
      registers,
    }),
    drop(reason, count) {
      if (count > 0) drops.inc({ reason }, count);
    },
  };
}

/** Adds what is looked up. */
export function addGauges({ registry }: ServiceMetrics, { streams, queues }: MetricSources): void {
  const registers = [registry];
  new Gauge({
    name: 'saccade_streams',
    help: 'Streams by state',
    labelNames: ['state'],
    registers,
    collect() {
      const counts = streams();
      for (const state of streamStates) this.set({ state }, counts[state]);
    },
  });
  new Gauge({
    name: 'saccade_jobs',
    help: 'Jobs by queue and state',
    labelNames: ['queue', 'state'],
    registers,
    async collect() {
      for (const [queue, counts] of Object.entries((await queues()) ?? {})) {
        for (const [state, count] of Object.entries(counts)) this.set({ queue, state }, count);
      }
    },
  });
}
