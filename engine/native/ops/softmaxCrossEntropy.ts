import { softmaxCrossEntropyDefinition } from '../../ops/softmaxCrossEntropy.js';
import type { Addon } from '../addon.js';
import { native, type NativeOps } from './native.js';

export function softmaxCrossEntropy(kernels: Addon['kernels']): NativeOps {
  const { crossEntropyForward, crossEntropyBackward } = kernels;
  const { forward, backward } = softmaxCrossEntropyDefinition;
  return {
    SoftmaxCrossEntropy: native(forward, (inputs, outputs, [logits]) => {
      crossEntropyForward(...inputs, ...outputs, ...logits);
    }),
    SoftmaxCrossEntropyGrad: native(backward!, (inputs, outputs, [logits]) => {
      crossEntropyBackward(...inputs, ...outputs, ...logits);
    }),
  };
}
