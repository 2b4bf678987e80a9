import { dendriticNeuron } from './dendritic.js';
import {
  adaptiveLifNeuron,
  integrateAndFireNeuron,
  lifNeuron,
  parametricLifNeuron,
} from './kernelNeurons.js';
import { metaLifNeuron } from './metaLif.js';
import type { Neuron, NeuronKind } from './neuron.js';

/** Every kind of neuron that a configuration can name: one line each. */
export const neurons: { readonly [K in NeuronKind]: Neuron } = {
  if: integrateAndFireNeuron,
  lif: lifNeuron,
  plif: parametricLifNeuron,
  alif: adaptiveLifNeuron,
  metaLif: metaLifNeuron,
  dendritic: dendriticNeuron,
};
