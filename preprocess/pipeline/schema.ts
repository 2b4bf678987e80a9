import { z } from 'zod';

import { parseAugmentation } from '../augmentations/index.js';
import { parseFilter } from '../filters/index.js';
import { parseRepresentation } from '../representations/index.js';
import { isStepList, orderSteps } from './steps.js';

const positive = z.number().int().positive();

/**
 * A call that a parser takes; its complaint is the schema's. One that names a file becomes what is in the file, so
 * that an experiment is whole without it.
 */
function call(
  parse: (text: string) => { readonly description: string },
): z.ZodType<string, string> {
  return z.string().transform((text, context) => {
    try {
      const { description } = parse(text);
      return text.includes('=@') ? description : text;
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
      return z.NEVER;
    }
  });
}

const incomplete = z.enum(['keep', 'drop', 'pad']).default('pad');

export const windowSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('time'),
    windowUs: positive,
    strideUs: positive.optional(),
    incomplete,
  }),
  z.strictObject({
    kind: z.literal('count'),
    count: positive,
    stride: positive.optional(),
    incomplete: z
      .enum(['keep', 'drop'], {
        error: 'expected "keep" or "drop": windows by count have no duration to pad to',
      })
      .default('keep'),
  }),
  z.strictObject({
    kind: z.literal('timeOrCount'),
    windowUs: positive,
    count: positive,
    strideUs: positive.optional(),
    stride: positive.optional(),
    incomplete,
  }),
  z
    .strictObject({
      kind: z.literal('rate'),
      events: positive,
      minimumUs: positive,
      maximumUs: positive,
      timeConstantUs: positive.optional(),
      overlap: z.number().min(0).max(0.9).optional(),
      incomplete,
    })
    .refine(({ minimumUs, maximumUs }) => minimumUs <= maximumUs, {
      path: ['maximumUs'],
      error: 'expected at least minimumUs',
    }),
]);

const fields = z.strictObject({
  /** Filters in order, `name:arguments`. */
  filters: z.array(call(parseFilter)).default([]),
  window: windowSchema,
  /** What the model reads, `name:arguments`. */
  representation: call(parseRepresentation).default('spikes'),
  bins: positive.default(12),
  height: positive.default(32),
  width: positive.default(32),
  /** Augmentations of training clips in order, `name:arguments`. */
  augmentations: z.array(call(parseAugmentation)).default([]),
});

/**
 * What is done to recordings before a model sees them: filter → window → represent → augment. Either the
 * fields, whose order says nothing, or a list of steps in just this order (`steps.ts`), which gives the same
 * object.
 */
export const preprocessSchema = z.preprocess((value, context) => {
  if (!isStepList(value)) return value;
  const ordered = orderSteps(value);
  if ('config' in ordered) return ordered.config;
  context.addIssue({ code: 'custom', path: ordered.path, message: ordered.refusal });
  return z.NEVER;
}, fields);

export type PreprocessConfig = z.infer<typeof fields>;

/** As people write it: what has a default may be left out. */
export type PreprocessInput = z.input<typeof fields>;
