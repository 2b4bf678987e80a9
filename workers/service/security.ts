import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';

import type { FastifyInstance, FastifyRequest } from 'fastify';

import { SaccadeError } from '../../engine/support/errors.js';
import { ServiceError } from './errors.js';
import type { ServiceLimits } from './limits.js';

export interface SecurityOptions {
  /** Address that is listened on. */
  readonly host: string;
  /** What clients must know; undefined where everybody on this machine may come. */
  readonly token: string | undefined;
  /** Further names by which the service is reached. */
  readonly allowHosts: readonly string[];
  /** Further origins of pages that may use it, as `https://example.org`. */
  readonly allowOrigins: readonly string[];
  readonly limits: ServiceLimits;
}

/** Name of the WebSocket protocol; a token travels beside it, as browsers can send no header there. */
export const webSocketProtocol = 'saccade';
const tokenProtocol = 'saccade.token.';

/** Fewest characters of a token. */
const shortestToken = 16;

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** @throws SaccadeError of kind `usage` where others than this machine could come without a token. */
export function checkExposure({ host, token }: Pick<SecurityOptions, 'host' | 'token'>): void {
  if (token === undefined && !isLoopback(host)) {
    throw new SaccadeError('usage', 'others can reach this address, so a token is needed', {
      field: host,
    });
  }
  if (token !== undefined && token.length < shortestToken) {
    throw new SaccadeError('usage', `expected at least ${shortestToken} characters`, {
      field: 'token',
    });
  }
}

/** Whether a token is the right one, in a time that does not tell how much of it is. */
export function isSameToken(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

/** The token of a request: of its header, or of the protocols that a browser's WebSocket offers. */
function tokenOf({ headers }: FastifyRequest): string | undefined {
  const [, bearer] = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(headers.authorization ?? '') ?? [];
  if (bearer !== undefined) return bearer;
  const protocols = (headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
  const offered = protocols.find((name) => name.startsWith(tokenProtocol));
  return offered && Buffer.from(offered.slice(tokenProtocol.length), 'base64url').toString('utf8');
}

/** Paths that need the token, where there is one: not the page, nor what tells whether the service lives. */
function isProtected(route: string | undefined): boolean {
  return route !== undefined && (route.startsWith('/api/') || route === '/metrics');
}

/**
 * Who may come in. Checked before anything of a request is read: the name by which the service is called (a foreign
 * one is a rebound DNS name), the origin of the page that calls, and the token.
 */
export function addSecurity(app: FastifyInstance, options: SecurityOptions): void {
  const { host, token, allowHosts, allowOrigins, limits } = options;
  const names = new Set(['localhost', host, ...allowHosts].map((name) => name.toLowerCase()));
  const failures = app.createRateLimit({
    max: limits.failuresPerMinute,
    timeWindow: '1 minute',
    keyGenerator: ({ ip }) => `failed ${ip}`,
  });
  const blocked = new Map<string, number>();

  app.addHook('onRequest', async (request, reply) => {
    const called = hostName(request.headers.host);
    if (called === undefined || (isIP(called) === 0 && !names.has(called))) {
      throw new ServiceError('forbidden', 'not a name of this service; see --allow-host');
    }
    const { origin } = request.headers;
    const changes = request.ws || !['GET', 'HEAD', 'OPTIONS'].includes(request.method);
    if (changes && origin !== undefined && !isOwnOrigin(origin, request.headers.host)) {
      if (!allowOrigins.includes(origin)) {
        throw new ServiceError('forbidden', 'called from another origin; see --allow-origin');
      }
    }
    if (token === undefined || !isProtected(request.routeOptions.url)) return;
    const until = blocked.get(request.ip);
    if (until !== undefined) {
      if (performance.now() < until) throw new ServiceError('limit', 'too many wrong tokens');
      blocked.delete(request.ip);
    }
    const given = tokenOf(request);
    if (given !== undefined && isSameToken(given, token)) return;
    const failed = await failures(request);
    if (!failed.isAllowed && failed.isExceeded) {
      if (blocked.size > 10_000) blocked.clear();
      blocked.set(request.ip, performance.now() + failed.ttl);
    }
    void reply.header('www-authenticate', 'Bearer');
    throw new ServiceError('unauthorised', 'expected the token of this service');
  });

  app.addHook('onSend', async (request, reply) => {
    void reply.headers(pageHeaders);
    if (isProtected(request.routeOptions.url)) void reply.header('cache-control', 'no-store');
  });
}

/** The page loads nothing from elsewhere, runs no inline scripts, and is in no frame. */
export const pageHeaders = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};

/** The name without the port; of IPv6 without the brackets. */
function hostName(header: string | undefined): string | undefined {
  const [, name] = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/i.exec(header ?? '') ?? [];
  return name?.replace(/^\[|\]$/g, '').toLowerCase();
}

function isOwnOrigin(origin: string, host: string | undefined): boolean {
  return origin === `http://${host}` || origin === `https://${host}`;
}
