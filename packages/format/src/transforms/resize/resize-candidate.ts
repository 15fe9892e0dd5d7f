import type { Adapter, Role, TargetModule } from '../../adapter.js';
import type { WritableFloat } from '../../half.js';
import { bytesTensor, computedTensor, type Tensor } from '../../tensor.js';
import { type ProductShape, productShape, weightShape } from '../product/delta-product-shape.js';
import { finiteScaling } from '../product/low-rank-of.js';
import type { RankRule } from './choose-rank.js';
import { loraShapes } from './expand-adapter.js';
import { scalingAtRank, storedDtype } from './resize-alpha.js';
import type { ResizeJob } from './resize-job.js';
import type { ResizeOptions } from './resize-types.js';

/** A module that can be resized. */
export interface Candidate {
	readonly at: number;
	readonly module: TargetModule;
	readonly product: ProductShape;
	readonly shape: readonly number[];
	readonly dtype: WritableFloat;
	readonly cap: number;
	readonly rule: RankRule;
}

/** The modules whose rank can change, and by which rule. @throws {FormatError} `E_LORA_ALPHA`. */
export function findCandidates(adapter: Adapter, options: ResizeOptions): Candidate[] {
	const out: Candidate[] = [];
	adapter.modules.forEach((module, at) => {
		const product = productShape(module);
		if (product === undefined) return;
		finiteScaling(module);
		const shape = weightShape(module, product.shape, options.base);
		const conv = shape.slice(2).some((d) => d !== 1);
		const own = conv ? (options.convRank ?? options.maxRank) : options.maxRank;
		const most = Math.min(product.rank, product.shorter);
		const cap = Math.min(most, own ?? most);
		const rule: RankRule = options.rule.kind === 'size' ? { kind: 'rank', rank: cap } : options.rule;
		const fixed =
			rule.kind === 'rank'
				? { kind: 'rank' as const, rank: Math.min(cap, conv && options.convRank !== undefined ? options.convRank : rule.rank) }
				: rule;
		// Low enough already: its own bits are the best that can be stored.
		if (options.rule.kind === 'rank' && fixed.kind === 'rank' && fixed.rank >= product.rank) return;
		out.push({ at, module, product, shape, dtype: options.dtype ?? storedDtype(module), cap, rule: fixed });
	});
	return out;
}

/** Read a module's factors into a job. */
export async function jobOf(candidate: Candidate, rule: ResizeJob['rule']): Promise<ResizeJob> {
	const { module, product, cap, dtype } = candidate;
	const factors: [Role, Tensor['dtype'], readonly number[], Uint8Array][] = [];
	for (const [role, tensor] of Object.entries(module.factors) as [Role, Tensor][]) {
		factors.push([role, tensor.dtype, tensor.shape, await tensor.read()]);
	}
	const gains = new Map<number, number>();
	for (let rank = 1; rank <= cap; rank++) {
		const { gain } = scalingAtRank(module, rank);
		if (gain !== 1) gains.set(rank, gain);
	}
	const where = `${module.component} ${module.path}`;
	return { where, family: module.family, factors, dtype, rule, bounds: { shorter: product.shorter, cap }, gains };
}

/** The module as a LoRA with these factors; without bytes a stand-in that has the right shapes and cannot be read. */
export function withFactors(candidate: Candidate, rank: number, up?: Uint8Array, down?: Uint8Array): TargetModule {
	const { module, shape, dtype, product } = candidate;
	const { gain: _gain, ...scaling } = scalingAtRank(module, rank);
	const from = Object.values(module.factors).filter((t): t is Tensor => t !== undefined);
	const derivation = { from, how: `rank ${product.rank} lowered to ${rank}`, errorBound: undefined };
	const tensor = (dims: readonly number[], bytes: Uint8Array | undefined): Tensor =>
		bytes === undefined
			? computedTensor(dtype, dims, derivation, () => Promise.reject(new TypeError('a stand-in has no bytes')))
			: bytesTensor(dtype, dims, bytes, undefined, derivation);
	if (module.family === 'embedding') {
		// The stored factors are those of the transpose: rows of the delta are tokens.
		const [vocab = 1, dim = 1] = shape;
		const size = dtype === 'F64' ? 8 : dtype === 'F32' ? 4 : 2;
		const factors = {
			embedding_down: tensor([rank, vocab], up && transposeBytes(up, vocab, rank, size)),
			embedding_up: tensor([dim, rank], down && transposeBytes(down, rank, dim, size)),
		};
		return { ...module, ...scaling, factors };
	}
	const [upShape, downShape] = loraShapes(shape, rank);
	return { ...module, ...scaling, family: 'lora', factors: { up: tensor(upShape, up), down: tensor(downShape, down) } };
}

function transposeBytes(bytes: Uint8Array, rows: number, cols: number, size: number): Uint8Array {
	const out = new Uint8Array(bytes.byteLength);
	for (let i = 0; i < rows; i++) {
		for (let j = 0; j < cols; j++) out.set(bytes.subarray((i * cols + j) * size, (i * cols + j + 1) * size), (j * rows + i) * size);
	}
	return out;
}

/** True when factors of this rank are those that the module has. */
export function keepsAll({ module, product }: Candidate, rank: number): boolean {
	return rank >= product.rank && (module.family === 'embedding' || (module.family === 'lora' && module.factors.mid === undefined));
}

/** Bytes of factors that one more rank costs. */
export function bytesPerRank({ shape, dtype }: Candidate): number {
	const [out = 1, ...rest] = shape;
	const columns = rest.reduce((n, d) => n * d, 1);
	return (out + columns) * (dtype === 'F64' ? 8 : dtype === 'F32' ? 4 : 2);
}
