import eslint from '@eslint/js';
import prettier from 'eslint-config-prettier';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['dist/', 'coverage/', 'runs/', '.cache/', '.saccade/', 'engine/native/build/'] },
  eslint.configs.recommended,
  ...tseslint.configs.strict,
  prettier,
  {
    // TypeScript knows what a browser has (its own tsconfig.json).
    files: ['workers/dashboard/page/*.js'],
    rules: { 'no-undef': 'off' },
  },
  {
    rules: {
      // Typed-array loops index within bounds that they check themselves.
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
);
