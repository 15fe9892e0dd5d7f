import type { Kernel } from './kernel.js';
import { typescriptKernel } from './typescript-kernel.js';

export type { DenseKernel, Reflections, Tridiagonal } from './dense-kernel.js';
export type { Kernel, RoundingTally } from './kernel.js';

let current: Kernel = typescriptKernel;
let loading: Promise<Kernel> | undefined;

/** The best kernel that is loaded; `typescript` until `loadKernel` has been waited for. */
export function kernel(): Kernel {
	return current;
}

/**
 * Load the fastest kernel this machine allows and make it the one of `kernel()`. Never fails: where WebAssembly SIMD
 * is missing, or compiling is not allowed (a content security policy), it is the TypeScript one.
 */
export function loadKernel(): Promise<Kernel> {
	loading ??= tryWasm().then((loaded) => {
		current = loaded;
		return loaded;
	});
	return loading;
}

/** Choose a kernel by name, for tests and benchmarks. @throws what WebAssembly throws where it cannot be had. */
export async function useKernel(id: Kernel['id']): Promise<Kernel> {
	current = id === 'typescript' ? typescriptKernel : await loadWasm();
	return current;
}

let wasm: Promise<Kernel> | undefined;

function loadWasm(): Promise<Kernel> {
	wasm ??= import('./wasm-kernel.js').then((module) => module.createWasmKernel());
	return wasm;
}

async function tryWasm(): Promise<Kernel> {
	try {
		return await loadWasm();
	} catch {
		return typescriptKernel;
	}
}
