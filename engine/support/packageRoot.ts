import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of Saccade's package.json: sources lie at different depths before and after a build. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest)) {
      const { name } = JSON.parse(readFileSync(manifest, 'utf8')) as { name?: string };
      if (name === 'saccade') return folder;
    }
    const parent = dirname(folder);
    if (parent === folder) throw new Error('package.json of saccade not found');
    folder = parent;
  }
}
