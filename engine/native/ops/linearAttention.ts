import {
  decayingLinearAttentionDefinition,
  linearAttentionDefinition,
  type LinearAttentionConfig,
} from '../../ops/linearAttention.js';
import type { Addon } from '../addon.js';
import { native, none, type NativeOps } from './native.js';

export function linearAttention(kernels: Addon['kernels']): NativeOps {
  const { attentionForward, attentionBackward } = kernels;
  const settings = (
    shapes: readonly (readonly number[])[],
    { heads, causal, normalise, epsilon }: LinearAttentionConfig,
    decays: boolean,
  ): (number | boolean)[] => [
    ...shapes[0],
    heads,
    causal,
    normalise,
    epsilon,
    decays ? shapes[5][2] / heads : 0,
  ];
  const variant = (
    name: string,
    { forward, backward }: typeof linearAttentionDefinition,
    decays: boolean,
  ): NativeOps => {
    const filler = decays ? [] : [none];
    const inputCount = decays ? 6 : 5;
    return {
      [name]: native(forward, (inputs, outputs, shapes, config) => {
        attentionForward(...inputs, ...filler, ...outputs, ...settings(shapes, config, decays));
      }),
      [`${name}Grad`]: native(backward!, (inputs, outputs, shapes, config) => {
        attentionBackward(
          ...inputs.slice(0, inputCount),
          ...filler,
          ...inputs.slice(inputCount),
          ...outputs,
          ...filler,
          ...settings(shapes, config, decays),
        );
      }),
    };
  };
  return {
    ...variant('LinearAttention', linearAttentionDefinition, false),
    ...variant('DecayingLinearAttention', decayingLinearAttentionDefinition, true),
  };
}
