import type { TargetModule } from '../adapter.js';
import type { Json } from '../metadata/python-json.js';

/**
 * PEFT rebuilds the shapes of a LoKr adapter from r, decompose_factor, decompose_both and use_effective_conv2d
 * (huggingface/peft@5d602fd src/peft/tuners/lokr/layer.py). This finds values that give the shapes at hand.
 */
export interface LokrFit {
	readonly fields: ReadonlyMap<string, Json>;
	/** Modules whose shapes no such configuration makes. */
	readonly misfits: readonly TargetModule[];
}

interface Dims {
	readonly a: number;
	readonly b: number;
	readonly c: number;
	/** Columns of the second factor; of a flattened convolution, times the kernel. */
	readonly d: number;
	readonly flattened: boolean;
}

/** @param rankOf the r that the configuration will give the module. */
export function fitLokr(modules: readonly TargetModule[], rankOf: (module: TargetModule) => number): LokrFit {
	const both = modules.some((m) => m.factors.lokr_w1_a !== undefined);
	const effective = modules.some((m) => m.factors.lokr_t2 !== undefined);
	const dims = modules.map((m) => [m, dimsOf(m)] as const);
	let best: { readonly factor: number; readonly misfits: readonly TargetModule[] } | undefined;
	for (const factor of factors(dims.map(([, d]) => d))) {
		const misfits = dims.filter(([m, d]) => !makes(m, d, factor, both, rankOf(m))).map(([m]) => m);
		if (best === undefined || misfits.length < best.misfits.length) best = { factor, misfits };
		if (misfits.length === 0) break;
	}
	return {
		fields: new Map<string, Json>([
			['decompose_both', both],
			['decompose_factor', best?.factor ?? -1],
			['use_effective_conv2d', effective],
		]),
		misfits: best?.misfits ?? [],
	};
}

/** What PEFT takes by itself (-1), then what the first factors show. */
function factors(dims: readonly Dims[]): readonly number[] {
	const seen = new Set<number>([-1]);
	for (const { a, c } of dims) seen.add(Math.max(a, c)).add(Math.min(a, c));
	return [...seen].slice(0, 64);
}

function dimsOf({ factors: f }: TargetModule): Dims {
	const a = f.lokr_w1?.shape[0] ?? f.lokr_w1_a?.shape[0] ?? 0;
	const c = f.lokr_w1?.shape[1] ?? f.lokr_w1_b?.shape[1] ?? 0;
	if (f.lokr_w2 !== undefined) return { a, c, b: f.lokr_w2.shape[0] ?? 0, d: f.lokr_w2.shape[1] ?? 0, flattened: false };
	const tucker = f.lokr_t2 !== undefined;
	return { a, c, b: f.lokr_w2_a?.shape[tucker ? 1 : 0] ?? 0, d: f.lokr_w2_b?.shape[1] ?? 0, flattened: !tucker };
}

function makes(m: TargetModule, { a, b, c, d, flattened }: Dims, factor: number, both: boolean, rank: number): boolean {
	// A flattened second factor may be that of a linear layer or of a 3x3 convolution.
	const widths = flattened && d % 9 === 0 ? [d, d / 9] : [d];
	return widths.some((width) => {
		if (!same(factorize(a * b, factor), a, b) || !same(factorize(c * width, factor), c, width)) return false;
		const w1Full = !(both && rank < Math.max(a, c) / 2);
		const w2Full = rank >= Math.max(b, width) / 2;
		return w1Full === (m.factors.lokr_w1 !== undefined) && w2Full === (m.factors.lokr_w2 !== undefined);
	});
}

function same([m, n]: readonly [number, number], x: number, y: number): boolean {
	return m === x && n === y;
}

/** The split of a dimension that PEFT and LyCORIS make for a factor: the factor itself where it divides, else the nearest below. */
export function factorize(dimension: number, factor: number): readonly [number, number] {
	if (factor > 0 && dimension % factor === 0) return [factor, dimension / factor];
	const most = factor === -1 ? dimension : factor;
	let m = 1;
	let n = dimension;
	let length = m + n;
	for (let next = 2; next <= most && next < dimension && m < n; next++) {
		if (dimension % next !== 0) continue;
		const other = dimension / next;
		if (next + other > length) break;
		m = next;
		n = other;
		length = m + n;
	}
	return m > n ? [n, m] : [m, n];
}
