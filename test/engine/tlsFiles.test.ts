import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readText, readTlsFiles } from '../../engine/support/tlsFiles.js';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-test-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

// That they are of use is in test/ingest/sources.test.ts.
describe('TLS files', () => {
  it('name the file that cannot be read, or is no certificate', async () => {
    const [cert, key] = ['cert.pem', 'key.pem'].map((name) => join(folder, name));
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await writeFile(key, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    await expect(readTlsFiles(cert, key)).rejects.toMatchObject({
      kind: 'input',
      place: { file: cert },
      message: expect.stringMatching(/cannot read the certificate \(ENOENT\)/),
    });
    await writeFile(cert, 'no certificate');
    await expect(readTlsFiles(cert, key)).rejects.toMatchObject({
      kind: 'input',
      place: { file: cert },
      message: expect.stringMatching(/not a certificate with its key/),
    });
    await expect(readTlsFiles(cert, join(folder, 'none'))).rejects.toThrow(/cannot read the key/);
    expect(await readText(cert, 'the text')).toBe('no certificate');
  });
});
