import { loadPage } from '../../dashboard/files.js';
import type { ServiceApp } from '../parts.js';

/** The page, which anybody may load: what it shows takes the token. */
export async function addPageRoutes(app: ServiceApp, folder: string): Promise<void> {
  for (const [path, { type, body, etag }] of await loadPage(folder)) {
    app.get(path, { schema: { hide: true } }, async ({ headers }, reply) => {
      // Asks each time whether the file is still the same.
      void reply.header('cache-control', 'no-cache').header('etag', etag);
      if (headers['if-none-match'] === etag) return reply.code(304).send();
      return reply.type(type).send(body);
    });
  }
}
