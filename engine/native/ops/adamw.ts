import { adamwDefinition } from '../../ops/adamw.js';
import type { Addon } from '../addon.js';
import { native, type NativeOps } from './native.js';

export function adamw({ adamw: update }: Addon['kernels']): NativeOps {
  return {
    AdamwUpdate: native(adamwDefinition.forward, (inputs, outputs, _, config) => {
      const { learningRate, beta1, beta2, epsilon, weightDecay, step, gradientScale } = config;
      const settings = [learningRate, beta1, beta2, epsilon, weightDecay, step, gradientScale];
      update(...inputs, ...outputs, ...settings);
    }),
  };
}
