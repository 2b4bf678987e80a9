import { writeCheckpoint } from '../models/checkpoints/checkpoint.js';
import { createModel, modelSchema } from '../models/networks/index.js';
import { disposeTree, Initialiser } from '../models/parameters.js';
import { type Experiment, readExperiment } from '../workers/experiment.js';
import { inputShape } from '../workers/runs.js';

/**
 * Writes the model of a configuration with its first weights: what it costs does not depend on what it has learned.
 *
 * @param preset in place of the configuration's.
 */
export async function writeFirstWeights(
  path: string,
  config: string,
  preset: string | undefined,
): Promise<Experiment> {
  const read = await readExperiment(config);
  const model = preset === undefined ? read.model : modelSchema.parse({ ...read.model, preset });
  const experiment = { ...read, model };
  const classes = Array.from({ length: 11 }, (_, i) => `class ${i}`);
  const network = createModel(model, inputShape(experiment), classes.length);
  const parameters = network.initialise(new Initialiser(1));
  await writeCheckpoint(path, {
    parameters,
    metadata: { experiment: { experiment, classes, synthetic: true } },
  });
  disposeTree(parameters);
  return experiment;
}
