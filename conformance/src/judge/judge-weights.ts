import type { Tensor } from '@lorakit/format';
import type { ExpectedExport, WeightsRequest } from '../suite/case.js';
import { type BaseWeights, heldValues, isFloat, openBaseWeights } from './base-weights.js';
import { measure } from './measure.js';
import { compareNames } from './names.js';
import { Summary } from './summary.js';
import { openTensorFile, sameShape, shapeText, type TensorFile, valuesOf } from './tensor-file.js';
import { differs, type JudgeInput, some, type Verdict } from './verdict.js';

/** L4: the weights after a script of actions: touched ones within the allowance, all others bit for bit. */
export async function judgeWeights(input: JudgeInput): Promise<Verdict> {
	const { case: entry, expect, file } = input;
	const base = await openBaseWeights((entry.request as WeightsRequest).base, file);
	try {
		const summary = new Summary(true);
		for (const [name, expected] of Object.entries(expect.exports ?? {})) {
			const got = await openTensorFile(input.output(name)).catch((error: unknown) => {
				throw new Error(`export "${name}": ${error instanceof Error ? error.message : String(error)}`);
			});
			try {
				const wrong = await judgeExport(input, { name, expected, got, base, summary });
				if (wrong !== undefined) return { ...wrong, measure: summary.measure() };
			} finally {
				await got.close();
			}
		}
		return summary.verdict('the weight');
	} finally {
		await base.close();
	}
}

interface Export {
	readonly name: string;
	readonly expected: ExpectedExport;
	readonly got: TensorFile;
	readonly base: BaseWeights;
	readonly summary: Summary;
}

async function judgeExport(input: JudgeInput, { name, expected, got, base, summary }: Export): Promise<Verdict | undefined> {
	const { precision, allowance } = input;
	const { missing, extra } = compareNames(base.tensors.keys(), got.tensors.keys());
	if (missing.length > 0)
		return differs(`export "${name}" lacks ${missing.length} weights of the base: ${some(missing)}`, missing, 'weights-missing');
	if (extra.length > 0) return differs(`export "${name}" has weights that the base has not: ${some(extra)}`, extra, 'weights-missing');
	for (const [key, tensor] of base.tensors) {
		const other = got.tensors.get(key);
		if (other !== undefined && !sameShape(other.shape, tensor.shape)) {
			return differs(`"${key}" has shape ${shapeText(tensor.shape)}, in the export ${shapeText(other.shape)}`, [key], 'shape-wrong');
		}
	}
	if ('same' in expected) {
		const other = expected.same === 'base' ? undefined : await openTensorFile(input.output(expected.same));
		try {
			const changed: string[] = [];
			for (const [key, tensor] of other?.tensors ?? base.tensors) {
				if (!(await identical(input, tensor, got.tensors.get(key), other === undefined))) changed.push(key);
			}
			if (changed.length === 0) return undefined;
			const what = expected.same === 'base' ? 'the base' : `export "${expected.same}"`;
			return differs(
				`export "${name}" must be ${what}, bit for bit; ${changed.length} weights differ: ${some(changed, 2)}`,
				changed,
				'not-restored',
			);
		} finally {
			await other?.close();
		}
	}
	const wanted = await openTensorFile(input.file(expected.file));
	try {
		const magnitude = new Map(Object.entries(expected.magnitude ?? {}));
		const changed: string[] = [];
		for (const [key, tensor] of base.tensors) {
			const exact = wanted.tensors.get(key);
			const other = got.tensors.get(key);
			if (exact === undefined || other === undefined) {
				if (!(await identical(input, tensor, other, true))) changed.push(key);
				continue;
			}
			if (!isFloat(other.dtype)) return differs(`"${key}" is ${other.dtype} in the export, no float type`, [key], 'shape-wrong');
			const stored = await valuesOf(tensor);
			const start = await heldValues(tensor, precision);
			const target = await valuesOf(exact);
			// The exact delta on top of what a subject of this precision holds.
			const target2 = start === stored ? target : target.map((t, i) => (start[i] ?? 0) + (t - (stored[i] ?? 0)));
			summary.add(
				measure({ name: key, got: await valuesOf(other), expected: target2, start, magnitude: magnitude.get(key), precision, allowance }),
			);
		}
		if (changed.length > 0 && !summary.failed) {
			return differs(
				`export "${name}": ${changed.length} weights changed that no adapter touches: ${some(changed, 2)}`,
				changed,
				'untouched-changed',
			);
		}
		return undefined;
	} finally {
		await wanted.close();
	}
}

/** Same values, in whatever float dtype; a base is first cast to the subject's precision. NaN equals NaN. */
async function identical({ precision }: JudgeInput, tensor: Tensor, other: Tensor | undefined, held: boolean): Promise<boolean> {
	if (other === undefined) return false;
	const bytes = await tensor.read();
	const others = await other.read();
	if (tensor.dtype === other.dtype && Buffer.compare(bytes, others) === 0) return true;
	if (!isFloat(tensor.dtype) || !isFloat(other.dtype)) return false;
	const values = held ? await heldValues(tensor, precision) : await valuesOf(tensor);
	const got = await valuesOf(other);
	return values.every((x, i) => Object.is(x, got[i]));
}
