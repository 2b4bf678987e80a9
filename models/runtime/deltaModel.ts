import * as tf from '@tensorflow/tfjs-core';

import { linear } from '../../engine/ops/linear.js';
import type { Model } from '../model.js';
import { deltaLinear } from './deltaActivation.js';
import { deltaAttention, type DeltaAttentionState } from './deltaAttention.js';
import { withForms, type FormState } from './forms.js';

/** What is computed anew: `token`, the products of tokens in which a value changed; `value`, what changed values add. */
export const deltaUnits = ['token', 'value'] as const;
export type DeltaUnit = (typeof deltaUnits)[number];

export interface DeltaConfig {
  /** A change of at most this size waits until it has grown, in units of the value; ≥ 0, and 0 (the default) is exact. */
  readonly threshold?: number;
  /** `token` where nothing is said. */
  readonly unit?: DeltaUnit;
}

/**
 * A trained model that streams, and computes the products of its linear layers only where their input changed from frame
 * to frame: patches without new events, tokens that stay as they were (after DeltaLLM; and, by values, delta inference of
 * the delta activation layer, Σ_t W Δx[t] = W x[t]). Softmax attention among the patches of each frame (`mixerOver: frame`) makes the
 * scores of changed patches alone. Membranes, scans and other attention go on for every token, as their states
 * do; products with spikes cost their spikes already, and those inside any other mixer of the registry stay whole.
 *
 * With threshold 0 the logits are those of the model. A recorder gets the multiply-accumulates under `work`, by weight, and those of
 * scores and values by mixer.
 *
 * @param model any network. Its inputs stay in the state: `[clips, tokens, inputs + outputs]` values for each product.
 */
export function deltaModel(
  model: Model,
  { threshold = 0, unit = 'token' }: DeltaConfig = {},
): Model {
  const product = unit === 'token' ? tokenProduct : valueProduct;
  return withForms(model, {
    product: (state, x, weight, context) => {
      const { output, macs, ...result } = product(x, weight, state, threshold);
      const denseMacs = x.size * weight.shape[1]!;
      context.recorder?.work.set(context.path, { macs, denseMacs });
      return { output, state: result.state };
    },
    attention: (state, q, k, v, context) => {
      const { output, macs, ...result } = frameAttention([q, k, v], state, threshold);
      const denseMacs = 2 * q.size * q.shape[3]!;
      context.recorder?.work.set(context.path, { macs, denseMacs });
      return { output, state: result.state };
    },
  });
}

/** What `deltaAttention` keeps, by name, and whether it has a row or a feature for each patch. */
const attentionParts = { q: 'width', k: 'width', v: 'width', scores: 'patches', output: 'width' } as const; // prettier-ignore

/** Frame by frame, in each clip and head. */
function frameAttention(
  qkv: readonly tf.Tensor[],
  state: FormState | undefined,
  threshold: number,
): Product {
  const [batch, time, heads, patches, width] = qkv[0].shape as [number, number, number, number, number]; // prettier-ignore
  const sizes = { patches, width };
  const [q, k, v] = qkv.map((x) => x.dataSync() as Float32Array);
  const names = Object.keys(attentionParts) as (keyof DeltaAttentionState)[];
  const sizeOf = (name: keyof DeltaAttentionState): number => patches * sizes[attentionParts[name]];
  const kept = new Map(names.map((name) => [name, valuesOf(state?.[name], batch * heads * sizeOf(name))])); // prettier-ignore
  const output = new Float32Array(q.length);
  let macs = 0;
  for (let stream = 0; stream < batch * heads; stream++) {
    const part = (name: keyof DeltaAttentionState): Float32Array =>
      kept.get(name)!.subarray(stream * sizeOf(name), (stream + 1) * sizeOf(name));
    let before = Object.fromEntries(names.map((name) => [name, part(name)])) as unknown as DeltaAttentionState; // prettier-ignore
    const [clip, head] = [Math.floor(stream / heads), stream % heads];
    for (let t = 0; t < time; t++) {
      const from = ((clip * time + t) * heads + head) * patches * width;
      const at = (x: Float32Array): Float32Array => x.subarray(from, from + patches * width);
      const now = { q: at(q), k: at(k), v: at(v) };
      const result = deltaAttention({ patches, width, threshold }, now, before);
      before = result.state;
      macs += result.scoreMacs + result.valueMacs;
      output.set(result.output, from);
    }
    for (const name of names) part(name).set(before[name]);
  }
  return {
    output: tf.tensor(output, qkv[0].shape),
    state: Object.fromEntries(
      names.map((name) => [
        name,
        tf.tensor(kept.get(name)!, [batch, heads, patches, sizes[attentionParts[name]]]),
      ]),
    ),
    macs,
  };
}

/** A product's output, next state and multiply-accumulates. */
interface Product {
  readonly output: tf.Tensor;
  readonly state: FormState;
  readonly macs: number;
}

interface Sizes {
  readonly batch: number;
  readonly time: number;
  readonly tokens: number;
  readonly inputs: number;
  readonly outputs: number;
}

function sizesOf(x: tf.Tensor, weight: tf.Tensor): Sizes {
  const [batch, time, ...rest] = x.shape;
  const [inputs, outputs] = weight.shape as [number, number];
  return { batch, time, tokens: rest.reduce((a, b) => a * b, 1) / inputs, inputs, outputs };
}

/** Tokens that changed as one product; the others keep their sums. */
function tokenProduct(
  x: tf.Tensor,
  weight: tf.Tensor,
  state: FormState | undefined,
  threshold: number,
): Product {
  const { batch, time, tokens, inputs, outputs } = sizesOf(x, weight);
  const values = x.dataSync();
  const counted = valuesOf(state?.counted, batch * tokens * inputs);
  // Row of the product that a token's sums come from; -1 where they are still those of the chunk before.
  const source = new Int32Array(batch * tokens).fill(-1);
  const sources = new Int32Array(batch * time * tokens);
  const changed: number[] = [];
  for (let clip = 0; clip < batch; clip++) {
    for (let at = clip * time * tokens; at < (clip + 1) * time * tokens; at++) {
      const own = clip * tokens + (at % tokens);
      const row = values.subarray(at * inputs, (at + 1) * inputs);
      const last = counted.subarray(own * inputs, (own + 1) * inputs);
      if (row.some((value, i) => !(Math.abs(value - last[i]) <= threshold))) {
        last.set(row);
        source[own] = changed.length;
        changed.push(at);
      }
      sources[at] = source[own];
    }
  }
  const rows = new Float32Array(changed.length * inputs);
  changed.forEach((at, i) => rows.set(values.subarray(at * inputs, (at + 1) * inputs), i * inputs));
  const made =
    changed.length === 0
      ? new Float32Array(0)
      : linear(tf.tensor2d(rows, [changed.length, inputs]), weight).dataSync();

  const kept = valuesOf(state?.sums, batch * tokens * outputs);
  const sums = kept.slice();
  const output = new Float32Array(batch * time * tokens * outputs);
  sources.forEach((from, at) => {
    const own = Math.floor(at / (time * tokens)) * tokens + (at % tokens);
    const found =
      from < 0
        ? kept.subarray(own * outputs, (own + 1) * outputs)
        : made.subarray(from * outputs, (from + 1) * outputs);
    output.set(found, at * outputs);
    sums.set(found, own * outputs);
  });
  return {
    output: tf.tensor(output, [...x.shape.slice(0, -1), outputs]),
    state: {
      counted: tf.tensor(counted, [batch, tokens, inputs]),
      sums: tf.tensor(sums, [batch, tokens, outputs]),
    },
    macs: changed.length * inputs * outputs,
  };
}

/** Sums grow by what changed values add, in double precision: `rest` holds what `sums` can't. */
function valueProduct(
  x: tf.Tensor,
  weight: tf.Tensor,
  state: FormState | undefined,
  threshold: number,
): Product {
  const { batch, time, tokens, inputs, outputs } = sizesOf(x, weight);
  const layer = { inputs, outputs, weight: weight.dataSync() as Float32Array, bias: new Float32Array(outputs), step: 0 }; // prettier-ignore
  const values = x.dataSync();
  const counted = valuesOf(state?.counted, batch * tokens * inputs);
  const [high, low] = [state?.sums, state?.rest].map((part) => valuesOf(part, batch * tokens * outputs)); // prettier-ignore
  const output = new Float32Array(batch * time * tokens * outputs);
  let macs = 0;
  for (let clip = 0; clip < batch; clip++) {
    const [from, to] = [clip * tokens * outputs, (clip + 1) * tokens * outputs];
    let before = {
      counted: counted.subarray(clip * tokens * inputs, (clip + 1) * tokens * inputs),
      sums: Float64Array.from(high.subarray(from, to), (sum, i) => sum + low[from + i]),
    };
    for (let t = clip * time; t < (clip + 1) * time; t++) {
      const frame = values.subarray(t * tokens * inputs, (t + 1) * tokens * inputs);
      const result = deltaLinear(layer, frame, before, threshold);
      before = result.state as typeof before;
      macs += result.macs;
      output.set(result.output, t * tokens * outputs);
    }
    counted.set(before.counted, clip * tokens * inputs);
    high.set(before.sums, from);
    before.sums.forEach((sum, i) => (low[from + i] = sum - high[from + i]));
  }
  return {
    output: tf.tensor(output, [...x.shape.slice(0, -1), outputs]),
    state: {
      counted: tf.tensor(counted, [batch, tokens, inputs]),
      sums: tf.tensor(high, [batch, tokens, outputs]),
      rest: tf.tensor(low, [batch, tokens, outputs]),
    },
    macs,
  };
}

/** A copy of the values; zeros where there are none. */
function valuesOf(x: tf.Tensor | undefined, size: number): Float32Array {
  return x === undefined ? new Float32Array(size) : Float32Array.from(x.dataSync());
}
