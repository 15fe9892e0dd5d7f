import path from 'node:path';
import { type AdapterUse, bytesSource, decodeAdapter, loadInput, renameNaming } from '@lorakit/format';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Base, createFloat64Engine, createStableDiffusion, fuseBase, readWeight, type StableDiffusion } from '../../src/index.js';
import { openBase } from '../../src/io/open-base.js';
import { apart, FIXTURES } from '../fixtures.js';

const Q = 'text_model.encoder.layers.0.self_attn.q_proj';
const NAME = `${Q}.weight`;
/** kohya's name of it. */
const KOHYA = `lora_te_${Q.replaceAll('.', '_')}`;

let base: Base;
let width: number;
let plain: Float32Array;

beforeAll(async () => {
	base = await openBase(path.join(FIXTURES, 'tiny-shapes'));
	width = base.textEncoders[0]?.hiddenSize ?? 0;
	plain = await weight(base);
});
afterAll(() => base.close());

async function weight(of: Base): Promise<Float32Array> {
	const place = of.weights.locate('text_encoder', NAME);
	if (place === undefined) throw new Error('no weight');
	return Float32Array.from(await readWeight(place));
}

/** An adapter of that weight alone: tensors by the end of kohya's name. */
async function use(tensors: Readonly<Record<string, readonly [readonly number[], (i: number) => number]>>): Promise<AdapterUse> {
	const header: Record<string, unknown> = {};
	const parts: Buffer[] = [];
	let at = 0;
	for (const [name, [shape, value]] of Object.entries(tensors)) {
		const count = shape.reduce((a, b) => a * b, 1);
		const bytes = Buffer.from(Float32Array.from({ length: count }, (_, i) => value(i)).buffer);
		header[`${KOHYA}.${name}`] = { dtype: 'F32', shape, data_offsets: [at, at + bytes.length] };
		parts.push(bytes);
		at += bytes.length;
	}
	const json = Buffer.from(JSON.stringify(header));
	const length = Buffer.alloc(8);
	length.writeBigUInt64LE(BigInt(json.length));
	const { adapter } = decodeAdapter(await loadInput({ main: bytesSource(Buffer.concat([length, json, ...parts])) }));
	return { adapter: renameNaming(adapter, 'diffusers'), name: 'made', strength: { scale: 1, components: new Map(), blocks: undefined } };
}

const lora = () =>
	use({
		'lora_up.weight': [[width, 1], (i) => Math.sin(i)],
		'lora_down.weight': [[1, width], (i) => Math.cos(2 * i)],
		alpha: [[], () => 1],
	});
/** The scale of its rows, a whole number: nothing is lost to a rounding. */
const dora = () =>
	use({
		'lora_up.weight': [[width, 1], () => 0],
		'lora_down.weight': [[1, width], () => 0],
		alpha: [[], () => 1],
		dora_scale: [[width, 1], () => 3],
	});

describe('adapters over a fused base', () => {
	it('are of its weights, over it as fused into it', async () => {
		const { base: once } = await fuseBase(base, [await lora()]);
		const { base: twice } = await fuseBase(once, [await dora()]);
		const sum = plain.map((x, i) => x + Math.sin(Math.floor(i / width)) * Math.cos(2 * (i % width)));
		expect(apart(await weight(once), sum)).toBeLessThan(1e-6);
		// DoRA: every row has the length 3, in the direction that it has in the fused base.
		const want = sum.map((x, i) => {
			const row = sum.subarray(width * Math.floor(i / width), width * (Math.floor(i / width) + 1));
			return (3 * x) / Math.hypot(...row);
		});
		expect(apart(await weight(twice), want)).toBeLessThan(1e-5);
		expect(apart(await weight(base), plain)).toBe(0);

		const states = async (of: Base, uses: readonly AdapterUse[]): Promise<ArrayLike<number>> => {
			const model: StableDiffusion = createStableDiffusion(of, createFloat64Engine(), { tokenizers: [] });
			await model.setAdapters(uses);
			const [text] = await model.encodeIds([Int32Array.of(0, 5, 7, 1)]);
			await model.close();
			return text?.states.data ?? [];
		};
		const over = await states(once, [await dora()]);
		expect(apart(over, await states(twice, []))).toBeLessThan(1e-5);
		expect(apart(over, await states(base, [await dora()]))).toBeGreaterThan(1e-3);

		// A whole difference is fed as the weight that it makes: of the sum, not of the file.
		const full = await use({ diff: [[width, width], (i) => Math.sin(3 * i) / 4] });
		const { base: wholly } = await fuseBase(once, [full]);
		expect(
			apart(
				await weight(wholly),
				sum.map((x, i) => x + Math.sin(3 * i) / 4),
			),
		).toBeLessThan(1e-6);
		const dense = await states(once, [full]);
		expect(apart(dense, await states(wholly, []))).toBeLessThan(1e-5);
		expect(apart(dense, await states(base, [full]))).toBeGreaterThan(1e-3);
	});
});
