import type { Addon } from '../addon.js';
import { adamw } from './adamw.js';
import { binEvents } from './binEvents.js';
import { causalConv1d } from './causalConv1d.js';
import { depthwiseConv2d } from './depthwiseConv2d.js';
import { gelu } from './gelu.js';
import { lif } from './lif.js';
import { linearAttention } from './linearAttention.js';
import type { NativeOps } from './native.js';
import { norm } from './norm.js';
import { normalise } from './normalise.js';
import { patches } from './patches.js';
import { selectiveScan } from './selectiveScan.js';
import { silu } from './silu.js';
import { softmaxCrossEntropy } from './softmaxCrossEntropy.js';
import { spikes } from './spikes.js';

/** All native kernels of our fused ops. An op that is missing here runs its JavaScript loop. */
export function ops(kernels: Addon['kernels']): NativeOps {
  const files = [
    adamw,
    binEvents,
    causalConv1d,
    depthwiseConv2d,
    gelu,
    lif,
    linearAttention,
    norm,
    normalise,
    patches,
    selectiveScan,
    silu,
    softmaxCrossEntropy,
    spikes,
  ];
  return Object.assign({}, ...files.map((file) => file(kernels))) as NativeOps;
}
