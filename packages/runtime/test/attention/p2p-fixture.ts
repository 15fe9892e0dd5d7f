import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { PromptEdit, StepRange } from '../../src/attention/index.js';
import { type Base, createStableDiffusion, type Engine, type StableDiffusion } from '../../src/index.js';
import { openBase } from '../../src/io/index.js';
import { type ClipTokenizer, createClipTokenizer } from '../../src/tokenizer/index.js';
import { TINY_SHAPES } from '../base/support.js';

/** What diffusers' community pipeline and the authors' aligner made: fixtures/runtime/make_p2p.py. */
const FOLDER = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../../fixtures/runtime');

export interface RecordedRun {
	prompts: [string, ...string[]];
	cross: StepRange | Record<string, StepRange>;
	self: StepRange;
	weight?: [string, number];
	refine?: boolean;
	steps: number;
	size: number;
	f32_vs_f64: number;
	picture?: { word: string; tokens: number[]; picture: number; size: [number, number]; layers: string[] };
}

export const p2p: {
	settings: { guidance: number; seed: number };
	runs: Record<string, RecordedRun>;
	forward: { run: string; timestep: number; call: number; calls: number };
	mappers: {
		replace: { source: string; edited: string; cells: [number, number, number][] }[];
		refine: { source: string; edited: string; mapper: number[]; alphas: number[] }[];
	};
	words: { prompt: string; word: string; tokens: number[] }[];
} = JSON.parse(readFileSync(path.join(FOLDER, 'p2p.json'), 'utf8'));

export interface Recorded {
	readonly shape: readonly number[];
	readonly data: Float64Array;
}

/** Recorded tensors by name (F32 and F64), read here without the code under test. */
export function recordedTensors(file = 'p2p.safetensors'): ReadonlyMap<string, Recorded> {
	const bytes = readFileSync(path.join(FOLDER, file));
	const length = Number(bytes.readBigUInt64LE(0));
	const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<
		string,
		{ dtype: string; shape: number[]; data_offsets: [number, number] }
	>;
	const out = new Map<string, Recorded>();
	for (const [name, { dtype, shape, data_offsets: at }] of Object.entries(header)) {
		if (name === '__metadata__') continue;
		const count = shape.reduce((a, b) => a * b, 1);
		const from = 8 + length + at[0];
		const read = dtype === 'F64' ? (i: number) => bytes.readDoubleLE(from + 8 * i) : (i: number) => bytes.readFloatLE(from + 4 * i);
		out.set(name, { shape, data: Float64Array.from({ length: count }, (_, i) => read(i)) });
	}
	return out;
}

export function tensor(all: ReadonlyMap<string, Recorded>, name: string): Recorded {
	const found = all.get(name);
	if (found === undefined) throw new Error(`no ${name} in the fixture`);
	return found;
}

export function shapesTokenizer(): ClipTokenizer {
	const text = (name: string): string => readFileSync(path.join(TINY_SHAPES, 'tokenizer', name), 'utf8');
	return createClipTokenizer({
		vocab: text('vocab.json'),
		merges: text('merges.txt'),
		config: text('tokenizer_config.json'),
		specialTokens: text('special_tokens_map.json'),
	});
}

export async function shapesModel(engine: Engine): Promise<{ base: Base; model: StableDiffusion }> {
	const base = await openBase(TINY_SHAPES);
	return { base, model: createStableDiffusion(base, engine, { tokenizers: [shapesTokenizer()] }) };
}

/** The run's settings in our words. */
export function editsOf({ prompts: [source, ...edited], cross, self, weight, refine }: RecordedRun): readonly PromptEdit[] {
	const byWord = typeof cross === 'object' && !Array.isArray(cross) ? (cross as Record<string, StepRange>) : undefined;
	const words = (text: string): number => text.split(' ').length;
	return edited.map((prompt) => ({
		kind:
			refine === true
				? 'refine'
				: weight !== undefined
					? 'reweight'
					: edited.every((e) => words(e) === words(source))
						? 'replace'
						: 'refine',
		prompt,
		...(weight === undefined ? {} : { weights: [{ word: weight[0], factor: weight[1] }] }),
		cross: byWord === undefined ? (cross as StepRange) : (byWord['default_'] ?? 1),
		// Only where the prompt has the word, as the authors' code looks for it in every prompt.
		crossWords: Object.entries(byWord ?? {})
			.filter(([word]) => word !== 'default_' && prompt.split(' ').includes(word))
			.map(([word, range]) => ({ word, range })),
		self,
	}));
}

/** Largest difference; infinite for other lengths or what is no number. */
export function apart(got: ArrayLike<number>, expected: ArrayLike<number>): number {
	if (got.length !== expected.length) return Number.POSITIVE_INFINITY;
	let most = 0;
	for (let i = 0; i < got.length; i++) {
		const d = Math.abs((got[i] ?? Number.NaN) - (expected[i] ?? Number.NaN));
		if (!(d <= most)) most = Number.isNaN(d) ? Number.POSITIVE_INFINITY : d;
	}
	return most;
}
