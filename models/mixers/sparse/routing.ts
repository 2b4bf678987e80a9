import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

import { within, type Context } from '../../context.js';
import type { ParameterTree } from '../../parameters.js';
import { outputGateField } from '../outputGates.js';
import { defineMixer } from '../tokenMixer.js';
import type { BlockList, BlockMask, BlockSizes } from './blockMask.js';
import { dot, greatest, groupContent, type Content, type GroupContent } from './content.js';
import { patchesOf, type Piece } from './grid.js';
import { choosing, sparseMixer } from './sparseMixer.js';
import { reachField } from './tileFields.js';

export interface RoutingConfig {
  readonly clusters: number;
  /** Queries and keys of a cluster, w. */
  readonly members: number;
  /** Furthest frame back; undefined routes the whole clip at once. */
  readonly reach?: number;
}

/**
 * Routing attention (Roy et al. 2021): tokens see those of their cluster. A cluster takes the w queries and the w keys
 * that point most in its centroid's direction; a query in none gets zero, one in several sees the keys of all.
 *
 * With a reach, it is causal, selection included: a query goes to its nearest centroid, and sees the latest w keys that
 * went there, and its own. (Taking the w best of a whole sequence would let later tokens push earlier ones out.)
 *
 * @param centroids `[heads, clusters, width]`.
 */
export function routingMask(
  config: RoutingConfig,
  piece: Piece,
  content: Content,
  centroids: Float32Array,
): BlockMask {
  return Array.from({ length: content.groups }, (_, group): BlockList => {
    const own = groupContent(content, piece, group);
    const lines = centroidsOf(centroids, config.clusters, content, group);
    return config.reach === undefined
      ? balanced(config, piece, own, lines)
      : latest(config, config.reach, piece, own, lines);
  });
}

function balanced(
  { members }: RoutingConfig,
  piece: Piece,
  { query, key, isPresent }: GroupContent,
  centroids: readonly Float32Array[],
): BlockList {
  const tokens = Array.from({ length: piece.frames * patchesOf(piece) }, (_, token) => token);
  const present = tokens.filter(isPresent);
  const taken = (row: (token: number) => Float32Array): Int32Array[] => {
    const directions = present.map((token) => direction(row(token)));
    return centroids.map((centroid) =>
      Int32Array.from(
        greatest(
          directions.map((x) => dot(x, centroid)),
          members,
        ),
        (i) => present[i],
      ).sort(),
    );
  };
  return {
    queryBlocks: taken(query),
    keyBlocks: taken(key),
    visits: centroids.map((_, cluster) => [cluster]),
  };
}

function latest(
  { members }: RoutingConfig,
  reach: number,
  piece: Piece,
  { query, key, isPresent }: GroupContent,
  centroids: readonly Float32Array[],
): BlockList {
  const patches = patchesOf(piece);
  const queryBlocks: Int32Array[] = [];
  const keyBlocks: Int32Array[] = [];
  /** Keys of each cluster so far, in order of their frames. */
  const known: number[][] = centroids.map(() => []);
  for (let frame = piece.keyFrom; frame < piece.frames; frame++) {
    const tokens = Array.from({ length: patches }, (_, i) => frame * patches + i).filter(isPresent);
    for (const token of tokens) known[nearest(key(token), centroids)].push(token);
    if (frame < piece.queryFrom) continue;
    const oldest = (frame - reach) * patches;
    for (const token of tokens) {
      const cluster = known[nearest(query(token), centroids)];
      const keys = cluster.filter((other) => other >= oldest).slice(-members);
      if (!keys.includes(token)) keys.push(token);
      queryBlocks.push(Int32Array.of(token));
      keyBlocks.push(Int32Array.from(keys));
    }
  }
  return { queryBlocks, keyBlocks, visits: queryBlocks.map((_, block) => [block]) };
}

function routingSizes({ clusters, members, reach }: RoutingConfig, piece: Piece): BlockSizes {
  const patches = patchesOf(piece);
  const tokens = piece.frames * patches;
  if (reach === undefined) {
    const size = Math.min(members, tokens);
    return { blocks: clusters, blockQueries: size, blockKeys: size };
  }
  const visible = patches * Math.min(piece.frames, reach + 1);
  return {
    blocks: (piece.frames - piece.queryFrom) * patches,
    blockQueries: 1,
    blockKeys: Math.min(members + 1, visible),
  };
}

function direction(x: Float32Array): Float32Array {
  const length = Math.sqrt(dot(x, x));
  return length === 0 ? x : x.map((value) => value / length);
}

function nearest(x: Float32Array, centroids: readonly Float32Array[]): number {
  return greatest(
    centroids.map((centroid) => dot(x, centroid)),
    1,
  )[0];
}

function centroidsOf(
  values: Float32Array,
  clusters: number,
  { heads, width }: Content,
  group: number,
): Float32Array[] {
  const head = group % heads;
  return Array.from({ length: clusters }, (_, cluster) => {
    const at = (head * clusters + cluster) * width;
    return values.subarray(at, at + width);
  });
}

/**
 * Mean and variance of the directions of each cluster's queries and keys, `[heads, clusters, width]`; of a cluster
 * without any, its centroid and 0. Running means of them are what k-means with forgetting keeps as centroids.
 */
export function clusterStatistics(
  { clusters }: RoutingConfig,
  piece: Piece,
  content: Content,
  centroids: Float32Array,
): { mean: Float32Array; variance: Float32Array } {
  const { width, heads, groups } = content;
  const counts = new Float64Array(heads * clusters);
  const sums = new Float64Array(centroids.length);
  const squares = new Float64Array(centroids.length);
  for (let group = 0; group < groups; group++) {
    const { query, key, isPresent } = groupContent(content, piece, group);
    const lines = centroidsOf(centroids, clusters, content, group);
    for (let token = 0; token < piece.frames * patchesOf(piece); token++) {
      if (!isPresent(token)) continue;
      for (const x of [direction(query(token)), direction(key(token))]) {
        const cluster = (group % heads) * clusters + nearest(x, lines);
        counts[cluster]++;
        x.forEach((value, f) => {
          sums[cluster * width + f] += value;
          squares[cluster * width + f] += value * value;
        });
      }
    }
  }
  const mean = centroids.map((centroid, i) => {
    const count = counts[Math.floor(i / width)];
    return count === 0 ? centroid : sums[i] / count;
  });
  const variance = mean.map((value, i) => {
    const count = counts[Math.floor(i / width)];
    return count === 0 ? 0 : Math.max(0, squares[i] / count - value * value);
  });
  return { mean, variance };
}

interface Parameters extends ParameterTree {
  readonly centroids: { readonly runningMean: tf.Tensor; readonly runningVariance: tf.Tensor };
}

function recordClusters(
  config: RoutingConfig,
  piece: Piece,
  content: Content,
  centroids: tf.Tensor,
  context: Context,
): void {
  if (!context.training || context.recorder === undefined) return;
  const values = centroids.dataSync() as Float32Array;
  const { mean, variance } = clusterStatistics(config, piece, content, values);
  const [kept, spread] = [mean, variance].map((x) => tf.keep(tf.tensor(x, centroids.shape)));
  context.recorder.statistics.set(within(context, 'centroids').path, {
    mean: kept,
    variance: spread,
  });
}

export const routingAttention = defineMixer({
  name: 'routingAttention',
  paper: 'Roy et al., Efficient Content-Based Sparse Attention with Routing Transformers, 2021',
  fields: {
    clusters: z.number().int().positive().default(8),
    members: z.number().int().positive().default(64),
    reach: reachField,
    causal: z.boolean().default(true),
    outputGate: outputGateField,
  },
  create({ causal, outputGate, ...settings }, shape) {
    const config = { ...settings, reach: causal ? settings.reach : undefined };
    const mask = choosing({
      reach: config.reach,
      initialise(initialiser, headWidth) {
        const size = [shape.heads, config.clusters, headWidth];
        return {
          centroids: {
            runningMean: initialiser.normal('centroids', size, headWidth ** -0.5),
            runningVariance: initialiser.constant(size, 0),
          },
        };
      },
      sizes: (piece) => routingSizes(config, piece),
      blocks(piece, content, parameters, context) {
        const { runningMean } = (parameters as Parameters).centroids;
        if (piece.keyFrom === piece.queryFrom) {
          recordClusters(config, piece, content, runningMean, context);
        }
        return routingMask(config, piece, content, runningMean.dataSync() as Float32Array);
      },
    });
    return sparseMixer('routingAttention', mask, shape, outputGate);
  },
});
