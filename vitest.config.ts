import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: 'forks',
    coverage: {
      provider: 'v8',
      include: ['src/**', 'workers/**', 'models/**', 'preprocess/**', 'ingest/**', 'engine/**'],
      exclude: ['**/README.md'],
    },
  },
});
