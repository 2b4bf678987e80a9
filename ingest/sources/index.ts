export {
  type Address,
  parseAddress,
  type Scheme,
  schemes,
  wireFormats,
  withOptions,
} from './address.js';
export { BoundedQueue, dropPolicies, type DropPolicy, type QueueOptions } from './boundedQueue.js';
export { decodeWire, openSource, type SourceOptions } from './openSource.js';
export { record } from './record.js';
export { replay, type ReplayOptions } from './replay.js';
export { sendEvents, type SendOptions } from './sendEvents.js';
export { spif } from './spif.js';
