import type * as tf from '@tensorflow/tfjs-core';

import type { Context, Forms } from '../context.js';
import { FrameClock } from '../frames.js';
import type { Model, StateTree } from '../model.js';
import { flatten, unflatten, type ParameterTree } from '../parameters.js';

/** State of one part: its tensors by name, clips along their first axis; all zeros is a clip's start. */
export type FormState = Readonly<Record<string, tf.Tensor>>;

export interface FormResult {
  readonly output: tf.Tensor;
  readonly state: FormState;
}

/** A part of a layer in another form: what it is asked for, with a state that goes from chunk to chunk. */
type StatefulForm<Form> = Form extends (...asked: infer Asked) => tf.Tensor
  ? (state: FormState | undefined, ...asked: Asked) => FormResult
  : never;

export type StatefulForms = {
  readonly [name in keyof Forms]: StatefulForm<NonNullable<Forms[name]>>;
};

/**
 * A trained model some of whose parts are computed in another form: the same parameters, logits and interface, and a state
 * with what the forms carry beside the model's own. Training is left as it is; steps cannot be recorded (`FrameClock`).
 */
export function withForms(model: Model, forms: StatefulForms): Model {
  return {
    ...model,
    apply(parameters, input, state, context) {
      if (context.training) return model.apply(parameters, input, state, context);
      if (state?.frame instanceof FrameClock) {
        throw new RangeError('what the model computes depends on its values');
      }
      const before = state?.layers as { model: StateTree; forms: ParameterTree } | undefined;
      const known = before && flatten(before.forms);
      const next = new Map<string, tf.Tensor>();
      /** Runs a form with the state of the part that the context's path names. */
      const carry =
        (form: (state: FormState | undefined, ...asked: unknown[]) => FormResult) =>
        (...asked: unknown[]): tf.Tensor => {
          const { path } = asked[asked.length - 1] as Context;
          const { output, state: own } = form(known && stateAt(known, path), ...asked);
          for (const [name, tensor] of Object.entries(own)) next.set(`${path}.${name}`, tensor);
          return output;
        };
      const carried = Object.fromEntries(
        Object.entries(forms).map(([name, form]) => [
          name,
          carry(form as Parameters<typeof carry>[0]),
        ]),
      );
      const result = model.apply(parameters, input, state && { ...state, layers: before!.model }, {
        ...context,
        forms: carried as Forms,
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
