/** What one service takes, at most. Nothing that comes from outside is without a limit. */
export interface ServiceLimits {
  /** Streams at a time, evicted ones not counted. */
  readonly streams: number;
  /** Streams whose end or eviction is remembered. */
  readonly remembered: number;
  /** Bytes of the snapshots of evicted streams, all together. */
  readonly snapshotBytes: number;
  readonly watchersPerStream: number;
  /** Bins of a stream that wait for the model; its source waits while there are so many. */
  readonly backlogBins: number;
  /** Events of a bin. */
  readonly binEvents: number;
  /** Events of a stream that are taken in a second. */
  readonly eventsPerSecond: number;
  /** Pixels of a sensor. */
  readonly sensorPixels: number;
  /** Silence after which a stream is evicted. */
  readonly idleMs: number;
  /** Bytes that wait between a socket and its decoder. */
  readonly inputBytes: number;
  /** Bytes of one WebSocket message. */
  readonly messageBytes: number;
  /** Bytes that wait for a client who reads slowly: watchers then miss messages, senders wait. */
  readonly outputBytes: number;
  /** How long a client may be so slow, or take for a request. */
  readonly patienceMs: number;
  /** Connections by TCP, and WebSockets. */
  readonly connections: number;
  /** Requests of one address in a minute. */
  readonly requestsPerMinute: number;
  /** Wrong tokens of one address in a minute. */
  readonly failuresPerMinute: number;
}

export const defaultLimits: ServiceLimits = {
  streams: 256,
  remembered: 256,
  snapshotBytes: 64 * 2 ** 20,
  watchersPerStream: 16,
  backlogBins: 8,
  binEvents: 1_000_000,
  eventsPerSecond: 10_000_000,
  sensorPixels: 2048 * 2048,
  idleMs: 300_000,
  inputBytes: 2 ** 18,
  messageBytes: 2 ** 20,
  outputBytes: 2 ** 20,
  patienceMs: 30_000,
  connections: 512,
  requestsPerMinute: 1200,
  failuresPerMinute: 20,
};
