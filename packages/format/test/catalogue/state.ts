import type { DType } from '../../src/dtype.js';
import { encodeFloats } from '../../src/half.js';
import type { LayoutInput } from '../../src/layouts/layout.js';
import type { StateDict } from '../../src/state-dict.js';
import { bytesTensor, computedTensor, type Tensor } from '../../src/tensor.js';
import type { Mod } from './inventories.js';

/** A state dict under construction: big tensors are lazy (a constant byte made from the name), scalars have their values. */
export class State {
	readonly tensors: Map<string, Tensor> = new Map();
	readonly small: Map<string, readonly number[]> = new Map();
	readonly dtype: 'F16' | 'BF16' | 'F32';

	constructor(dtype: 'F16' | 'BF16' | 'F32' = 'F16') {
		this.dtype = dtype;
	}

	put(name: string, shape: readonly number[], dtype: DType = this.dtype): this {
		const n = shape.reduce((a, b) => a * b, 1);
		const fill = byteOf(name);
		const wide = dtype === 'I64' ? 8 : dtype === 'F32' ? 4 : 2;
		this.tensors.set(
			name,
			computedTensor(dtype, shape, undefined, async () => new Uint8Array(n * wide).fill(fill), name),
		);
		return this;
	}

	/** The same bytes as another name has: an equal duplicate. */
	copy(name: string, of: string): this {
		const t = this.tensors.get(of);
		if (t === undefined) throw new Error(of);
		this.tensors.set(name, { ...t, origin: name, read: () => t.read() });
		return this;
	}

	value(name: string, value: number, dtype: 'F16' | 'BF16' | 'F32' | 'I64' = this.dtype, shape: readonly number[] = []): this {
		const bytes = dtype === 'I64' ? new Uint8Array(BigInt64Array.of(BigInt(value)).buffer) : encodeFloats(dtype, Float64Array.of(value));
		this.tensors.set(name, bytesTensor(dtype, shape, bytes, name));
		this.small.set(name, [value]);
		return this;
	}

	/** LoRA factors in a spelling: `[down leaf, up leaf]`. */
	pair(name: string, m: Mod, rank: number, leaves: readonly [string, string] = KOHYA_LEAVES): this {
		const k = m.k === 0 ? [] : [m.k, m.k];
		this.put(name + leaves[0], [rank, m.in, ...k]);
		return this.put(name + leaves[1], [m.out, rank, ...k.map(() => 1)]);
	}

	file(name = 'adapter.safetensors', metadata: Readonly<Record<string, string>> = {}, top: StateDict['top'] = 'dict'): StateDict {
		return {
			container: name.endsWith('.safetensors') ? 'safetensors' : 'torch-zip',
			name,
			tensors: this.tensors,
			metadata: new Map(Object.entries(metadata)),
			top,
			wrapper: undefined,
			nonTensors: [],
			small: this.small,
			smallComplete: true,
			warnings: [],
		};
	}

	input(metadata: Readonly<Record<string, string>> = {}, config?: string): LayoutInput {
		return { file: this.file('adapter.safetensors', metadata), textEncoder: undefined, embeddings: [], config, base: undefined };
	}
}

export const KOHYA_LEAVES = ['.lora_down.weight', '.lora_up.weight'] as const;
export const PEFT_LEAVES = ['.lora_A.weight', '.lora_B.weight'] as const;
export const LORA_LEAVES = ['.lora.down.weight', '.lora.up.weight'] as const;
export const LINEAR_LEAVES = ['.lora_linear_layer.down.weight', '.lora_linear_layer.up.weight'] as const;

/** A finite value in F16, BF16 and F32 that differs between most names. */
function byteOf(name: string): number {
	let hash = 0;
	for (let i = 0; i < name.length; i++) hash = (hash * 31 + name.charCodeAt(i)) | 0;
	return 0x20 + (Math.abs(hash) % 0x1c);
}

export function flat(path: string): string {
	return path.replaceAll('.', '_');
}

/** kohya's three tensors for every module. */
export function kohyaState(
	state: State,
	mods: readonly Mod[],
	prefix: string,
	options: { readonly rank?: number; readonly alpha?: number | undefined; readonly own?: boolean; readonly noAlpha?: boolean } = {},
): State {
	const { rank = 4, alpha = rank / 2, own = false } = options;
	for (const m of mods) {
		const name = `${prefix}_${flat(own ? m.own : m.path)}`;
		state.pair(name, m, rank);
		if (options.noAlpha !== true) state.value(`${name}.alpha`, alpha);
	}
	return state;
}

/** Dotted names behind a prefix. */
export function dottedState(
	state: State,
	mods: readonly Mod[],
	prefix: string,
	leaves: readonly [string, string] = PEFT_LEAVES,
	rank = 4,
): State {
	for (const m of mods) state.pair(prefix + m.path, m, rank, leaves);
	return state;
}
