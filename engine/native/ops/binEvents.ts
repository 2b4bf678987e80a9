import { binEventsDefinition } from '../../ops/binEvents.js';
import type { Addon } from '../addon.js';
import { native, type NativeOps } from './native.js';

const representations = ['histogram', 'spikes', 'voxel'];

export function binEvents({ binEvents: bin }: Addon['kernels']): NativeOps {
  return {
    BinEvents: native(binEventsDefinition.forward, (_, [out], __, config) => {
      const { tUs, x, y, polarity, rows, columns, bins, height, width, fromUs, toUs } = config;
      const kind = representations.indexOf(config.representation);
      bin(tUs, x, y, polarity, rows, columns, out, bins, height, width, fromUs, toUs, kind);
    }),
  };
}
