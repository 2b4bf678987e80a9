import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/** The version of this package. */
export function packageVersion(): string {
  return versionOf('saccade');
}

/** The version of an installed package. Throws where it is not installed. */
export function versionOf(name: string): string {
  return (require(`${name}/package.json`) as { version: string }).version;
}
