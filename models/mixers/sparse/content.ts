import type * as tf from '@tensorflow/tfjs-core';

import { patchesOf, type Piece } from './grid.js';

/** Queries and keys that a mask may choose by, clip by clip, head by head. */
export interface Content {
  readonly groups: number;
  readonly heads: number;
  /** Features of a head. */
  readonly width: number;
  /** `[groups, query tokens, width]` and `[groups, key tokens, width]`. */
  readonly q: Float32Array;
  readonly k: Float32Array;
  /** 0 for padding, which a mask neither chooses nor chooses by: `[clips, key tokens]`. */
  readonly present: Float32Array;
}

/** What masks choose isn't differentiable: they read values. */
export function contentOf(q: tf.Tensor, k: tf.Tensor, present: tf.Tensor, heads: number): Content {
  const [groups, , width] = q.shape as [number, number, number];
  // Read when asked for, which static masks never do, and then once.
  const once = (x: tf.Tensor): (() => Float32Array) => {
    let values: Float32Array | undefined;
    return () => (values ??= x.dataSync() as Float32Array);
  };
  const [queries, keys, real] = [q, k, present].map(once);
  return {
    groups,
    heads,
    width,
    get q() {
      return queries();
    },
    get k() {
      return keys();
    },
    get present() {
      return real();
    },
  };
}

/** One head's queries and keys in one clip, by token number. */
export interface GroupContent {
  query(token: number): Float32Array;
  key(token: number): Float32Array;
  /** Whether a token is no padding. */
  isPresent(token: number): boolean;
}

export function groupContent(content: Content, piece: Piece, group: number): GroupContent {
  const { q, k, present, groups, heads, width } = content;
  const firstQuery = piece.queryFrom * patchesOf(piece);
  const firstKey = piece.keyFrom * patchesOf(piece);
  const keys = k.length / groups / width;
  const clip = Math.floor(group / heads);
  const row = (values: Float32Array, index: number): Float32Array => {
    const at = (group * values.length) / groups + index * width;
    return values.subarray(at, at + width);
  };
  return {
    query: (token) => row(q, token - firstQuery),
    key: (token) => row(k, token - firstKey),
    isPresent: (token) => present[clip * keys + token - firstKey] !== 0,
  };
}

/** Mean, least or greatest value of each feature; undefined of no rows. */
export function pool(
  rows: readonly Float32Array[],
  kind: 'mean' | 'min' | 'max',
): Float32Array | undefined {
  if (rows.length === 0) return undefined;
  const pooled = Float32Array.from(rows[0]);
  for (const row of rows.slice(1)) {
    for (let f = 0; f < pooled.length; f++) {
      pooled[f] = kind === 'mean' ? pooled[f] + row[f] : Math[kind](pooled[f], row[f]);
    }
  }
  return kind === 'mean' ? pooled.map((value) => value / rows.length) : pooled;
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** Indices of the greatest scores, greatest first; of equal ones, the first. */
export function greatest(scores: ArrayLike<number>, count: number): number[] {
  return Array.from(scores, (_, i) => i)
    .sort((a, b) => scores[b] - scores[a] || a - b)
    .slice(0, count);
}

/** First and last frame that a query of `frame` may read: all of the piece's without a reach. */
export function visibleFrames(
  frame: number,
  reach: number | undefined,
  { frames }: Piece,
): [number, number] {
  return reach === undefined ? [0, frames - 1] : [Math.max(0, frame - reach), frame];
}
