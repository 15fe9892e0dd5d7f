import { defineConfig } from 'vitest/config';

export default defineConfig({
	test: {
		include: ['packages/*/test/**/*.test.ts', 'conformance/test/**/*.test.ts', 'test/**/*.test.ts'],
		testTimeout: 120_000,
		hookTimeout: 120_000,
		// Two cores: more workers only fight over them.
		maxWorkers: 2,
		// On GitHub's machines the suite says more, and writes a summary; tests that are about that set these themselves.
		env: { GITHUB_ACTIONS: '', GITHUB_STEP_SUMMARY: '' },
	},
});
