import {
  batchNormDefinition,
  batchNormInferenceDefinition,
  layerNormDefinition,
  rmsNormDefinition,
  rowExtents,
} from '../../ops/normalise.js';
import type { Addon } from '../addon.js';
import { native, type NativeOps } from './native.js';

export function normalise(kernels: Addon['kernels']): NativeOps {
  const { batchNormForward, batchNormFixed, batchNormBackward } = kernels;
  const { rmsNormForward, rmsNormBackward, layerNormForward, layerNormBackward } = kernels;
  return {
    BatchNormTraining: native(batchNormDefinition.forward, (inputs, outputs, [x], { epsilon }) => {
      batchNormForward(...inputs, ...outputs, ...x, epsilon);
    }),
    BatchNormInference: native(batchNormInferenceDefinition.forward, (inputs, [y], [x], config) => {
      batchNormFixed(...inputs, y, ...rowExtents(x), config.epsilon);
    }),
    BatchNormTrainingGrad: native(
      batchNormDefinition.backward!,
      ([x, scale, , mean, variance, dY], outputs, [shape], { epsilon }) => {
        batchNormBackward(x, scale, mean, variance, dY, ...outputs, ...shape, epsilon);
      },
    ),
    RmsNorm: native(rmsNormDefinition.forward, (inputs, outputs, [x], { epsilon }) => {
      rmsNormForward(...inputs, ...outputs, ...x, epsilon);
    }),
    RmsNormGrad: native(rmsNormDefinition.backward!, (inputs, outputs, [x], { epsilon }) => {
      rmsNormBackward(...inputs, ...outputs, ...x, epsilon);
    }),
    LayerNorm: native(layerNormDefinition.forward, (inputs, outputs, [x], { epsilon }) => {
      layerNormForward(...inputs, ...outputs, ...x, epsilon);
    }),
    LayerNormGrad: native(
      layerNormDefinition.backward!,
      ([x, scale, , dY], outputs, [shape], { epsilon }) => {
        layerNormBackward(x, scale, dY, ...outputs, ...shape, epsilon);
      },
    ),
  };
}
