import { SaccadeError } from '../../engine/support/errors.js';
import type { ErrorMessage } from './messages.js';

/** Refusals of the service that have a status of their own. */
const statuses = {
  missing: 404,
  conflict: 409,
  limit: 429,
  upgrade: 426,
  forbidden: 403,
  unauthorised: 401,
  unavailable: 503,
} as const;

/** An error that the client gets to read. */
export class ServiceError extends Error {
  constructor(
    readonly kind: keyof typeof statuses,
    message: string,
  ) {
    super(message);
    this.name = 'ServiceError';
  }
}

/** What a client is told of an error, and with which status. What nobody expected is not told. */
export function describeError(error: unknown): { status: number; body: ErrorMessage } {
  const answer = (status: number, kind: string, message: string, field?: string) => ({
    status,
    body: { error: { kind, message, field } },
  });
  if (error instanceof ServiceError) return answer(statuses[error.kind], error.kind, error.message);
  if (error instanceof SaccadeError) {
    const isOurs = error.kind === 'environment' || error.kind === 'interrupted';
    // Of files, the name that the client gave; never where they lie here.
    return answer(isOurs ? 503 : 400, error.kind, error.detail, error.place.field);
  }
  const { statusCode, code, message } = error as {
    statusCode?: number;
    code?: string;
    message?: string;
  };
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    const kind = statusCode === 429 ? 'limit' : 'usage';
    return answer(statusCode, kind, message ?? code ?? 'refused');
  }
  return answer(500, 'unexpected', 'unexpected error');
}
