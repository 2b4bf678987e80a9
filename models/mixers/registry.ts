import { z } from 'zod';

import { SaccadeError } from '../../engine/support/errors.js';
import { activator } from './activator.js';
import { depthwiseMixer } from './depthwiseMixer.js';
import { linearPresets } from './linear/presets.js';
import { selectiveStateSpace } from './linear/selectiveStateSpace.js';
import { spikMambaAttention } from './linear/spikMambaAttention.js';
import { gatedAttention, softmaxAttention } from './softmaxAttention.js';
import { sparseMixers } from './sparse/registry.js';
import type { MixerDefinition, MixerShape, TokenMixer } from './tokenMixer.js';

/** Every mixer that a configuration can name: one line each. */
export const mixers: readonly MixerDefinition[] = [
  softmaxAttention,
  depthwiseMixer,
  activator,
  gatedAttention,
  ...linearPresets,
  selectiveStateSpace,
  spikMambaAttention,
  ...sparseMixers,
];

/** What a configuration says of a mixer: its name, and settings that differ from its own. */
export const mixerSchema = z.discriminatedUnion(
  'name',
  mixers.map(({ name, fields }) => z.strictObject({ name: z.literal(name), ...fields })) as [
    z.ZodObject<{ name: z.ZodLiteral<string> }>,
  ],
);

export interface MixerConfig {
  readonly name: string;
  readonly [setting: string]: unknown;
}

/** A configuration with the layer's place, where its mixer asks for it and nothing is said. */
export function inLayer(config: MixerConfig, layer: number, layers: number): MixerConfig {
  const fields = mixers.find(({ name }) => name === config.name)?.fields ?? {};
  return 'layers' in fields ? { ...config, layer, layers } : config;
}

/**
 * Makes the mixer that a configuration describes.
 *
 * @throws SaccadeError of kind `config` where the settings are wrong or the shape doesn't fit.
 */
export function createMixer(config: MixerConfig, shape: MixerShape): TokenMixer {
  const result = mixerSchema.safeParse(config);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw new SaccadeError('config', issue.message, {
      field: ['model.mixer', ...issue.path.map(String)].join('.'),
    });
  }
  if (shape.width % shape.heads !== 0) {
    throw new SaccadeError(
      'config',
      `is ${shape.heads}, expected a divisor of the width, ${shape.width}`,
      { field: 'model.heads' },
    );
  }
  const { name, ...settings } = result.data;
  return mixers.find((mixer) => mixer.name === name)!.create(settings, shape);
}
