import path from 'node:path';
import type { AdapterUse } from '@lorakit/format';
import { bytesSource, decodeAdapter, decodeFloats, loadInput, planFuse, planTerms, renameNaming } from '@lorakit/format';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createFloat64Engine } from '../../src/engines/float64/index.js';
import { createOnnxEngine } from '../../src/engines/onnx/index.js';
import {
	adapterFeeds,
	type Base,
	createComponent,
	f32Tensor,
	type HostTensor,
	plainEverywhere,
	readWeight,
	timestepFeatures,
	unetGraph,
} from '../../src/index.js';
import { openBase } from '../../src/io/open-base.js';
import { apart, FIXTURES } from '../fixtures.js';

const Q = 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q';
const FF = 'lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_2';
const CONV = 'lora_unet_up_blocks_1_resnets_0_conv2';
const NORM = 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_norm1';

type Tensors = Readonly<Record<string, readonly number[]>>;

/** kohya's and LyCORIS' names; one module or two of each family. tiny-shapes: to_q is (32, 32), ff.net.2 (64, 256), conv2 (64, 64, 3, 3). */
const FAMILIES: Readonly<Record<string, Tensors>> = {
	lora: { [`${Q}.lora_up.weight`]: [32, 4], [`${Q}.lora_down.weight`]: [4, 32], [`${Q}.alpha`]: [] },
	'lora on a convolution': {
		[`${CONV}.lora_up.weight`]: [64, 3, 1, 1],
		[`${CONV}.lora_down.weight`]: [3, 64, 3, 3],
		[`${CONV}.alpha`]: [],
	},
	locon: {
		[`${CONV}.lora_up.weight`]: [64, 3, 1, 1],
		[`${CONV}.lora_mid.weight`]: [3, 3, 3, 3],
		[`${CONV}.lora_down.weight`]: [3, 64, 1, 1],
		[`${CONV}.alpha`]: [],
	},
	loha: {
		[`${Q}.hada_w1_a`]: [32, 2],
		[`${Q}.hada_w1_b`]: [2, 32],
		[`${Q}.hada_w2_a`]: [32, 2],
		[`${Q}.hada_w2_b`]: [2, 32],
		[`${Q}.alpha`]: [],
	},
	lokr: { [`${FF}.lokr_w1`]: [4, 4], [`${FF}.lokr_w2_a`]: [16, 2], [`${FF}.lokr_w2_b`]: [2, 64], [`${FF}.alpha`]: [] },
	dora: {
		[`${FF}.lora_up.weight`]: [64, 4],
		[`${FF}.lora_down.weight`]: [4, 256],
		[`${FF}.dora_scale`]: [64, 1],
		[`${FF}.alpha`]: [],
	},
	'full difference': { [`${Q}.diff`]: [32, 32], [`${FF}.diff`]: [64, 256], [`${FF}.diff_b`]: [64], [`${CONV}.diff`]: [64, 64, 3, 3] },
	norm: { [`${NORM}.w_norm`]: [32], [`${NORM}.b_norm`]: [32] },
	'biases alone': { [`${FF}.diff_b`]: [64], [`${CONV}.diff_b`]: [64], [`${NORM}.diff_b`]: [32] },
	oft: { [`${Q}.oft_blocks`]: [4, 8, 8], [`${Q}.alpha`]: [] },
	ia3: { [`${Q}.weight`]: [32, 1], [`${Q}.on_input`]: [] },
	glora: {
		[`${FF}.a1.weight`]: [256, 4],
		[`${FF}.a2.weight`]: [4, 256],
		[`${FF}.b1.weight`]: [64, 4],
		[`${FF}.b2.weight`]: [4, 256],
		[`${FF}.alpha`]: [],
	},
};

let seed = 1;
function random(): number {
	seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
	return seed / 2 ** 31 - 1;
}

/** A safetensors file written by hand. */
function file(tensors: Tensors): Uint8Array {
	const header: Record<string, unknown> = {};
	const parts: Buffer[] = [];
	let at = 0;
	for (const [name, shape] of Object.entries(tensors)) {
		const count = shape.reduce((a, b) => a * b, 1);
		const value = (): number =>
			name.endsWith('alpha')
				? 2
				: name.endsWith('on_input')
					? 0
					: name.endsWith('dora_scale')
						? 2 + random()
						: (/hada|lokr|\.[ab][12]\./.test(name) ? 1.5 : 0.4) * random();
		const bytes = Buffer.from(Float32Array.from({ length: count }, value).buffer);
		header[name] = { dtype: 'F32', shape, data_offsets: [at, at + bytes.length] };
		parts.push(bytes);
		at += bytes.length;
	}
	const json = Buffer.from(JSON.stringify(header).padEnd(Math.ceil(JSON.stringify(header).length / 8) * 8));
	const length = Buffer.alloc(8);
	length.writeBigUInt64LE(BigInt(json.length));
	return Buffer.concat([length, json, ...parts]);
}

async function use(tensors: Tensors, scale: number): Promise<AdapterUse> {
	const { adapter } = decodeAdapter(await loadInput({ main: bytesSource(file(tensors)) }));
	return { adapter: renameNaming(adapter, 'diffusers'), name: 'made', strength: { scale, components: new Map(), blocks: undefined } };
}

describe('adapters of every family over the unmodified base', () => {
	let base: Base;
	let feeds: Record<string, HostTensor>;
	const shape = { batch: 1, height: 8, width: 8, tokens: 3 };
	beforeAll(async () => {
		base = await openBase(path.join(FIXTURES, 'tiny-shapes'));
		const [first = 0] = base.unet.blockOutChannels;
		feeds = {
			sample: f32Tensor([1, 4, 8, 8], Float32Array.from({ length: 256 }, random)),
			time_features: f32Tensor([1, first], timestepFeatures([400], first, base.unet)),
			encoder_hidden_states: f32Tensor([1, 3, 64], Float32Array.from({ length: 192 }, random)),
		};
	});
	afterAll(() => base.close());

	/** The UNet with weights that fuse would make, before it rounds: a plain graph on the float64 engine. */
	async function fused(uses: readonly AdapterUse[]): Promise<ArrayLike<number>> {
		const plan = await planFuse(base.model, uses);
		const changed = new Map<string, Float32Array>();
		for (const touched of plan.touched) {
			const bytes = await touched.tensor.read();
			const rows = touched.tensor.shape[0] ?? 1;
			const delta = await touched.delta(0, rows, bytes);
			changed.set(
				`unet.${touched.name}`,
				Float32Array.from(decodeFloats(touched.tensor.dtype, bytes), (x, i) => x + (delta[i] ?? 0)),
			);
		}
		const graph = unetGraph(base.unet, shape, { forms: plainEverywhere });
		const session = await createFloat64Engine().load(graph, {
			async read(name) {
				const own = changed.get(name);
				if (own !== undefined) return own;
				const place = base.weights.locate('unet', name.slice('unet.'.length));
				if (place === undefined) throw new Error(name);
				return readWeight(place);
			},
			stored: () => undefined,
		});
		return (await session.run(feeds))['sample']?.data ?? [];
	}

	const cases = [
		...Object.entries(FAMILIES).map(([name, tensors]) => [name, [tensors]] as const),
		['dora, ia3 and lora at once', [FAMILIES['dora'], FAMILIES['ia3'], FAMILIES['lora']]] as const,
	];

	it.each(cases)('%s: as fused, on float64 and ONNX Runtime; the base to the bit when it is gone', async (_, parts) => {
		const uses = await Promise.all(parts.map((tensors, i) => use(tensors ?? {}, i === 0 ? 0.7 : -0.4)));
		const want = await fused(uses);
		for (const engine of [createFloat64Engine(), await createOnnxEngine()]) {
			const component = createComponent('unet', engine, base.weights);
			const run = async (): Promise<ArrayLike<number>> =>
				(await component.run('x', (forms) => unetGraph(base.unet, shape, { forms }), feeds))['sample']?.data ?? [];
			const before = await run();
			component.adapt(await adapterFeeds(await planTerms(base.model, uses), new Set(['unet'])));
			const adapted = await run();
			expect(apart(adapted, before)).toBeGreaterThan(1e-4);
			// float32 inputs and weights; the bar of the reference sets for a forward.
			expect(apart(adapted, want)).toBeLessThan(3e-5);
			component.adapt({ forms: new Map(), feeds: new Map() });
			expect(await run()).toEqual(before);
			await component.release();
		}
	});
});
