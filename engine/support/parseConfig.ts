import type { z } from 'zod';

import { type ErrorKind, SaccadeError } from './errors.js';

/**
 * Checks settings that people write, and other data by a schema.
 *
 * @param file named in errors.
 * @param kind of errors.
 * @throws SaccadeError that names the first wrong field and what was expected there.
 */
export function parseConfig<T>(
  schema: z.ZodType<T>,
  value: unknown,
  file?: string,
  kind: ErrorKind = 'config',
): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = issue.path.join('.');
  const field =
    issue.code === 'unrecognized_keys'
      ? [path, issue.keys[0]].filter((part) => part !== '').join('.')
      : path === ''
        ? undefined
        : path;
  const message = issue.code === 'unrecognized_keys' ? 'there is no such field' : issue.message;
  throw new SaccadeError(kind, message, { file, field });
}
