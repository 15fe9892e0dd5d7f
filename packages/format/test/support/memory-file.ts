import type { LayoutInput } from '../../src/layouts/layout.js';
import { soloInput } from '../../src/load.js';
import type { StateDict } from '../../src/state-dict.js';
import { bytesTensor, type Tensor } from '../../src/tensor.js';

/** name -> shape and values (repeated to fill) or one number for a scalar. F32. */
export type Entries = Readonly<Record<string, { readonly shape: readonly number[]; readonly values?: readonly number[] } | number>>;

/** A state dict in memory, as a safetensors file would give it. */
export function memoryFile(entries: Entries, metadata: Readonly<Record<string, string>> = {}): StateDict {
	const tensors = new Map<string, Tensor>();
	const small = new Map<string, readonly number[]>();
	for (const [name, entry] of Object.entries(entries)) {
		const { shape, values = [0.5, -0.25, 1] } = typeof entry === 'number' ? { shape: [], values: [entry] } : entry;
		const count = shape.reduce((a, b) => a * b, 1);
		const numbers = Float32Array.from({ length: count }, (_, i) => values[i % values.length] ?? 0);
		tensors.set(name, bytesTensor('F32', shape, new Uint8Array(numbers.buffer), name));
		if (count <= 4) small.set(name, [...numbers]);
	}
	return {
		container: 'safetensors',
		name: 'test.safetensors',
		tensors,
		metadata: new Map(Object.entries(metadata)),
		top: 'dict',
		wrapper: undefined,
		nonTensors: [],
		small,
		smallComplete: true,
		warnings: [],
	};
}

export function memoryInput(entries: Entries, metadata: Readonly<Record<string, string>> = {}): LayoutInput {
	return soloInput(memoryFile(entries, metadata));
}

const ATTN = 'down_blocks_0_attentions_0_transformer_blocks_0_attn1';

/** Two kohya modules of SD1.5: to_q with alpha 2 at rank 4, to_k with alpha 4. */
export const KOHYA: Entries = {
	[`lora_unet_${ATTN}_to_q.alpha`]: 2,
	[`lora_unet_${ATTN}_to_q.lora_down.weight`]: { shape: [4, 320] },
	[`lora_unet_${ATTN}_to_q.lora_up.weight`]: { shape: [320, 4] },
	[`lora_unet_${ATTN}_to_k.alpha`]: 4,
	[`lora_unet_${ATTN}_to_k.lora_down.weight`]: { shape: [4, 320] },
	[`lora_unet_${ATTN}_to_k.lora_up.weight`]: { shape: [320, 4] },
};

const DOTTED = 'unet.down_blocks.0.attentions.0';

/** A file of today's diffusers: one `.to_` module, one other; alpha 8 at rank 4 in the header. */
export const DIFFUSERS: Entries = {
	[`${DOTTED}.proj_in.lora_A.weight`]: { shape: [4, 320, 1, 1] },
	[`${DOTTED}.proj_in.lora_B.weight`]: { shape: [320, 4, 1, 1] },
	[`${DOTTED}.transformer_blocks.0.attn1.to_q.lora.down.weight`]: { shape: [4, 320] },
	[`${DOTTED}.transformer_blocks.0.attn1.to_q.lora.up.weight`]: { shape: [320, 4] },
};

export const DIFFUSERS_METADATA: Readonly<Record<string, string>> = {
	format: 'pt',
	lora_adapter_metadata: JSON.stringify({
		'unet.r': 4,
		'unet.lora_alpha': 8,
		'unet.target_modules': ['to_q', 'proj_in'],
		'unet.use_rslora': false,
	}),
};
