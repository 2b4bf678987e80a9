import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { SaccadeError } from './errors.js';

/** What a server shows and proves by TLS, as PEM. */
export interface TlsIdentity {
  readonly cert: string;
  readonly key: string;
}

/**
 * Reads a certificate and its key from their files.
 *
 * @throws SaccadeError (`input`) that names the file which cannot be read, or where they do not belong together.
 */
export async function readTlsFiles(cert: string, key: string): Promise<TlsIdentity> {
  const tls = {
    cert: await readText(cert, 'the certificate'),
    key: await readText(key, 'the key'),
  };
  try {
    createSecureContext(tls);
  } catch (error) {
    const message = `not a certificate with its key (${(error as Error).message})`;
    throw new SaccadeError('input', message, { file: cert }, error);
  }
  return tls;
}

/** Reads a small text file; `what` is for the error. */
export async function readText(file: string, what: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new SaccadeError('input', `cannot read ${what} (${error.code})`, { file });
  });
}
