import { SaccadeError } from '../../engine/support/errors.js';
import type { SensorSize } from '../eventBatch.js';
import { aedat4 } from '../formats/aedat4.js';
import { formatByName } from '../formats/index.js';
import type { EventFormat } from '../format.js';
import { type DropPolicy, dropPolicies } from './boundedQueue.js';
import { spif } from './spif.js';

export const schemes = ['file', 'stdio', 'tcp', 'tls', 'udp', 'ws', 'wss'] as const;
export type Scheme = (typeof schemes)[number];
const networkSchemes: readonly Scheme[] = ['tcp', 'tls', 'udp', 'ws', 'wss'];
/** By TLS, which takes a certificate to listen. */
const encryptedSchemes: readonly Scheme[] = ['tls', 'wss'];

/** Where events come from or go to, taken apart. */
export interface Address {
  readonly uri: string;
  readonly scheme: Scheme;
  readonly host: string;
  readonly port: number;
  /** Path of a file, or of a WebSocket. */
  readonly path: string;
  readonly format: EventFormat | undefined;
  /** Bytes that stand in front of the stream in files and not on the wire: DV sends AEDAT4 so. */
  readonly prefix: Uint8Array | undefined;
  readonly sensor: SensorSize | undefined;
  /** Whether to wait for the other side to connect (TCP, WebSocket). */
  readonly listen: boolean;
  /** Files (PEM) of the certificate and its key, where the other side connects by TLS. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  readonly drop: DropPolicy;
  /** The most events that wait for the consumer. */
  readonly queue: number;
  /** How fast a file is replayed: 1 is real time; undefined as fast as it is read. */
  readonly speed: number | undefined;
}

const defaultQueue = 4_000_000;
const options = ['format', 'sensor', 'listen', 'cert', 'key', 'drop', 'queue', 'speed'];

/**
 * Takes apart an address such as `tcp://127.0.0.1:7777?format=es&sensor=128x128`:
 * - `-` is standard input or output; a plain path or `file:PATH` is a file;
 * - `tcp://HOST:PORT`, `udp://HOST:PORT`, `ws://HOST:PORT/PATH`; by TLS `tls://HOST:PORT`, `wss://HOST:PORT/PATH`, whose
 *   certificate must be one that Node.js trusts (`NODE_EXTRA_CA_CERTS`).
 *
 * Options: `format` (a format of files, `spif`, or `dv` for the AEDAT4 stream of DV 1.6 and later), `sensor` (`WIDTHxHEIGHT`),
 * `listen`, with `tls` and `wss` also `cert` and `key` (files of the certificate and its key, PEM), `drop` (`wait`, `oldest`, `newest`), `queue` (events), `speed` (1 = real time).
 *
 * @throws SaccadeError (`usage`) that names what is wrong.
 */
export function parseAddress(uri: string): Address {
  const fail = (message: string, field?: string): SaccadeError =>
    new SaccadeError('usage', message, { file: uri, field });
  const [, named, rest] = /^([a-z]+):(.*)$/.exec(uri) ?? [];
  const known = schemes.find((scheme) => scheme === named);
  const scheme: Scheme = known ?? (uri === '-' || uri.startsWith('-?') ? 'stdio' : 'file');
  if (known === undefined && /^[a-z]{2,}:\/\//.test(uri)) {
    throw fail(`unknown scheme "${named}", known are ${schemes.join(', ')}`);
  }
  const [place, query = ''] = splitOnce(known === undefined ? uri : rest, '?');
  const given = new URLSearchParams(query);
  for (const name of given.keys()) {
    if (!options.includes(name)) {
      throw fail(`unknown option, known are ${options.join(', ')}`, name);
    }
  }
  const isNetwork = networkSchemes.includes(scheme);
  const [, host = '', port = '', path = ''] =
    /^\/\/([^/:]*|\[[^\]]*\]):(\d+)(\/.*)?$/.exec(place) ?? [];
  if (isNetwork && (port === '' || Number(port) > 65_535)) {
    throw fail(`expected ${scheme}://HOST:PORT with a port from 0 to 65535`);
  }
  const number = (field: string, low: number): number | undefined => {
    const text = given.get(field);
    if (text === null) return undefined;
    const value = Number(text);
    if (text !== '' && value >= low && Number.isFinite(value)) return value;
    throw fail(`expected a number of at least ${low}, got "${text}"`, field);
  };
  const drop = given.get('drop') ?? (scheme === 'udp' ? 'oldest' : 'wait');
  const policy = dropPolicies.find((one) => one === drop);
  if (policy === undefined)
    throw fail(`expected ${dropPolicies.join(', ')}, got "${drop}"`, 'drop');
  if (scheme === 'udp' && policy === 'wait') {
    throw fail('UDP cannot wait, expected oldest or newest', 'drop');
  }
  const listen = given.has('listen') && given.get('listen') !== 'false';
  const [cert, key] = [given.get('cert'), given.get('key')];
  const encrypted = listen && encryptedSchemes.includes(scheme);
  if (encrypted && !(cert && key)) {
    throw fail(`${scheme} listens with a certificate, expected cert=FILE and key=FILE`, 'listen');
  }
  if (!encrypted && (cert ?? key) !== null) {
    throw fail('is for tls and wss that listen', cert === null ? 'key' : 'cert');
  }
  const format = given.get('format');
  if (isNetwork && format === null) {
    throw fail('expected the format of the stream, for instance format=es', 'format');
  }
  return {
    uri,
    scheme,
    host: host.replace(/^\[|\]$/g, '') || '127.0.0.1',
    port: Number(port),
    path: isNetwork ? path : place.replace(/^\/\/(?=\/)/, ''),
    ...wireFormat(format),
    sensor: parseSensor(given.get('sensor'), fail),
    listen,
    tls: encrypted ? { cert: cert!, key: key! } : undefined,
    drop: policy,
    queue: number('queue', 1) ?? defaultQueue,
    speed: number('speed', 1e-6),
  };
}

/** Formats of the wire, besides those of files. */
export const wireFormats = ['spif', 'dv'] as const;

/** The address with options added, or in place of those that it has. Those that are undefined change nothing. */
export function withOptions(
  uri: string,
  changes: Readonly<Record<string, string | number | undefined>>,
): string {
  const [place, query = ''] = splitOnce(uri, '?');
  const given = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) {
    if (value !== undefined) given.set(name, String(value));
  }
  return given.size === 0 ? place : `${place}?${given.toString()}`;
}

function wireFormat(name: string | null): Pick<Address, 'format' | 'prefix'> {
  if (name === null) return { format: undefined, prefix: undefined };
  if (name === 'spif') return { format: spif, prefix: undefined };
  if (name === 'dv') return { format: aedat4, prefix: Buffer.from('#!AER-DAT4.0\r\n') };
  return { format: formatByName(name), prefix: undefined };
}

function parseSensor(
  text: string | null,
  fail: (message: string, field: string) => SaccadeError,
): SensorSize | undefined {
  if (text === null) return undefined;
  const [, width, height] = /^(\d{1,5})x(\d{1,5})$/.exec(text) ?? [];
  const sensor = { width: Number(width), height: Number(height) };
  const fits = (size: number): boolean => size >= 1 && size <= 65_536;
  if (fits(sensor.width) && fits(sensor.height)) return sensor;
  throw fail(`expected WIDTHxHEIGHT, got "${text}"`, 'sensor');
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}
