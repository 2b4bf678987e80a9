import * as tf from '@tensorflow/tfjs-core';

import type { StateTree } from '../../../model.js';
import { cumulated } from '../memories/masks.js';
import type { Normaliser } from '../slots.js';
import type { NormaliserSizes } from './plain.js';
import { onesBeside } from './sum.js';

/** Smaller than any sum of capacities, which are sigmoids: for tokens that only padding comes before. */
const tiny = 1e-9;

/** Capacities, and their sums over the tokens that see each other (or up to each). */
interface Capacities {
  /** a of sinks and b of sources, ≥ 0; padding's are 0. */
  readonly sinks: tf.Tensor;
  readonly sources: tf.Tensor;
  /** Number of tokens in each sum where flows are means of them; 1 where they are sums. */
  readonly n: tf.Tensor;
  total(name: string, x: tf.Tensor): tf.Tensor;
}

const dot = (x: tf.Tensor, y: tf.Tensor): tf.Tensor => tf.sum(tf.mul(x, y), 3, true);

/** I of the sinks, and what is left of flows once each sink and each source has 1 in all: Î and Ô. */
export function conservedFlows({ sinks, sources, n, total }: Capacities): {
  incoming: tf.Tensor;
  conservedSink: tf.Tensor;
  conservedSource: tf.Tensor;
} {
  const incoming = tf.maximum(dot(sinks, total('sources', sources)), tiny);
  const outgoing = tf.maximum(dot(sources, total('sinks', sinks)), tiny);
  const mean = (x: tf.Tensor, by: tf.Tensor, of: tf.Tensor, name: string): tf.Tensor =>
    tf.div(dot(x, total(name, tf.div(tf.mul(of, n), by))), n);
  return {
    incoming,
    conservedSink: mean(sinks, outgoing, sources, 'perOutgoing'),
    conservedSource: mean(sources, incoming, sinks, 'perIncoming'),
  };
}

/**
 * Flowformer (Wu et al. 2022): queries a are sinks and keys b sources of conserved flows. With
 *
 *     I[i] = a[i] · Σ b,   O[j] = b[j] · Σ a,   Î[i] = a[i] · Σ b / O,   Ô[j] = b[j] · Σ a / I,
 *
 *     out[i] = σ(Î[i] N / M) (a[i] / I[i]) Σ b[j] (v[j] M softmax_j(Ô[j])),
 *
 * Ô clamped to [-1, 1]; sources compete by a softmax over themselves (not over heads, as in one published
 * version). Causal, all sums and the softmax run over the tokens so far, their number t standing for both N
 * and M; Î and Ô then are means, of flows scaled by t. Denominators have a floor instead of an addend, so
 * that flows are conserved exactly.
 */
export function flow({ heads, features, valueWidth, causal }: NormaliserSizes): Normaliser {
  return {
    memories: [{ features, values: valueWidth, of: 'placed' }],
    stateValues: () => heads * (4 * features + 1) + heads,
    apply({ q: a, k: b, v }, _, mix, state, { mask }) {
      const after: Record<string, tf.Tensor> = {};
      /** Sums over the tokens so far, or over all. */
      const total = (name: string, x: tf.Tensor): tf.Tensor => {
        if (!causal) return tf.sum(x, 2, true);
        const before = state?.[name] as tf.Tensor | undefined;
        const own = cumulated(x);
        const sums = before === undefined ? own : tf.add(own, before);
        const [batch, , tokens, width] = x.shape as [number, number, number, number];
        after[name] = tf.slice(sums, [0, 0, tokens - 1, 0], [batch, heads, 1, width]);
        return sums;
      };
      const present = (x: tf.Tensor): tf.Tensor => (mask === undefined ? x : tf.mul(x, mask));
      const [sinks, sources] = [present(a), present(b)];
      const count = tf.maximum(total('count', present(onesBeside(v))), 1);
      const n = causal ? count : tf.onesLike(count);
      const flows = conservedFlows({ sinks, sources, n, total });
      const force = tf.exp(tf.clipByValue(flows.conservedSource, -1, 1));
      const competition = tf.div(
        tf.mul(force, count),
        tf.maximum(total('force', present(force)), tiny),
      );
      const read = mix('values', {
        q: tf.div(sinks, flows.incoming),
        k: sources,
        v: tf.mul(v, competition),
      });
      return {
        out: tf.mul(read, tf.sigmoid(flows.conservedSink)),
        ...(causal && { state: after satisfies StateTree }),
      };
    },
  };
}
