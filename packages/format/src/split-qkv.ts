import type { TargetModule } from './adapter.js';
import { dtypeBits } from './dtype.js';

/** Rows of the parts of a fused projection, and how many ranks each has when it was trained apart. */
export interface QkvSplit {
	/** Row counts; they add up to the rows of `up`. */
	readonly rows: readonly number[];
	readonly rankPerPart: number;
}

/**
 * The split that sd-scripts' `split_qkv` would have made of this module, when its shapes allow one: three parts for
 * a fused qkv, q, k, v and mlp for a Flux `linear1`. Source: kohya-ss/sd-scripts@48d368f networks/lora_flux.py
 * `split_dims`; LAYOUTS §2.5, sd-scripts #2204.
 */
export function possibleSplit(module: TargetModule): QkvSplit | undefined {
	const { up, down } = module.factors;
	if (module.family !== 'lora' || up === undefined || down === undefined || up.shape.length !== 2) return undefined;
	const [out = 0, rank = 0] = up.shape;
	const width = down.shape[1] ?? 0;
	if (/(^|[._])qkv$/.test(module.path)) {
		if (out % 3 !== 0 || rank % 3 !== 0 || rank === 0) return undefined;
		return { rows: [out / 3, out / 3, out / 3], rankPerPart: rank / 3 };
	}
	if (module.path.endsWith('linear1') && out > 3 * width && width > 0) {
		if (rank % 4 !== 0 || rank === 0) return undefined;
		return { rows: [width, width, width, out - 3 * width], rankPerPart: rank / 4 };
	}
	return undefined;
}

/** True when everything outside the diagonal blocks of `up` (its bytes) is zero, and no diagonal block is. */
export function isBlockDiagonal(module: TargetModule, split: QkvSplit, bytes: Uint8Array): boolean {
	const { up } = module.factors;
	if (up === undefined) return false;
	const size = dtypeBits(up.dtype) / 8;
	if (!Number.isInteger(size)) return false;
	const columns = up.shape[1] ?? 0;
	let row = 0;
	for (const [part, rows] of split.rows.entries()) {
		const from = part * split.rankPerPart * size;
		const to = from + split.rankPerPart * size;
		let diagonal = false;
		for (const end = row + rows; row < end; row++) {
			const line = bytes.subarray(row * columns * size, (row + 1) * columns * size);
			for (let i = 0; i < line.length; i++) {
				if (line[i] === 0) continue;
				// The sign of a zero is no value.
				if (line[i] === 0x80 && i % size === size - 1 && isZero(line, i - size + 1, size - 1)) continue;
				if (i < from || i >= to) return false;
				diagonal = true;
			}
		}
		if (!diagonal) return false;
	}
	return true;
}

function isZero(bytes: Uint8Array, begin: number, length: number): boolean {
	for (let i = begin; i < begin + length; i++) if (bytes[i] !== 0) return false;
	return true;
}
