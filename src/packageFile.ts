import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const require = createRequire(import.meta.url);

/** Path of a file that comes with this package. */
export function packageFile(name: string): string {
  return join(dirname(require.resolve('saccade/package.json')), name);
}
