/** What the thread of `peers.ts` is started with. */
export interface PeersData {
  readonly rank: number;
  readonly world: number;
  /** Where process 0 listens, and the others connect to. */
  readonly host: string;
  readonly port: number;
  readonly connectTimeoutMs: number;
  /** Where given, the process is killed when it has not left so long after another one ended. */
  readonly killAfterMs?: number;
  /** `[finished requests, changes]`: a change is a finished request, or a failure. */
  readonly finished: SharedArrayBuffer;
}

/** Something that all processes do; `values` is replaced by the result. Requests are finished in their order. */
export type PeersRequest =
  | { readonly kind: 'sum' | 'broadcast'; readonly values: SharedArrayBuffer }
  | { readonly kind: 'close' };

/** What the thread says. */
export type PeersAnswer =
  { readonly kind: 'connected' } | { readonly kind: 'failed'; readonly message: string };

/** A message of one process to another: kind (uint8), bytes of the rest (uint32, little endian), the rest. */
export const frameKinds = { hello: 0, sum: 1, broadcast: 2, failed: 3, bye: 4 } as const;
export const frameHeadBytes = 5;
/** No message is longer. */
export const largestFrameBytes = 2 ** 30;
