import { defineConfig } from 'vitest/config';

const builtTests = ['test/src/{cli,package}*.test.ts', 'test/**/*Thread.test.ts'];

export default defineConfig({
  test: {
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // What is waited for comes at the pace of the machine.
    expect: { poll: { timeout: 60_000 } },
    pool: 'forks',
    setupFiles: ['test/seed.ts', 'test/equality.ts'],
    projects: [
      {
        extends: true,
        test: { name: 'units', include: ['test/**/*.test.ts'], exclude: builtTests },
      },
      // Runs what users run: the build, which is brought up to date first.
      {
        extends: true,
        test: { name: 'built', include: builtTests, globalSetup: 'test/build.ts' },
      },
    ],
    coverage: {
      provider: 'v8',
      include: ['src/**', 'workers/**', 'models/**', 'preprocess/**', 'ingest/**', 'engine/**'],
      exclude: ['**/README.md'],
    },
  },
});
