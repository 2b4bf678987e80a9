import { z } from 'zod';

import { SaccadeError } from '../../../engine/support/errors.js';
import { parseConfig } from '../../../engine/support/parseConfig.js';
import type { InputHashes } from '../inputs.js';
import { collectKind } from './collect.js';
import { convertKind } from './convert.js';
import { evaluateKind } from './evaluate.js';
import { inferKind } from './infer.js';
import type { JobKind, PlainObject } from './kind.js';
import { prepareKind } from './prepare.js';
import { indexKind } from './timeIndex.js';
import { pretrainKind } from './pretrain.js';
import { trainKind } from './train.js';

export * from './kind.js';

/** Every kind of job that queues carry. One more is one line here. */
export const jobKinds: readonly JobKind[] = [
  convertKind,
  indexKind,
  prepareKind,
  collectKind,
  pretrainKind,
  trainKind,
  evaluateKind,
  inferKind,
];

/** @throws SaccadeError of kind `input` where there is no such kind. */
export function kindByName(name: string): JobKind {
  const kind = jobKinds.find((candidate) => candidate.name === name);
  if (kind !== undefined) return kind;
  throw new SaccadeError(
    'input',
    `unknown kind of job '${name}'; expected ${jobKinds.map((known) => known.name).join(', ')}`,
  );
}

/** Raised whenever the data of any kind change their meaning. */
export const jobVersion = 1;

/** What a queue holds of a job. */
export interface JobEnvelope {
  readonly version: typeof jobVersion;
  readonly data: PlainObject;
  readonly inputs: InputHashes;
  /** When someone asked to stop it, ISO 8601. */
  readonly cancelled?: string;
}

/** Bytes of JSON that a job may have: references, not recordings. */
export const largestJob = 65_536;

const envelopeSchema = z.strictObject({
  version: z.literal(jobVersion, { error: `expected version ${jobVersion}` }),
  data: z.record(z.string(), z.unknown()),
  inputs: z.record(z.string(), z.string()).default({}),
  cancelled: z.string().optional(),
});

/**
 * Checks data for a kind, filling in defaults.
 *
 * @throws SaccadeError of kind `input` that names the job's kind and the field, or says that it is too large.
 */
export function checkJobData(kind: JobKind, data: unknown): PlainObject {
  const checked = parseConfig(kind.schema, data, `job ${kind.name}`, 'input') as PlainObject;
  const bytes = Buffer.byteLength(JSON.stringify(checked));
  if (bytes > largestJob) {
    throw new SaccadeError(
      'input',
      `has ${bytes} bytes; a job has at most ${largestJob}: hand over paths, not content`,
      { file: `job ${kind.name}` },
    );
  }
  return checked;
}

/** Checks what came out of a queue; others may have written there. */
export function checkEnvelope(kind: JobKind, value: unknown): JobEnvelope {
  const { data, ...envelope } = parseConfig(envelopeSchema, value, `job ${kind.name}`, 'input');
  return { ...envelope, data: checkJobData(kind, data) };
}

/** Raised whenever the result of any kind changes its meaning. */
export const resultVersion = 1;

/** What a queue holds of a job that is done. */
export interface ResultEnvelope {
  readonly version: typeof resultVersion;
  readonly kind: string;
  readonly result: PlainObject;
}

const resultEnvelopeSchema = z.strictObject({
  version: z.literal(resultVersion, { error: `expected version ${resultVersion}` }),
  kind: z.string(),
  result: z.record(z.string(), z.unknown()),
});

/**
 * Checks what a job returned.
 *
 * @param job its name, for the error.
 * @throws SaccadeError of kind `result` that names the job and the field.
 */
export function checkResult(kind: JobKind, job: string, result: unknown): PlainObject {
  return parseConfig(kind.result, result, `result of ${job}`, 'result');
}

/** Checks a result that comes out of a queue; earlier versions and others may have written there. */
export function openResult(job: string, value: unknown): PlainObject {
  const file = `result of ${job}`;
  const { kind, result } = parseConfig(resultEnvelopeSchema, value, file, 'result');
  return checkResult(kindByName(kind), job, result);
}
