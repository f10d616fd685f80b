import tseslint from 'typescript-eslint';

/** Limits of the house: a file stops at 300 lines (tests at 500), a function at 60, four parameters. */
const size = (lines) => ({
  'max-lines': ['error', { max: lines, skipBlankLines: false, skipComments: false }],
  'max-params': ['error', 4],
  'max-depth': ['error', 4],
  complexity: ['error', 20],
});

export default tseslint.config(
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      ...size(300),
      eqeqeq: 'error',
      'no-console': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'separate-type-imports' }],
      '@typescript-eslint/consistent-type-exports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true, requireDefaultForNonUnion: false },
      ],
      '@typescript-eslint/prefer-readonly': 'error',
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', ignoreRestSiblings: true }],
      '@typescript-eslint/no-confusing-void-expression': 'off',
      // One shape for every promise function would forbid the plain pass-through of a promise.
      '@typescript-eslint/require-await': 'off',
      // A value of the wire is checked where it enters; a test for what the type already excludes is a defence there.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // Generic readers such as parseJson<T>() name their result; the rule wants `unknown` plus a cast instead.
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
    },
  },
  { files: ['src/**/*.ts'], rules: { 'max-lines-per-function': ['error', { max: 60 }] } },
  {
    files: ['test/**/*.ts'],
    rules: {
      ...size(500),
      'no-console': 'off',
      // tap's test() returns a promise that the runner itself waits for.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafePromises: [
            { from: 'package', package: '@tapjs/core', name: 'PromiseWithSubtest' },
          ],
        },
      ],
    },
  },
);
