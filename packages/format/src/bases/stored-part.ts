import type { Tensor } from '../tensor.js';
import type { BaseTensorFile } from './base-model.js';
import type { TensorLeaf } from './place-base-tensor.js';

/** A run of a module's rows in a stored tensor. Rows are along the first axis of both. */
export interface Segment {
	readonly file: BaseTensorFile;
	readonly name: string;
	readonly tensor: Tensor;
	/** First row in the stored tensor. */
	readonly tensorRow: number;
	/** First row in the module's weight (or bias). */
	readonly moduleRow: number;
	readonly rows: number;
}

/** Where a module's weight or bias is stored. */
export interface StoredPart {
	/** As the module has it: (out, in, ...); (n) for a bias. */
	readonly shape: readonly number[];
	/** In the order of the module's rows; together they are all of them. One where `transposed`. */
	readonly segments: readonly Segment[];
	/** True when the file holds (in, out). */
	readonly transposed: boolean;
}

/** A module's tensors in the base. */
export interface StoredModule {
	readonly component: string;
	readonly path: string;
	readonly parts: ReadonlyMap<TensorLeaf, StoredPart>;
}

/** `FILE:NAME`, for messages and ledgers. */
export function segmentName({ file, name }: Pick<Segment, 'file' | 'name'>): string {
	return `${file.path}:${name}`;
}

/** Rows [from, to) of a part, as a part of their own. */
export function rowsOfPart(part: StoredPart, from: number, to: number): StoredPart {
	const segments: Segment[] = [];
	for (const s of part.segments) {
		const start = Math.max(from, s.moduleRow);
		const end = Math.min(to, s.moduleRow + s.rows);
		if (start >= end) continue;
		segments.push({ ...s, tensorRow: s.tensorRow + start - s.moduleRow, moduleRow: start - from, rows: end - start });
	}
	return { shape: [to - from, ...part.shape.slice(1)], segments, transposed: false };
}

/** Parts one below the other. All have the same shape behind the first axis. */
export function stackParts(parts: readonly StoredPart[]): StoredPart {
	const segments: Segment[] = [];
	let rows = 0;
	for (const part of parts) {
		for (const s of part.segments) segments.push({ ...s, moduleRow: s.moduleRow + rows });
		rows += part.shape[0] ?? 0;
	}
	return { shape: [rows, ...(parts[0]?.shape.slice(1) ?? [])], segments, transposed: false };
}
