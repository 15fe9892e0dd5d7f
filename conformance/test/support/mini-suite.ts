import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { type Plain, safetensors } from './safetensors.js';

/**
 * A small suite with closed-form expectations, for tests of the runner: one adapter of all module kinds, every number
 * with at most eight significant bits, so that no cast changes it. Computed here in float64, by nothing of the package.
 */
export interface MiniModule {
	readonly component: string;
	readonly path: string;
	readonly shape: readonly number[];
	readonly rank: number;
	readonly alpha: number;
}

const ATTN = { rank: 4, alpha: 2 };
const D0 = 'down_blocks.0.attentions.0.transformer_blocks.0';

export const MODULES: readonly MiniModule[] = [
	...['attn1.to_q', 'attn1.to_k', 'attn1.to_v', 'attn1.to_out.0', 'attn2.to_q'].map((p) => ({
		component: 'unet',
		path: `${D0}.${p}`,
		shape: [16, 16],
		...ATTN,
	})),
	...['attn2.to_k', 'attn2.to_v'].map((p) => ({ component: 'unet', path: `${D0}.${p}`, shape: [16, 12], ...ATTN })),
	{ component: 'unet', path: `${D0}.ff.net.0.proj`, shape: [32, 16], rank: 8, alpha: 8 },
	{ component: 'unet', path: `${D0}.ff.net.2`, shape: [16, 24], rank: 8, alpha: 8 },
	{ component: 'unet', path: 'down_blocks.0.attentions.0.proj_in', shape: [16, 16, 1, 1], rank: 2, alpha: 1.5 },
	{ component: 'unet', path: 'down_blocks.0.resnets.0.conv1', shape: [16, 8, 3, 3], rank: 2, alpha: 1.5 },
	{ component: 'unet', path: 'mid_block.attentions.0.transformer_blocks.0.attn1.to_q', shape: [16, 16], ...ATTN },
	{ component: 'unet', path: 'up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k', shape: [16, 12], ...ATTN },
	{ component: 'text_encoder', path: 'text_model.encoder.layers.0.self_attn.q_proj', shape: [16, 16], rank: 4, alpha: 3 },
	{ component: 'text_encoder', path: 'text_model.encoder.layers.0.mlp.fc1', shape: [32, 16], rank: 4, alpha: 3 },
];

/** Integers from -63 to 63 over 128: eight bits. */
function numbers(seed: string, count: number, scale: number): Float64Array {
	const out = new Float64Array(count);
	let block = Buffer.alloc(0);
	for (let i = 0; i < count; i++) {
		if (i % 32 === 0) block = createHash('sha256').update(`${seed}:${i}`).digest();
		out[i] = (((block[i % 32] ?? 0) % 127) - 63) * scale;
	}
	return out;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
export const keyOf = ({ component, path: p }: MiniModule): string => `${component}.${p}`;
const kohya = ({ component, path: p }: MiniModule): string => `${component === 'unet' ? 'lora_unet' : 'lora_te'}_${p.replaceAll('.', '_')}`;

function factors(m: MiniModule, seed: string): { down: Float64Array; up: Float64Array; delta: Float64Array; magnitude: number } {
	const [out = 1, ...rest] = m.shape;
	const inner = sizeOf(rest);
	const down = numbers(`${seed} down ${keyOf(m)}`, m.rank * inner, 2 ** -8);
	const up = numbers(`${seed} up ${keyOf(m)}`, out * m.rank, 2 ** -8);
	const delta = new Float64Array(out * inner);
	let magnitude = 0;
	for (let o = 0; o < out; o++) {
		for (let i = 0; i < inner; i++) {
			let [sum, size] = [0, 0];
			for (let r = 0; r < m.rank; r++) {
				const product = (up[o * m.rank + r] ?? 0) * (down[r * inner + i] ?? 0);
				sum += product;
				size += Math.abs(product);
			}
			delta[o * inner + i] = sum;
			magnitude = Math.max(magnitude, size);
		}
	}
	return { down, up, delta, magnitude };
}

function adapterFile(seed: string, modules: readonly MiniModule[], alpha: boolean): Buffer {
	const tensors: Record<string, Plain> = {};
	for (const m of modules) {
		const { down, up } = factors(m, seed);
		const [out = 1, ...rest] = m.shape;
		const ones = rest.length === 3 ? [1, 1] : [];
		tensors[`${kohya(m)}.lora_down.weight`] = { shape: [m.rank, ...rest], values: down };
		tensors[`${kohya(m)}.lora_up.weight`] = { shape: [out, m.rank, ...ones], values: up };
		if (alpha) tensors[`${kohya(m)}.alpha`] = { shape: [], values: [m.alpha] };
	}
	return safetensors(tensors);
}

interface Acting {
	readonly seed: string;
	readonly modules: readonly MiniModule[];
	readonly strength: number | Readonly<Record<string, number>>;
	readonly alpha?: boolean;
}

const base = (m: MiniModule): Float64Array => numbers(`base ${keyOf(m)}`, sizeOf(m.shape), 2 ** -7);
const strengthOf = (s: Acting['strength'], component: string): number => (typeof s === 'number' ? s : (s[component] ?? 1));

/** Writes the suite into a folder that is not there yet. */
export function writeMiniSuite(dir: string): void {
	const files = new Map<string, Buffer>();
	const cases: Record<string, unknown>[] = [];
	const common = {
		since: '1.0.0',
		tags: ['mini'],
		source: [{ url: 'https://example.org/rule', says: 'a rule' }],
		reference: { rule: 'k = s * alpha / rank' },
		provenance: { script: 'conformance/test/support/mini-suite.ts' },
	};
	const scaled = { derivation: 'one division: 3 u of float32, rounded up', f32: { rel: 1e-6 }, f16: { rel: 2e-3 }, bf16: { rel: 1.6e-2 } };
	const tolerance = {
		derivation: 'gamma(r + 2) of the dot product and 2 scaled ulps (CONFORMANCE.md 5.4)',
		f32: { gamma: 10, ulp: 2 },
		f16: { gamma: 3, ulp: 2 },
		bf16: { gamma: 3, ulp: 2 },
	};
	for (const [name, modules, alpha, seed] of [
		['a', MODULES, true, 'a'],
		['b', MODULES.slice(0, 6), true, 'b'],
		['no-alpha', MODULES, false, 'a'],
		['unet', MODULES.filter((m) => m.component === 'unet'), true, 'a'],
	] as const) {
		files.set(`files/${name}.safetensors`, adapterFile(seed, modules, alpha));
	}
	for (const component of ['unet', 'text_encoder']) {
		const tensors: Record<string, Plain> = { 'untouched.weight': { shape: [4], values: [1, 2, 3, 4] } };
		for (const m of MODULES) if (m.component === component) tensors[`${m.path}.weight`] = { shape: m.shape, values: base(m) };
		files.set(`files/base-${component}.safetensors`, safetensors(tensors));
	}
	const baseRef = {
		architecture: 'sd1',
		components: { unet: 'files/base-unet.safetensors', text_encoder: 'files/base-text_encoder.safetensors' },
		complete: false,
	};
	const sums = (uses: readonly Acting[], m: MiniModule): { delta: Float64Array; magnitude: number } => {
		const delta = new Float64Array(sizeOf(m.shape));
		let magnitude = 0;
		for (const { seed, modules, strength, alpha = true } of uses) {
			if (!modules.includes(m)) continue;
			const f = factors(m, seed);
			const k = strengthOf(strength, m.component) * (alpha ? m.alpha / m.rank : 1);
			for (let i = 0; i < delta.length; i++) delta[i] = (delta[i] ?? 0) + k * (f.delta[i] ?? 0);
			magnitude += Math.abs(k) * f.magnitude;
		}
		return { delta, magnitude };
	};
	const expected = (name: string, uses: readonly Acting[], withBase: boolean): { file: string; magnitude: Record<string, number> } => {
		const tensors: Record<string, Plain> = {};
		const magnitude: Record<string, number> = {};
		for (const m of MODULES) {
			if (!uses.some((u) => u.modules.includes(m))) continue;
			const sum = sums(uses, m);
			const key = withBase ? `${keyOf(m)}.weight` : keyOf(m);
			const start = withBase ? base(m) : undefined;
			tensors[key] = { shape: m.shape, values: sum.delta.map((d, i) => d + (start?.[i] ?? 0)), dtype: 'F64' };
			magnitude[key] = sum.magnitude;
		}
		files.set(`files/${name}.safetensors`, safetensors(tensors));
		return { file: `files/${name}.safetensors`, magnitude };
	};
	const add = (id: string, level: string, request: unknown, expect: unknown, more: Record<string, unknown> = {}): void => {
		cases.push({ id, title: `Mini case ${id}`, level, ...common, request, expect, ...more });
	};
	const A = 'files/a.safetensors';
	const facts = [
		['x', [2], [1, 2]],
		['y', [1, 2], [3, 4]],
	] as const;
	files.set('files/two.safetensors', safetensors(Object.fromEntries(facts.map(([n, shape, values]) => [n, { shape, values }]))));
	files.set('files/cut.safetensors', adapterFile('a', MODULES, true).subarray(0, 5000));
	add(
		'L0/mini/two',
		'L0',
		{ op: 'open', file: 'files/two.safetensors' },
		{
			tensors: Object.fromEntries(
				facts.map(([n, shape, values]) => [
					n,
					{
						dtype: 'F32',
						shape,
						sha256: createHash('sha256')
							.update(Buffer.from(Float32Array.from(values).buffer))
							.digest('hex'),
					},
				]),
			),
		},
	);
	add('hostile/mini/cut', 'L0', { op: 'open', file: 'files/cut.safetensors' }, { refuse: true, codes: ['E_TRUNCATED'] }, { hostile: true });
	const ranks = Object.fromEntries(MODULES.map((m) => [keyOf(m), m.rank]));
	add('L1/mini/kohya', 'L1', { op: 'describe', adapter: { file: A } }, { layout: 'kohya', modules: ranks, unmatched: [] });
	for (const [name, file, strength, alpha] of [
		['one', A, 1, true],
		['strength', A, 0.8, true],
		['no-alpha', 'files/no-alpha.safetensors', 1, false],
	] as const) {
		const scaling = Object.fromEntries(MODULES.map((m) => [keyOf(m), strength * (alpha ? m.alpha / m.rank : 1)]));
		add(`L2/mini/${name}`, 'L2', { op: 'scaling', adapter: { file, strength } }, { scaling }, { tolerance: scaled });
		const use = { seed: 'a', modules: MODULES, strength, alpha };
		add(`L3/mini/${name}`, 'L3', { op: 'delta', adapter: { file, strength }, base: baseRef }, expected(`l3-${name}`, [use], false), {
			tolerance,
		});
	}
	const weights = (id: string, actions: readonly unknown[], exports: unknown): void =>
		add(`L4/mini/${id}`, 'L4', { op: 'weights', base: baseRef, actions }, { exports }, { tolerance });
	const load = (name: string, file: string, strength: unknown): unknown => ({
		do: 'load',
		name,
		adapter: { file: `files/${file}.safetensors`, strength },
	});
	const out = (as: string): unknown => ({ do: 'export', as });
	const a = (strength: Acting['strength']): Acting => ({ seed: 'a', modules: MODULES, strength });
	const b = (strength: number): Acting => ({ seed: 'b', modules: MODULES.slice(0, 6), strength });
	weights('full', [load('a', 'a', 0.8), out('w')], { w: expected('full', [a(0.8)], true) });
	weights('unet', [load('a', 'unet', 0.5), out('w')], {
		w: expected('unet-w', [{ ...a(0.5), modules: MODULES.filter((m) => m.component === 'unet') }], true),
	});
	weights('zero', [load('a', 'a', 0), out('w')], { w: { same: 'base' } });
	weights('negative', [load('a', 'a', -0.5), out('w')], { w: expected('negative', [a(-0.5)], true) });
	weights('components', [load('a', 'a', { unet: 0.5, text_encoder: 0.25 }), out('w')], {
		w: expected('components', [a({ unet: 0.5, text_encoder: 0.25 })], true),
	});
	weights('unload', [load('a', 'a', 1), { do: 'unload', name: 'a' }, out('w')], { w: { same: 'base' } });
	weights('again', [load('a', 'a', 1), { do: 'strength', name: 'a', value: 0.5 }, out('w')], { w: expected('again', [a(0.5)], true) });
	weights('stack', [load('a', 'a', 0.5), load('b', 'b', 0.75), out('w')], { w: expected('stack', [a(0.5), b(0.75)], true) });
	weights('swap', [load('a', 'a', 0.5), { do: 'swap', name: 'a', adapter: { file: 'files/b.safetensors' } }, out('w')], {
		w: expected('swap', [b(0.5)], true),
	});
	weights(
		'order',
		[
			load('a', 'a', 0.5),
			load('b', 'b', 1),
			out('w'),
			{ do: 'unload', name: 'a' },
			{ do: 'unload', name: 'b' },
			load('b', 'b', 1),
			load('a', 'a', 0.5),
			out('v'),
		],
		{
			w: expected('order', [a(0.5), b(1)], true),
			v: { same: 'w' },
		},
	);
	fs.mkdirSync(path.join(dir, 'files'), { recursive: true });
	const manifest: Record<string, unknown> = {};
	for (const [name, bytes] of files) {
		fs.writeFileSync(path.join(dir, name), bytes);
		manifest[name] = {
			sha256: createHash('sha256').update(bytes).digest('hex'),
			bytes: bytes.byteLength,
			made: 'conformance/test/support/mini-suite.ts',
		};
	}
	fs.writeFileSync(path.join(dir, 'manifest.json'), JSON.stringify({ suite: '1.0.0', files: manifest }));
	fs.writeFileSync(path.join(dir, 'mini.json'), JSON.stringify(cases, null, '\t'));
}
