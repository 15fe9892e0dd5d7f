import { WASM_BASE64 } from './wasm-bytes.js';

/** Below this lie the module's own few kilobytes. */
const ARENA_START = 65_536;

/** Addresses are bytes. Made from packages/format/kernel/*.ts, which says what each does. */
export interface WasmExports {
	readonly memory: WebAssembly.Memory;
	addProduct(acc: number, up: number, down: number, rows: number, rank: number, cols: number, scale: number): void;
	packColumns(from: number, to: number, depth: number, cols: number): void;
	packRows(from: number, to: number, rows: number, depth: number, ld: number): void;
	addGram(panels: number, depth: number, n: number, c: number, ld: number): void;
	mirror(c: number, n: number, ld: number): void;
	cholesky(a: number, n: number, ld: number, diagonal: number): number;
	sandwich(r: number, g: number, c: number, side: number, t: number, panelsA: number, panelsB: number): void;
	tridiagonalise(a: number, n: number, ld: number, d: number, e: number, tau: number, work: number): void;
	householder(a: number, n: number, m: number, ld: number, tau: number, diagonal: number): void;
	reflectRows(a: number, steps: number, shift: number, ld: number, tau: number, z: number, count: number): void;
	rotateRows(z: number, ld: number, from: number, count: number, pairs: number): void;
	jacobiSweep(rows: number, n: number, ld: number, width: number, norms: number, tolerance: number): number;
	addF16(at: number, delta: number, n: number): void;
	addBF16(at: number, delta: number, n: number): void;
	addF32(at: number, delta: number, n: number): void;
	addF64(at: number, delta: number, n: number): void;
	countOverflowed(): number;
	countNonFinite(): number;
	decodeF16(from: number, to: number, n: number): void;
}

/** The kernel's functions and its memory. */
export interface Arena {
	readonly exports: WasmExports;
	/** Index of the first double of `doubles` that may be used. */
	readonly first: number;
	readonly doubles: Float64Array;
	readonly bytes: Uint8Array;
}

/** Compile and start the kernel. @throws what WebAssembly throws where it is missing or not allowed. */
export async function openArena(): Promise<Arena> {
	const text = atob(WASM_BASE64);
	const code = new Uint8Array(text.length);
	for (let i = 0; i < text.length; i++) code[i] = text.charCodeAt(i);
	const { instance } = await WebAssembly.instantiate(code);
	const exports = instance.exports as unknown as WasmExports;
	const { buffer } = exports.memory;
	return { exports, first: ARENA_START / 8, doubles: new Float64Array(buffer), bytes: new Uint8Array(buffer) };
}
