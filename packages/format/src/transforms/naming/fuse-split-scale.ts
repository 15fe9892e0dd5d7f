import { castErrorBound } from '../../cast.js';
import { FormatError } from '../../errors.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../half.js';
import { computedTensor, type Tensor } from '../../tensor.js';

const WRITABLE: ReadonlySet<string> = new Set<WritableFloat>(['F64', 'F32', 'F16', 'BF16']);

/**
 * A factor times a number, rounded to nearest even in its own dtype.
 * @throws {FormatError} `E_LORA_DTYPE` for a dtype without arithmetic; on reading `E_NONFINITE` when a value leaves the dtype's range.
 */
export function scaledTensor(tensor: Tensor, factor: number): Tensor {
	if (factor === 1) return tensor;
	const { dtype } = tensor;
	if (!isWritable(dtype)) {
		throw new FormatError(
			'E_LORA_DTYPE',
			`A scaling of ${factor} would have to be folded into a ${dtype} factor; cast the file to F16, BF16 or F32 first.`,
			{
				at: tensor.origin,
			},
		);
	}
	const powerOfTwo = Number.isInteger(Math.log2(Math.abs(factor)));
	// One rounding to this type loses what casting a double to it loses.
	const errorBound = powerOfTwo ? 0 : dtype === 'F64' ? 2 ** -53 : castErrorBound('F64', dtype);
	return computedTensor(dtype, tensor.shape, { from: [tensor], how: `scaling ${factor} folded in`, errorBound }, async () => {
		const values = decodeFloats(dtype, await tensor.read());
		const scaled = encodeFloats(
			dtype,
			values.map((v) => v * factor),
		);
		const written = decodeFloats(dtype, scaled);
		const lost = values.findIndex((v, i) => Number.isFinite(v) && !Number.isFinite(written[i] ?? 0));
		if (lost < 0) return scaled;
		throw new FormatError(
			'E_NONFINITE',
			`Folding the scaling ${factor} into a ${dtype} factor makes ${values[lost]} too large for it; cast the file to F32 first.`,
			{
				at: tensor.origin,
			},
		);
	});
}

function isWritable(dtype: string): dtype is WritableFloat {
	return WRITABLE.has(dtype);
}
