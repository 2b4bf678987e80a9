import { binEventsDefinition } from '../../ops/binEvents.js';
import type { Addon } from '../addon.js';
import { nativeLoops } from '../eventLoops.js';
import { native, type NativeOps } from './native.js';

export function binEvents(kernels: Addon['kernels']): NativeOps {
  const { addToBins } = nativeLoops(kernels);
  return {
    BinEvents: native(binEventsDefinition.forward, (_, [out], __, config) => {
      out.fill(0);
      addToBins(out as Float32Array, config, config, config.representation);
    }),
  };
}
