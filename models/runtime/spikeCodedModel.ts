import type { Model } from '../model.js';
import { type SpikeCodingConfig, spikeLinear, type SpikeUse } from '../neurons/spikeCoding.js';
import { withForms } from './forms.js';

/**
 * A trained model whose products of real values are made by spikes (`neurons/spikeCoding.ts`; SpikingBrain, Pan et al. 2025):
 * converted after training, with the same parameters. Products with spikes stay as they are, and so do those inside a mixer of
 * the registry and the head's.
 *
 * @param onUse is told what the spikes of each product were, by the path of its weight.
 */
export function spikeCodedModel(
  model: Model,
  config: SpikeCodingConfig,
  onUse?: (path: string, use: SpikeUse) => void,
): Model {
  return withForms(model, {
    product: (state, x, weight, { path }) => ({
      output: spikeLinear(x, weight, config, onUse && ((use) => onUse(path, use))),
      state: state ?? {},
    }),
  });
}
