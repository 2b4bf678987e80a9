import { z } from 'zod';

import { ServiceError } from '../errors.js';
import { errorMessage, modelMessage, type ModelMessage } from '../messages.js';
import type { ServiceApp, ServiceParts } from '../parts.js';

/** What the service is and how it fares. */
export function addAboutRoutes(app: ServiceApp, { context, metrics, isReady }: ServiceParts): void {
  const { description, input } = context;
  const { experiment, classes, synthetic, backend, layers } = description;
  const { kind } = experiment.model;
  const { bins, height, width } = experiment.preprocess;
  const model: ModelMessage = {
    name: experiment.name,
    kind,
    preset: 'preset' in experiment.model ? experiment.model.preset : null,
    classes: [...classes],
    synthetic,
    input: { bins, channels: input.length / (height * width), height, width },
    windowUs: input.windowUs,
    binUs: input.windowUs / bins,
    backend,
    layers: [...layers],
  };

  app.get(
    '/api/model',
    { schema: { tags: ['service'], summary: 'the model', response: { 200: modelMessage } } },
    () => model,
  );

  const state = z.object({ status: z.string() });
  app.get(
    '/healthz',
    {
      schema: { tags: ['service'], summary: 'whether the process lives', response: { 200: state } },
    },
    () => ({ status: 'alive' }),
  );
  app.get(
    '/readyz',
    {
      schema: {
        tags: ['service'],
        summary: 'whether streams are taken',
        response: { 200: state, 503: errorMessage },
      },
    },
    () => {
      if (!isReady())
        throw new ServiceError('unavailable', 'starting, stopping or without a model');
      return { status: 'ready' };
    },
  );

  app.get(
    '/metrics',
    {
      schema: {
        tags: ['service'],
        summary: 'metrics, in the text format of Prometheus',
        produces: ['text/plain'],
        response: { 200: z.string() },
      },
      // Text that is no JSON.
      serializerCompiler: () => (data) => data as string,
    },
    async (_, reply) => {
      void reply.type(metrics.registry.contentType);
      return metrics.registry.metrics();
    },
  );

  app.get('/openapi.json', { schema: { tags: ['service'], summary: 'this description' } }, () =>
    app.swagger(),
  );
}
