import type * as tf from '@tensorflow/tfjs-core';

import type { Context } from '../context.js';
import type { Model, StateTree } from '../model.js';
import { flatten, unflatten, type ParameterTree } from '../parameters.js';

/** State of one part: its tensors by name, clips along their first axis; all zeros is a clip's start. */
export type FormState = Readonly<Record<string, tf.Tensor>>;

/** A part of a layer in another form: what it is asked for, with a state that goes from chunk to chunk. */
type StatefulForm<Asked extends readonly unknown[]> = (
  ...asked: [...Asked, state: FormState | undefined, context: Context]
) => { readonly output: tf.Tensor; readonly state: FormState };

export interface StatefulForms {
  /** x W of real values; x is `[batch, time, …, inputs]`, W `[inputs, outputs]`. */
  readonly product?: StatefulForm<[x: tf.Tensor, weight: tf.Tensor]>;
}

/**
 * A trained model some of whose parts are computed in another form: the same parameters, logits and interface, and a state
 * with what the forms carry beside the model's own. Training is left as it is.
 */
export function withForms(model: Model, { product }: StatefulForms): Model {
  return {
    ...model,
    apply(parameters, input, state, context) {
      if (context.training) return model.apply(parameters, input, state, context);
      const before = state?.layers as { model: StateTree; forms: ParameterTree } | undefined;
      const known = before && flatten(before.forms);
      const next = new Map<string, tf.Tensor>();
      /** Runs a form with the state of the part that the context's path names. */
      const carry =
        <Asked extends readonly unknown[]>(form: StatefulForm<Asked>) =>
        (...asked: [...Asked, Context]): tf.Tensor => {
          const { path } = asked[asked.length - 1] as Context;
          const result = form(
            ...(asked.slice(0, -1) as unknown as Asked),
            known && stateAt(known, path),
            asked[asked.length - 1] as Context,
          );
          for (const [name, tensor] of Object.entries(result.state)) next.set(`${path}.${name}`, tensor); // prettier-ignore
          return result.output;
        };
      const result = model.apply(parameters, input, state && { ...state, layers: before!.model }, {
        ...context,
        forms: { ...(product && { product: carry(product) }) },
      });
      const layers = { model: result.state.layers, forms: unflatten(next) };
      return { logits: result.logits, state: { ...result.state, layers } };
    },
  };
}

function stateAt(leaves: ReadonlyMap<string, tf.Tensor>, path: string): FormState {
  const own = [...leaves].filter(([leaf]) => leaf.slice(0, leaf.lastIndexOf('.')) === path);
  return Object.fromEntries(own.map(([leaf, tensor]) => [leaf.slice(path.length + 1), tensor]));
}
