import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';

/** A file of the page, as it is sent. */
export interface PageFile {
  readonly type: string;
  readonly body: Buffer;
  /** Changes when the content does. */
  readonly etag: string;
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/**
 * All files of the page by their path in a URL, read once (about 200 KB). What is not among them does not exist, so
 * no path can lead out of the folder.
 */
export async function loadPage(folder: string): Promise<ReadonlyMap<string, PageFile>> {
  const library = dirname(createRequire(import.meta.url).resolve('uplot'));
  const names = (await readdir(folder)).filter((name) => extname(name) in types);
  const entries = await Promise.all([
    ...names.map((name) => served(`/${name}`, join(folder, name))),
    served('/', join(folder, 'index.html')),
    served('/vendor/uPlot.js', join(library, 'uPlot.esm.js')),
    served('/vendor/uPlot.css', join(library, 'uPlot.min.css')),
  ]);
  return new Map(entries);
}

async function served(path: string, file: string): Promise<[string, PageFile]> {
  const body = await readFile(file);
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
  return [path, { type: types[extname(file)], body, etag }];
}
