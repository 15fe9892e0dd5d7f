import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type AdapterUse, decodeAdapter, loadInput } from '@lorakit/format';
import { openSource } from '@lorakit/format/node';
import { createStableDiffusion, type Engine, type StableDiffusion } from '../src/index.js';
import { openBase } from '../src/io/open-base.js';
import { createClipTokenizer } from '../src/tokenizer/index.js';

export const FIXTURES: string = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../fixtures/runtime');

/** A recorded tensor, as numbers. */
export interface Recorded {
	readonly shape: readonly number[];
	readonly data: Float64Array;
}

/** Recorded tensors by name, read by hand: the reader under test reads none of the expectations. */
export function recorded(file: string): ReadonlyMap<string, Recorded> {
	const bytes = fs.readFileSync(path.join(FIXTURES, file));
	const length = Number(bytes.readBigUInt64LE(0));
	const header = JSON.parse(bytes.subarray(8, 8 + length).toString('utf8')) as Record<
		string,
		{ readonly dtype: string; readonly shape: readonly number[]; readonly data_offsets: readonly [number, number] }
	>;
	const out = new Map<string, Recorded>();
	for (const [name, entry] of Object.entries(header)) {
		if (name === '__metadata__') continue;
		const view = new DataView(bytes.buffer, bytes.byteOffset + 8 + length + entry.data_offsets[0]);
		const count = entry.shape.reduce((a, b) => a * b, 1);
		const at = (i: number): number =>
			entry.dtype === 'F32'
				? view.getFloat32(4 * i, true)
				: entry.dtype === 'F64'
					? view.getFloat64(8 * i, true)
					: Number(view.getBigInt64(8 * i, true));
		out.set(name, { shape: entry.shape, data: Float64Array.from({ length: count }, (_, i) => at(i)) });
	}
	return out;
}

/** tiny-shapes on an engine. */
export async function tinyShapes(engine: Engine): Promise<StableDiffusion> {
	const base = await openBase(path.join(FIXTURES, 'tiny-shapes'));
	const tokenizers = base.tokenizers.map((t) =>
		createClipTokenizer({ vocab: t.vocab ?? '', merges: t.merges ?? '', config: t.tokenizerConfig, specialTokens: t.specialTokensMap }),
	);
	return createStableDiffusion(base, engine, { tokenizers });
}

/** `striped` or `crescent` at a scale. */
export async function use(name: string, scale: number): Promise<AdapterUse> {
	const input = await loadInput({ main: await openSource(path.join(FIXTURES, 'adapters', `${name}.safetensors`)) });
	return { adapter: decodeAdapter(input).adapter, name, strength: { scale, components: new Map(), blocks: undefined } };
}

/** Largest difference; infinite where the lengths differ. */
export function apart(a: ArrayLike<number>, b: ArrayLike<number>): number {
	if (a.length !== b.length) return Number.POSITIVE_INFINITY;
	let most = 0;
	for (let i = 0; i < a.length; i++) {
		const d = Math.abs((a[i] ?? 0) - (b[i] ?? 0));
		if (!(d <= most)) most = d;
	}
	return most;
}
