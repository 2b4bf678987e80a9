import { z } from 'zod';

/** What goes over the wire of the service, both ways. Times of events are µs of the recording, others ms. */

const count = z.number().int().min(0);

/** Names of streams: the client's own, or ones that the service makes. */
export const streamId = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,64}$/, 'expected 1 to 64 of A-Z a-z 0-9 _ -');

export const errorMessage = z.object({
  error: z.object({
    /** `usage`, `input`, `missing`, `limit`, `forbidden`, … */
    kind: z.string(),
    message: z.string(),
    field: z.string().optional(),
  }),
});

export const modelMessage = z.object({
  name: z.string(),
  /** Kind of the network, and its preset where it has one. */
  kind: z.string(),
  preset: z.string().nullable(),
  classes: z.array(z.string()),
  synthetic: z.boolean().describe('whether it was trained on simulated recordings'),
  input: z.object({ bins: count, channels: count, height: count, width: count }),
  windowUs: z.number(),
  binUs: z.number(),
  backend: z.string(),
  layers: z
    .array(z.object({ path: z.string(), neurons: count, sampled: count }))
    .describe('spiking layers, as in `rates` and `raster`'),
});

/** How predictions of single bins become a decision. */
export const decisionOptions = z.object({
  /** Share of the newest bin in the smoothed probabilities; 1 = no smoothing. */
  smoothing: z.number().gt(0).max(1).default(0.4),
  /** Smoothed probability that decides. */
  confidence: z.number().gt(0).max(1).default(0.9),
  /** Bins in a row that it takes. */
  patience: z.number().int().min(1).max(1000).default(2),
  /** Begins a new clip, with a new decision, after so many bins; 0 = never, with early exit as many as in training. */
  restartBins: z.number().int().min(0).max(1_000_000_000).default(0),
});

export const replaySource = z.strictObject({
  kind: z.literal('replay'),
  file: z.string().min(1).max(1024).describe('path under the folder of recordings, as listed'),
  speed: z.number().min(0.01).max(100).default(1).describe('1 = real time'),
  loop: z.boolean().default(false),
});

/** Events come by WebSocket, at `/api/streams/:id/events`. */
export const eventsSource = z.strictObject({ kind: z.literal('events') });

export const newStream = z.strictObject({
  id: streamId.optional(),
  source: z.discriminatedUnion('kind', [replaySource, eventsSource]).optional(),
  options: decisionOptions.partial().strict().optional(),
  snapshot: z
    .string()
    .max(48 * 2 ** 20)
    .regex(/^[A-Za-z0-9+/]*={0,2}$/, 'expected base64')
    .optional()
    .describe('goes on from it; base64 of what GET /api/streams/{id}/snapshot gave'),
});

export const newStreamAnswer = z.object({ id: z.string() });

export const streamStates = ['running', 'waiting', 'evicted', 'ended', 'failed'] as const;

/** What a stream could not use; nothing is dropped without being counted. */
export const streamLosses = z.object({
  lateEvents: count.describe('came after their bin was closed'),
  jumps: count.describe('jumps in time after which the state began anew'),
  droppedEvents: count.describe('of bins that held as many as they may'),
  droppedDatagrams: count,
  outsideSensor: count,
  damages: count.describe('places in the stream that could not be read'),
  skippedMessages: count.describe('not sent to watchers that read too slowly'),
});

export const decision = z.object({
  class: z.string(),
  bin: count,
  frames: count.optional().describe('bins of the clip up to then'),
  confidence: z.number(),
});

export const streamMessage = z.object({
  id: z.string(),
  source: z.enum(['replay', 'websocket', 'tcp', 'udp', 'none']),
  /** The file, or the other side's address. */
  from: z.string(),
  state: z.enum(streamStates),
  reason: z.string().optional().describe('why it failed or was evicted'),
  sensor: z.object({ width: count, height: count }).nullable(),
  createdMs: z.number().describe('since 1970'),
  events: count,
  eventsPerSecond: z.number(),
  bins: count,
  backlog: count.describe('bins that wait for the model'),
  watchers: count,
  prediction: z.string().nullable().describe('of the smoothed probabilities'),
  confidence: z.number().nullable(),
  decided: decision.nullable(),
  losses: streamLosses,
  options: decisionOptions,
});

export const streamsMessage = z.object({ streams: z.array(streamMessage) });

export const recordingsMessage = z.object({
  available: z.boolean().describe('whether the service was given a folder of recordings'),
  recordings: z.array(z.object({ file: z.string(), bytes: count })),
  truncated: z.boolean(),
});

/** To a sender of events, one for each bin. */
export const predictionMessage = z.object({
  type: z.literal('prediction'),
  bin: count,
  startUs: z.number(),
  endUs: z.number(),
  events: count,
  frames: count.describe('bins that the state holds, this one included'),
  prediction: z.string(),
  probabilities: z.array(z.number()),
  smoothed: z.array(z.number()),
  decided: decision.optional(),
  latencyMs: z.number().describe('from the arrival of the last event of the bin'),
  computed: z
    .boolean()
    .describe(
      'false where its clip had been decided by early exit: the model did not run, and the answer is that of the decision',
    ),
});

/** ON and OFF events per pixel of a bin, clipped at 255: base64 of uint8, row by row. */
export const binImage = z.object({ width: count, height: count, on: z.string(), off: z.string() });

/** To a watcher, one for each bin that it can take. */
export const binMessage = predictionMessage.extend({
  type: z.literal('bin'),
  image: binImage,
  rates: z.record(z.string(), z.number()).describe('share of neurons that fired, by layer'),
  raster: z
    .record(z.string(), z.string())
    .describe('by layer: base64 of bits, least significant first, one for each sampled neuron'),
  skipped: count.describe('messages that this watcher was too slow for, so far'),
});

export const endMessage = z.object({
  type: z.literal('end'),
  state: z.enum(streamStates),
  report: streamMessage,
});

export const streamErrorMessage = errorMessage.extend({ type: z.literal('error') });

/** All that a watcher may get. */
export const watchMessage = z.discriminatedUnion('type', [binMessage, endMessage]);
/** All that a sender of events may get. */
export const eventsMessage = z.discriminatedUnion('type', [
  predictionMessage,
  endMessage,
  streamErrorMessage,
]);

export const runSummary = z.object({
  id: z.string(),
  name: z.string(),
  model: z.string().describe('kind, and preset where it has one'),
  classes: count,
  synthetic: z.boolean(),
  epochs: count.describe('that are done'),
  totalEpochs: count,
  bestAccuracy: z.number().nullable().describe('on validation'),
  modifiedMs: z.number(),
});

export const runsMessage = z.object({
  available: z.boolean().describe('whether the service was given a folder of runs'),
  runs: z.array(runSummary),
  truncated: z.boolean(),
});

export const runEpoch = z.object({
  epoch: count,
  step: count,
  trainingLoss: z.number(),
  validationLoss: z.number().nullable(),
  validationAccuracy: z.number().nullable(),
  learningRate: z.number(),
  gradientNorm: z.number(),
  firingRates: z.record(z.string(), z.number()),
});

export const runEvaluation = z.object({
  part: z.string(),
  looks: count,
  loss: z.number(),
  accuracy: z.number().nullable(),
  accuracyInterval: z.tuple([z.number(), z.number()]).nullable().describe('95 %'),
  balancedAccuracy: z.number().nullable(),
  classes: z.array(
    z.object({
      name: z.string(),
      precision: z.number().nullable(),
      recall: z.number().nullable(),
      f1: z.number().nullable(),
      support: count,
    }),
  ),
  confusion: z.array(z.array(count)).describe('rows true, columns predicted'),
});

export const runMessage = z.object({
  id: z.string(),
  config: z.object({
    name: z.string(),
    seed: z.number(),
    dataset: z.string(),
    representation: z.string(),
    input: z.object({ bins: count, height: count, width: count }),
    model: z.record(z.string(), z.unknown()),
    training: z.record(z.string(), z.unknown()),
  }),
  classes: z.array(z.string()),
  synthetic: z.boolean(),
  history: z.array(runEpoch),
  evaluations: z.array(runEvaluation).describe('of validation and test parts, where there are any'),
});

export const jobStateNames = ['active', 'waiting', 'blocked', 'delayed', 'done', 'dead'] as const;
export const queuesMessage = z.object({
  available: z.boolean(),
  store: z.string().nullable().describe('kind of store: redis, postgres, embedded'),
  queues: z.record(z.string(), z.record(z.enum(jobStateNames), count)),
});

export const jobMessage = z.object({
  id: z.string(),
  queue: z.string(),
  kind: z.string(),
  state: z.enum(jobStateNames),
  data: z.record(z.string(), z.unknown()),
  progress: z
    .object({ phase: z.string(), done: z.number(), total: z.number(), info: z.string().optional() })
    .nullable(),
  attempts: count,
  reason: z.string().nullable(),
  result: z
    .record(z.string(), z.unknown())
    .nullable()
    .describe('of a job that is done, by its kind'),
  cancelled: z.boolean(),
  submittedMs: z.number(),
  startedMs: z.number().nullable(),
  endedMs: z.number().nullable(),
});

export const jobsMessage = z.object({ available: z.boolean(), jobs: z.array(jobMessage) });
/** What a job said; the last 1,000 lines. */
export const logsMessage = z.object({ lines: z.array(z.string()) });
export const jobsQuery = z.object({
  state: z.enum(jobStateNames).optional(),
  limit: z.coerce.number().int().min(1).max(500).default(100),
});
export const cancelAnswer = z.object({ outcome: z.enum(['stopping', 'removed', 'ended before']) });
export const retryAnswer = z.object({ outcome: z.literal('waiting') });

export type ModelMessage = z.infer<typeof modelMessage>;
export type DecisionOptions = z.infer<typeof decisionOptions>;
export type NewStream = z.infer<typeof newStream>;
export type ReplaySource = z.infer<typeof replaySource>;
export type StreamMessage = z.infer<typeof streamMessage>;
export type StreamState = (typeof streamStates)[number];
export type StreamLosses = z.infer<typeof streamLosses>;
export type Decision = z.infer<typeof decision>;
export type PredictionMessage = z.infer<typeof predictionMessage>;
export type BinImage = z.infer<typeof binImage>;
export type BinMessage = z.infer<typeof binMessage>;
export type EndMessage = z.infer<typeof endMessage>;
export type WatchMessage = z.infer<typeof watchMessage>;
export type EventsMessage = z.infer<typeof eventsMessage>;
export type RunSummary = z.infer<typeof runSummary>;
export type RunMessage = z.infer<typeof runMessage>;
export type JobMessage = z.infer<typeof jobMessage>;
export type ErrorMessage = z.infer<typeof errorMessage>;
