import type { Role, TargetModule } from '../../adapter.js';
import type { BaseModel } from '../../bases/base-model.js';
import type { StoredPart } from '../../bases/stored-part.js';
import { allocate, product } from '../../families/matrix.js';
import type { LowRank } from '../../linalg/low-rank.js';
import type { MatchedModule } from '../fuse/match-adapters.js';
import type { FuseJob } from '../fuse/plan-fuse-touched.js';
import { isProduct } from '../product/delta-product.js';
import { productShape } from '../product/delta-product-shape.js';
import { lowRankOf } from '../product/low-rank-of.js';
import { finite, partValues } from './part-values.js';
import { doraScale, ia3Scale, normShare, readDora, type ScaledDelta } from './scale-of-base.js';
import { moduleMemo, type TermMemo } from './term-memo.js';
import type { LowRankTerms, ModuleTerms } from './terms-types.js';

/** All adapters' modules that are one module of the base. */
export interface TermGroup {
	readonly component: string;
	readonly path: string;
	readonly leaf: ModuleTerms['leaf'];
	readonly matched: readonly MatchedModule[];
}

/** What belongs to the bias or stands outside the product; the rest of the factors is the product. */
const OUTSIDE: readonly Role[] = ['magnitude', 'up_bias', 'diff_b'];

/** A module's share of the weight: `gain * unit`, with the scales of a DoRA or an IA3 where there are some. */
interface Share {
	readonly matched: MatchedModule;
	readonly unit: LowRank | undefined;
	readonly scale: ScaledDelta | undefined;
}

/** The terms of one module. @param denseFrom `TermOptions.denseFrom` */
export async function moduleTerms(base: BaseModel, group: TermGroup, memo: TermMemo, denseFrom: number): Promise<ModuleTerms> {
	const { component, path, leaf, matched } = group;
	const where = `${component} ${path}`;
	const parts = matched[0]?.job.stored.parts;
	const part = parts?.get(leaf);
	const ofWeight = matched.filter((m) => m.leaves.includes(leaf));
	const ofBias = matched.filter((m) => m.leaves.includes('bias'));
	const biasPart = parts?.get('bias');
	const bias =
		biasPart === undefined || ofBias.length === 0 ? undefined : finite(where, await partValues(base, ofBias, 'bias', biasPart, 'delta'));
	const terms: ModuleTerms = {
		component,
		path,
		leaf,
		shape: part?.shape ?? [],
		uses: [...new Set(matched.map((m) => m.use))],
		lowRank: undefined,
		rowScale: undefined,
		columnScale: undefined,
		bias,
		dense: undefined,
	};
	if (part === undefined || ofWeight.length === 0) return terms;
	const dense = (): Promise<Float64Array> => partValues(base, ofWeight, leaf, part, 'weight');
	if (!ofWeight.every(({ job }) => isCheap(job, part, denseFrom))) return { ...terms, dense };
	const shares: Share[] = [];
	for (const m of ofWeight) shares.push(await shareOf(m, part, memo));
	const axes = new Set(shares.map((s) => s.scale?.axis).filter((a) => a !== undefined));
	// (r_i + c_j) W is no product of a row's and a column's number.
	if (axes.size > 1) return { ...terms, dense };
	const scale = baseScale(where, shares);
	return {
		...terms,
		lowRank: lowRank(where, shares, part),
		rowScale: axes.has('out') ? scale : undefined,
		columnScale: axes.has('in') ? scale : undefined,
	};
}

/** True when the module is a scale of the base, a low rank, or both; decided by shapes alone. */
function isCheap({ module, settings }: FuseJob, part: StoredPart, denseFrom: number): boolean {
	// A base that holds (in, out) itself: rows and columns would change places.
	if (settings.fanIn && part.shape.length === 2) return false;
	if (module.family === 'ia3' || module.family === 'peft-ia3') return true;
	const bare = productOnly(module);
	if (!isProduct(bare)) return false;
	const found = productShape(bare);
	if (found === undefined) return false;
	return (module.family !== 'loha' && module.family !== 'lokr') || found.rank < denseFrom * found.shorter;
}

function productOnly(module: TargetModule): TargetModule {
	if (!OUTSIDE.some((role) => module.factors[role] !== undefined)) return module;
	const factors = Object.fromEntries(Object.entries(module.factors).filter(([role]) => !OUTSIDE.includes(role as Role)));
	return { ...module, factors };
}

async function shareOf(matched: MatchedModule, part: StoredPart, memo: TermMemo): Promise<Share> {
	const { job } = matched;
	const { module, strength } = job;
	const known = moduleMemo(memo, module);
	if (module.family === 'ia3' || module.family === 'peft-ia3') {
		known.scale ??= await ia3Scale(job, part);
		const { axis, values } = known.scale;
		return { matched, unit: undefined, scale: { axis, base: values.map((x) => x * strength), product: new Float64Array(0) } };
	}
	known.unit ??= await lowRankOf(productOnly(module));
	if (known.unit === undefined) throw new TypeError(`${module.path}: no product`);
	const { unit } = known;
	if (module.factors.magnitude === undefined) return { matched, unit, scale: undefined };
	const share = normShare(job);
	if (known.dora?.share !== share) known.dora = await readDora(job, part, unit, share);
	return { matched, unit, scale: doraScale(job, known.dora) };
}

/** 1 + the sum of what the modules add: every delta is one of the original base. */
function baseScale(where: string, shares: readonly Share[]): Float64Array | undefined {
	let sum: Float64Array | undefined;
	for (const { scale } of shares) {
		if (scale === undefined) continue;
		const before = sum;
		sum = scale.base.map((x, g) => (before?.[g] ?? 0) + x);
	}
	return sum === undefined
		? undefined
		: finite(
				where,
				sum.map((x) => 1 + x),
			);
}

function lowRank(where: string, shares: readonly Share[], part: StoredPart): LowRankTerms | undefined {
	const all = shares.flatMap(({ matched, unit, scale }) => (unit === undefined ? [] : [{ matched, unit, scale }]));
	const [first] = all;
	if (first === undefined) return undefined;
	const rows = first.unit.up.rows;
	const columns = first.unit.down.cols;
	const rank = all.reduce((sum, s) => sum + s.unit.up.cols, 0);
	const parts = all.map(({ matched, unit }) => ({ use: matched.use, rank: unit.up.cols, strength: matched.job.strength }));
	// One LoRA at strength 1 is what is remembered of it already.
	if (all.length === 1 && first.scale === undefined && first.matched.job.strength === 1) {
		return { rank, up: finite(where, first.unit.up.data), down: first.unit.down.data, parts };
	}
	const up = allocate(where, rows * rank);
	// By rows `down` is as it was.
	const shared = all.length === 1 && first.scale?.axis !== 'in' ? first.unit.down.data : undefined;
	const down = shared ?? allocate(where, rank * columns);
	const taps = product(part.shape.slice(2));
	let at = 0;
	for (const { matched, unit, scale } of all) {
		const own = unit.up.cols;
		const { strength } = matched.job;
		for (let i = 0; i < rows; i++) {
			const gain = scale === undefined ? strength : scale.axis === 'out' ? (scale.product[i] ?? 0) : 1;
			for (let k = 0; k < own; k++) up[i * rank + at + k] = (unit.up.data[i * own + k] ?? 0) * gain;
		}
		if (shared === undefined) {
			down.set(unit.down.data, at * columns);
			if (scale?.axis === 'in') scaleColumns(down.subarray(at * columns, (at + own) * columns), scale.product, columns, taps);
		}
		at += own;
	}
	return { rank, up: finite(where, up), down: finite(where, down), parts };
}

function scaleColumns(rows: Float64Array, by: Float64Array, columns: number, taps: number): void {
	for (let i = 0; i < rows.length; i++) rows[i] = (rows[i] ?? 0) * (by[Math.floor((i % columns) / taps)] ?? 0);
}
