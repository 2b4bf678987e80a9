import { adamwDefinition, gradientScaleOf, isFiniteUpdate } from '../../ops/adamw.js';
import type { Addon } from '../addon.js';
import { native, type NativeOps } from './native.js';

export function adamw({ adamw: update }: Addon['kernels']): NativeOps {
  const { forward } = adamwDefinition;
  return {
    AdamwUpdate: native(forward, (inputs, outputs, shapes, config) => {
      const [[learningRate, step], loss, norms, ...tensors] = inputs;
      if (!isFiniteUpdate(loss, norms)) {
        forward.run(inputs, outputs, shapes, config);
        return;
      }
      const { beta1, beta2, epsilon, rates, weightDecays } = config;
      const gradientScale = gradientScaleOf(norms[0], config);
      for (let p = 0; 4 * p < tensors.length; p++) {
        const rate = rates[p] * learningRate;
        const settings = [rate, beta1, beta2, epsilon, weightDecays[p], step, gradientScale];
        update(...tensors.slice(4 * p, 4 * p + 4), ...outputs.slice(3 * p, 3 * p + 3), ...settings);
      }
    }),
  };
}
