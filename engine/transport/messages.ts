import { createHmac } from 'node:crypto';

/** What the thread of `peers.ts` is started with. */
export interface PeersData {
  readonly rank: number;
  readonly world: number;
  /** Where process 0 listens, and the others connect to. */
  readonly host: string;
  readonly port: number;
  readonly connectTimeoutMs: number;
  /** Processes of each machine, where there are several. */
  readonly perNode: number | undefined;
  /** What all of them know; nothing where only this machine can come. */
  readonly token: string;
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
export const frameKinds = {
  hello: 0,
  sum: 1,
  broadcast: 2,
  failed: 3,
  bye: 4,
  challenge: 5,
} as const;
export const frameHeadBytes = 5;
/**
 * Nobody has to say the token aloud. Process 0 greets with a random challenge; a process answers `hello`: its rank and world
 * (uint32), a challenge of its own, and a proof of what it says under process 0's. When all are there, process 0's `hello` is its
 * proof under the other's challenge.
 */
export const challengeBytes = 32;
export const helloBytes = 8 + challengeBytes;
const proofBytes = 32;
export const signedHelloBytes = helloBytes + proofBytes;

/** HMAC-SHA256 with the token. */
export function proof(token: string, challenge: Uint8Array, said: Uint8Array): Buffer {
  return createHmac('sha256', token).update(challenge).update(said).digest();
}

/** No message is longer. */
export const largestFrameBytes = 2 ** 30;
