import { FormatError } from '@lorakit/format';
import type { TfjsContext } from './kernel.js';

const MIB = 2 ** 20;

/** What WebAssembly can address. */
const WASM_LIMIT = 2 ** 32;

/** What kernels and the allocator take besides. */
const WASM_MARGIN = 64 * MIB;

/** Below this many bytes of tensors WebAssembly's heap is not tried: together with packed weights it cannot be full. */
const WASM_SAFE = WASM_LIMIT / 4;

/**
 * Is there room for so many bytes of tensors more? When WebAssembly's 4 GiB are full its backend gets no error but the
 * address 0, and overwrites itself; so its heap is asked before.
 *
 * @param limit most bytes of tensors
 * @returns `guard(bytes, what)`, which throws `FormatError` `E_LIMIT`
 */
export function createMemoryGuard({ tf, backend }: TfjsContext, limit: number): (bytes: number, what: string) => void {
	return (bytes, what) => {
		if (limit === Number.POSITIVE_INFINITY && backend !== 'wasm') return;
		const used = tf.memory().numBytes;
		if (used + bytes > limit) throw tooMuch(what, bytes, used, `may use ${Math.floor(limit / MIB)} MiB`);
		if (backend !== 'wasm' || used + bytes < WASM_SAFE) return;
		if (!wasmHasRoom(tf.backend(), bytes + WASM_MARGIN)) {
			throw tooMuch(what, bytes, used, `has no room for them in its ${WASM_LIMIT / MIB} MiB, where it holds weights twice`);
		}
	};

	function tooMuch(what: string, bytes: number, used: number, limits: string): FormatError {
		return new FormatError(
			'E_LIMIT',
			`${what} needs ${Math.ceil(bytes / MIB)} MiB, ${Math.ceil(used / MIB)} MiB are in use, and TensorFlow.js' backend ${backend} ${limits}. Use a smaller picture or model, or another engine.`,
		);
	}
}

/** Emscripten's allocator, which grows the heap where it must and can. */
interface WasmBackend {
	readonly wasm?: { _malloc(bytes: number): number; _free(address: number): void };
}

function wasmHasRoom(backend: unknown, bytes: number): boolean {
	const { wasm } = backend as WasmBackend;
	if (wasm === undefined) return true;
	if (bytes >= WASM_LIMIT) return false;
	const address = wasm._malloc(bytes);
	if (address === 0) return false;
	wasm._free(address);
	return true;
}
