import type { Strength } from '../suite/case.js';
import type { Code } from './diagnoses.js';
import type { AdapterFacts, ModuleFacts } from './module-facts.js';
import { strengthFor } from './uses.js';

/** What a wrong implementation adds for one module: `factor` times `delta`. */
export interface Effect {
	readonly factor: number;
	readonly delta: Float64Array;
}

/** One way to be wrong, as a formula. */
export interface Hypothesis {
	readonly code: Code;
	/** The block, the alpha, ... where the code stands for several. */
	readonly detail?: string | undefined;
	/** True when only the factor is another one: scaling alone can show it. */
	readonly scalar: boolean;
	effect(module: ModuleFacts, adapter: AdapterFacts, strength: Strength): Effect;
}

/** The rule of the suite. */
export function rightEffect(module: ModuleFacts, _adapter: AdapterFacts, strength: Strength): Effect {
	return { factor: strengthFor(strength, module.component) * module.scaling, delta: module.delta };
}

type Factor = (m: ModuleFacts, s: number, adapter: AdapterFacts) => number;

function scalar(code: Code, factor: Factor, detail?: string): Hypothesis {
	return {
		code,
		detail,
		scalar: true,
		effect: (m, adapter, strength) => ({ factor: factor(m, strengthFor(strength, m.component), adapter), delta: m.delta }),
	};
}

function shaped(code: Code, delta: (m: ModuleFacts, adapter: AdapterFacts) => Float64Array): Hypothesis {
	return { code, scalar: false, effect: (m, adapter, strength) => ({ ...rightEffect(m, adapter, strength), delta: delta(m, adapter) }) };
}

/** Left out where `gone` says so. */
function dropped(code: Code, gone: (m: ModuleFacts) => boolean, detail?: string): Hypothesis {
	return scalar(code, (m, s) => (gone(m) ? 0 : s * m.scaling), detail);
}

const isUnet = (m: ModuleFacts): boolean => !m.component.startsWith('text_encoder');
const isConv = (m: ModuleFacts): boolean => m.shape.length === 4;
const isWide = (m: ModuleFacts): boolean => isConv(m) && (m.shape[2] ?? 1) * (m.shape[3] ?? 1) > 1;

/** alpha and rank of a module that has both; a module without them keeps its scaling. */
function byAlpha(formula: (alpha: number, rank: number) => number): Factor {
	return (m, s) => {
		const { rank } = m;
		if (rank === undefined || m.rule === 'none' || m.rule === 'constraint') return s * m.scaling;
		return s * formula(m.alpha ?? rank, rank);
	};
}

/** Every hypothesis for these adapters, the more special first. */
export function hypothesesFor(adapters: readonly AdapterFacts[]): readonly Hypothesis[] {
	const modules = adapters.flatMap((a) => a.modules);
	const distinct = (values: readonly (number | null | undefined)[]): readonly number[] =>
		[...new Set(values.filter((v): v is number => typeof v === 'number'))].slice(0, 6);
	const out: Hypothesis[] = [
		scalar('adapter-not-applied', () => 0),
		scalar(
			'alpha-ignored',
			byAlpha(() => 1),
		),
		scalar('missing-alpha-as-one', (m, s) => (m.alpha === null && m.rank !== undefined && m.rule === 'one' ? s / m.rank : s * m.scaling)),
		scalar('alpha-zero-as-rank', (m, s) => (m.alpha === 0 ? s : s * m.scaling)),
		scalar('alpha-not-divided-by-rank', (m, s) => (m.alpha === null ? s * m.scaling : s * m.alpha)),
		scalar(
			'rank-over-alpha',
			byAlpha((alpha, rank) => rank / alpha),
		),
		scalar(
			'alpha-over-rank-squared',
			byAlpha((alpha, rank) => (alpha / rank) ** 2),
		),
		scalar('rslora', (m, s) => {
			if (m.rank === undefined) return s * m.scaling;
			const alpha = m.alpha ?? m.rank;
			return m.rule === 'alpha/sqrt(rank)' ? (s * alpha) / m.rank : (s * alpha) / Math.sqrt(m.rank);
		}),
		scalar('scale-tensor-ignored', (m, s) =>
			m.rule === 'scale-tensor' && m.rank !== undefined ? (s * (m.alpha ?? m.rank)) / m.rank : s * m.scaling,
		),
		scalar('user-scale-ignored', (m) => m.scaling),
		scalar('user-scale-squared', (m, s) => s * s * m.scaling),
		// Of two factors one takes the sign: sd-scripts, networks/merge_lora.py#merge_lora_models.
		scalar('user-scale-squared', (m, s) => s * Math.abs(s) * m.scaling),
		scalar('applied-twice', (m, s) => 2 * s * m.scaling),
		scalar('sign-flipped', (m, s) => -s * m.scaling),
		scalar('negative-strength', (m, s) => Math.max(0, s) * m.scaling),
		scalar('negative-strength', (m, s) => Math.abs(s) * m.scaling),
	];
	for (const rank of distinct(modules.map((m) => m.rank))) {
		out.push(
			scalar(
				'rank-of-first-module-for-all',
				byAlpha((alpha) => alpha / rank),
				`rank ${rank}`,
			),
		);
	}
	for (const alpha of distinct(modules.map((m) => m.alpha))) {
		out.push(
			scalar(
				'alpha-of-first-module-for-all',
				byAlpha((_, rank) => alpha / rank),
				`alpha ${alpha}`,
			),
		);
	}
	for (const which of ['unet', 'text_encoder']) {
		out.push({
			code: 'component-strength-ignored',
			scalar: true,
			effect: (m, _, strength) => ({ factor: strengthFor(strength, which) * m.scaling, delta: m.delta }),
		});
	}
	out.push(
		dropped('text-encoder-dropped', (m) => !isUnet(m)),
		dropped('unet-dropped', isUnet),
		dropped('mid-block-dropped', (m) => isUnet(m) && m.path.startsWith('mid_block.')),
		...blocksOf(modules).map((block) => dropped('block-dropped', (m) => isUnet(m) && m.path.startsWith(block), block.slice(0, -1))),
		dropped('conv-ignored', isConv),
		dropped('conv3x3-ignored', isWide),
		dropped('to-out-dropped', (m) => m.path.includes('to_out.0')),
		dropped('cross-attention-only', (m) => isUnet(m) && !m.path.includes('attn2')),
		dropped('ff-dropped', (m) => `.${m.path}.`.includes('.ff.') || `.${m.path}.`.includes('.mlp.')),
		shaped('up-down-swapped-on-square', (m) => (m.shape.length === 2 && m.shape[0] === m.shape[1] ? transposed(m) : m.delta)),
		shaped('delta-column-major', (m) => (m.shape.length === 2 ? columnMajor(m) : m.delta)),
		shaped('conv-kernel-flipped', (m) => (isWide(m) ? flipped(m) : m.delta)),
		shaped('k-and-v-exchanged', (m, adapter) => twin(m, adapter)?.delta ?? m.delta),
	);
	if (modules.some((m) => m.dora)) {
		out.push({
			code: 'dora-ignored',
			scalar: false,
			effect: (m, adapter, strength) => ({ ...rightEffect(m, adapter, strength), delta: m.plain ?? m.delta }),
		});
	}
	return out;
}

/** Blocks of the UNet that the modules are in, longest prefix one number: `down_blocks.1.`. */
function blocksOf(modules: readonly ModuleFacts[]): readonly string[] {
	const found = new Set<string>();
	for (const m of modules) {
		const block = /^(down_blocks|up_blocks|transformer_blocks|single_transformer_blocks)\.\d+\./.exec(m.path)?.[0];
		if (block !== undefined && isUnet(m)) found.add(block);
	}
	return [...found].sort();
}

/** D transposed. */
function transposed({ delta, shape }: ModuleFacts): Float64Array {
	const n = shape[0] ?? 0;
	const out = new Float64Array(delta.length);
	for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) out[i * n + j] = delta[j * n + i] ?? 0;
	return out;
}

/** `D.T.contiguous().view(D.shape)`. */
function columnMajor({ delta, shape }: ModuleFacts): Float64Array {
	const [rows = 0, columns = 0] = shape;
	const out = new Float64Array(delta.length);
	let at = 0;
	for (let j = 0; j < columns; j++) for (let i = 0; i < rows; i++) out[at++] = delta[i * columns + j] ?? 0;
	return out;
}

/** Kernels reversed in both axes. */
function flipped({ delta, shape }: ModuleFacts): Float64Array {
	const size = (shape[2] ?? 1) * (shape[3] ?? 1);
	const out = new Float64Array(delta.length);
	for (let i = 0; i < delta.length; i++) out[i] = delta[i - (i % size) + size - 1 - (i % size)] ?? 0;
	return out;
}

function twin(m: ModuleFacts, adapter: AdapterFacts): ModuleFacts | undefined {
	const other = m.path.endsWith('to_k')
		? m.key.replace(/to_k$/, 'to_v')
		: m.path.endsWith('to_v')
			? m.key.replace(/to_v$/, 'to_k')
			: undefined;
	const found = other === undefined ? undefined : adapter.byKey.get(other);
	return found !== undefined && found.delta.length === m.delta.length ? found : undefined;
}
