import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';

afterEach(() => {
	vi.unstubAllGlobals();
	vi.resetModules();
});

describe('loadKernel', () => {
	it('starts with TypeScript and goes on with WASM once it is there', async () => {
		const { kernel, loadKernel } = await import('../../src/kernel/index.js');
		expect(kernel().id).toBe('typescript');
		const loading = loadKernel();
		expect(kernel().id).toBe('typescript');
		expect((await loading).id).toBe('wasm-simd');
		expect(kernel().id).toBe('wasm-simd');
		expect(await loadKernel()).toBe(kernel());
	});

	it.each([
		['without WebAssembly', undefined],
		['where compiling is not allowed', { instantiate: () => Promise.reject(new Error('blocked by CSP')) }],
		['where there is no memory', { instantiate: () => Promise.reject(new RangeError('could not allocate memory')) }],
	])('stays with TypeScript %s', async (_, wasm) => {
		vi.stubGlobal('WebAssembly', wasm);
		const { kernel, loadKernel, useKernel } = await import('../../src/kernel/index.js');
		expect((await loadKernel()).id).toBe('typescript');
		expect(kernel().id).toBe('typescript');
		await expect(useKernel('wasm-simd')).rejects.toThrow();
		expect((await useKernel('typescript')).id).toBe('typescript');
	});
});

it('wasm-bytes.ts is what the sources give', { timeout: 120_000 }, () => {
	const script = fileURLToPath(new URL('../../scripts/build-kernel.mjs', import.meta.url));
	const { stdout, status } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
	expect([status, stdout]).toEqual([0, expect.stringContaining('what the sources give')]);
});
