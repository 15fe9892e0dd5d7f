import type { CandidateQuery, PairShape, Try } from './cloneofsimo-candidates.js';
import type { Verdict } from './cloneofsimo-unet.js';
import type { BaseModule } from './inventory.js';
import type { UnetModule, Width } from './unet-structure.js';

const D: Width = { times: 1, of: ['d'] };
const M: Width = { times: 1, of: ['mlp'] };
/** One CLIPEncoderLayer in registration order; `at` are the classes above it. */
const LAYER: readonly { readonly leaf: string; readonly out: Width; readonly in: Width; readonly at: string }[] = [
	{ leaf: 'self_attn.k_proj', out: D, in: D, at: 'CLIPAttention' },
	{ leaf: 'self_attn.v_proj', out: D, in: D, at: 'CLIPAttention' },
	{ leaf: 'self_attn.q_proj', out: D, in: D, at: 'CLIPAttention' },
	{ leaf: 'self_attn.out_proj', out: D, in: D, at: 'CLIPAttention' },
	{ leaf: 'mlp.fc1', out: M, in: D, at: 'CLIPMLP' },
	{ leaf: 'mlp.fc2', out: D, in: M, at: 'CLIPMLP' },
];
const TARGET_SETS: readonly (readonly string[])[] = [['CLIPAttention'], ['CLIPAttention', 'CLIPMLP']];

/**
 * Text encoder lists: per layer k, v, q, out (transformers' registration order, not q, k, v), and the MLP when it is
 * a target. All attention weights are square, so that shapes show the width but could not show a wrong order.
 */
export function* textEncoderTries(pairs: readonly PairShape[], query: CandidateQuery): Generator<Try> {
	const sets = query.targets === undefined || query.targets.length === 0 ? TARGET_SETS : [query.targets];
	const base = query.base?.components.get(query.component);
	for (const targets of sets) {
		const leaves = LAYER.filter(({ at }) => targets.includes(at) || targets.includes('CLIPEncoderLayer'));
		if (leaves.length === 0) continue;
		const layers = base === undefined ? Math.ceil(pairs.length / leaves.length) : layerCount(base);
		const name = base === undefined ? `a CLIP text encoder of ${layers} layers` : `the ${query.component} of ${query.base?.name}`;
		yield {
			label: `${name} with targets ${targets.join(', ')}`,
			order: query.order ?? 'new',
			targets,
			widths: base === undefined ? new Map() : widthsOf(base),
			*modules() {
				for (let n = 0; n < layers; n += 1) for (const leaf of leaves) yield moduleOf(n, leaf);
			},
			verdict: (widths) => {
				// An MLP is wider than its input: square ones are attention read with the wrong target set.
				if (query.targets === undefined && widths.get('mlp') === widths.get('d')) return undefined;
				return textVerdict(widths, layers, base === undefined ? undefined : query.base?.family);
			},
		};
	}
}

function moduleOf(layer: number, { leaf, out, in: inn, at }: (typeof LAYER)[number]): UnetModule {
	const path = `text_model.encoder.layers.${layer}.${leaf}`;
	return { path, kind: 'linear', out, in: inn, kernel: 0, classes: [at], onlyIfChanged: false };
}

function layerCount(modules: readonly BaseModule[]): number {
	return modules.filter((m) => m.path.endsWith('.self_attn.q_proj')).length;
}

function widthsOf(modules: readonly BaseModule[]): ReadonlyMap<string, number> {
	const widths = new Map<string, number>();
	for (const { path, shape } of modules) {
		const [out] = shape;
		if (out !== undefined && path.endsWith('.self_attn.q_proj')) widths.set('d', out);
		if (out !== undefined && path.endsWith('.mlp.fc1')) widths.set('mlp', out);
	}
	return widths;
}

function textVerdict(widths: ReadonlyMap<string, number>, layers: number, baseFamily: string | undefined): Verdict {
	const d = widths.get('d') ?? 0;
	const evidence = [`${layers} layers of width ${d}.`];
	if (baseFamily !== undefined) return { family: baseFamily, confidence: 1, evidence };
	if (d === 768 && layers === 12)
		return { family: 'sd1', confidence: 0.9, evidence: [...evidence, 'CLIP ViT-L: SD1, or the first encoder of SDXL.'] };
	if (d === 1024 && layers >= 23 && layers <= 24)
		return { family: 'sd2', confidence: 0.9, evidence: [...evidence, 'OpenCLIP ViT-H: SD2.'] };
	if (d === 1280 && layers >= 31 && layers <= 32)
		return { family: 'sdxl', confidence: 0.9, evidence: [...evidence, 'OpenCLIP ViT-bigG: the second encoder of SDXL.'] };
	return { family: 'sd1or2', confidence: 0.6, evidence: [...evidence, 'A CLIP text encoder of unusual size.'] };
}
