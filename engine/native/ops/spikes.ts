import {
  convolutionExtent,
  spikeConv2dDefinition,
  spikeCountDefinition,
  spikeMatMulDefinition,
} from '../../ops/spikes.js';
import type { Addon } from '../addon.js';
import { native, type NativeOps } from './native.js';

export function spikes(kernels: Addon['kernels']): NativeOps {
  const { countSpikes, spikeMatMul, spikeConv2d } = kernels;
  return {
    CountSpikes: native(spikeCountDefinition.forward, ([x], [counts]) => countSpikes(x, counts)),
    SpikeMatMul: native(spikeMatMulDefinition.forward, (inputs, [y], [x, weight], { binary }) => {
      spikeMatMul(...inputs, y, ...x, weight[1], binary);
    }),
    SpikeConv2d: native(spikeConv2dDefinition.forward, (inputs, [y], [x, weight], config) => {
      const [size, , , outputs] = weight;
      const vertical = convolutionExtent(x[1], size, config);
      const horizontal = convolutionExtent(x[2], size, config);
      const margins = [vertical.margin, horizontal.margin, vertical.out, horizontal.out];
      spikeConv2d(...inputs, y, ...x, size, outputs, config.stride, ...margins, config.binary);
    }),
  };
}
