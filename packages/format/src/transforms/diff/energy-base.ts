import type { TargetModule } from '../../adapter.js';
import { indexBase } from '../../bases/base-index.js';
import type { BaseModel } from '../../bases/base-model.js';
import { findModules, moduleKey } from '../../bases/find-modules.js';
import { type StoredModule, type StoredPart, segmentName } from '../../bases/stored-part.js';
import { dtypeBits } from '../../dtype.js';
import { FormatError, quote } from '../../errors.js';
import type { BaseWeight } from '../../families/delta.js';
import { allocate, transpose } from '../../families/matrix.js';
import { decodeFloats } from '../../half.js';

/** Gives the base's weight and bias of a module; undefined where the base lacks it. */
export type BaseReader = (module: TargetModule) => Promise<BaseWeight | undefined>;

/** Weights of the modules that an adapter names, read one at a time. @throws {FormatError} `E_AMBIGUOUS`. */
export function baseReader(base: BaseModel, modules: readonly TargetModule[]): BaseReader {
	const { found } = findModules(base, modules);
	return async (module) => {
		const stored = found.get(moduleKey(module));
		const weight = stored?.parts.get('weight');
		if (stored === undefined || weight === undefined) return undefined;
		const bias = stored.parts.get('bias');
		return {
			weight: await readStoredPart(weight),
			shape: weight.shape,
			bias: bias === undefined ? undefined : await readStoredPart(bias),
		};
	};
}

/** A module of a base by its name. */
export function storedModule(base: BaseModel, component: string, path: string): StoredModule | undefined {
	return indexBase(base).find(component, path);
}

/**
 * The values of a module's weight or bias, in the module's own order (out, in, ...).
 * @throws {FormatError} `E_UNSUPPORTED_DTYPE` (quantised weights), `E_LIMIT`, and those of reading.
 */
export async function readStoredPart(part: StoredPart): Promise<Float64Array> {
	const [first] = part.segments;
	const where = first === undefined ? 'a base tensor' : segmentName(first);
	const size = part.shape.reduce((n, d) => n * d, 1);
	const out = allocate(where, size);
	const rows = part.shape[0] ?? 1;
	const rowSize = rows === 0 ? 0 : size / rows;
	for (const segment of part.segments) {
		const { tensor } = segment;
		const bits = dtypeBits(tensor.dtype);
		if (bits % 8 !== 0)
			throw new FormatError('E_UNSUPPORTED_DTYPE', `${quote(where)} has dtype ${tensor.dtype}, which cannot be computed with.`, {
				at: where,
			});
		const stride = (rowSize * bits) / 8;
		const bytes = part.transposed || tensor.range === undefined ? await tensor.read() : undefined;
		if (part.transposed && bytes !== undefined) {
			return transpose(where, { rows: rowSize, cols: rows, data: decodeFloats(tensor.dtype, bytes) }).data;
		}
		const start = segment.tensorRow * stride;
		const piece =
			bytes !== undefined || tensor.range === undefined
				? (bytes ?? new Uint8Array()).subarray(start, start + segment.rows * stride)
				: await tensor.range.source.read(tensor.range.offset + start, segment.rows * stride);
		out.set(decodeFloats(tensor.dtype, piece), segment.moduleRow * rowSize);
	}
	return out;
}
