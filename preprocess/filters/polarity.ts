import { defineFilter } from './filter.js';

/** Keeps the events of one polarity. */
export const polarity = defineFilter({
  name: 'polarity',
  summary: 'keep one polarity',
  arguments: [{ name: 'keep', minimum: 0, maximum: 1, integer: true, what: '1 = ON, 0 = OFF' }],
  create: ({ keep: kept }) => ({
    start: () => undefined,
    mark(batch, _state, keep) {
      for (let i = 0; i < batch.length; i++) if (batch.polarity[i] === kept) keep[i] = 1;
    },
  }),
});
