import { measure } from './measure.js';
import { compareNames } from './names.js';
import { Summary } from './summary.js';
import { openTensorFile, sameShape, shapeText, valuesOf } from './tensor-file.js';
import { differs, type JudgeInput, some, type Verdict } from './verdict.js';

/** L3: the delta of every module, element by element. */
export async function judgeDelta({ expect, file, output, precision, allowance }: JudgeInput): Promise<Verdict> {
	const wanted = await openTensorFile(file(expect.file ?? ''));
	const got = await openTensorFile(output('out')).catch(async (error: unknown) => {
		await wanted.close();
		throw error;
	});
	try {
		const { missing, extra } = compareNames(wanted.tensors.keys(), got.tensors.keys());
		if (missing.length > 0)
			return differs(`${missing.length} of ${wanted.tensors.size} deltas are missing: ${some(missing)}`, missing, 'modules-dropped');
		if (extra.length > 0) return differs(`${extra.length} deltas are of modules not in the file: ${some(extra)}`, extra, 'wrong-module');
		const magnitude = new Map(Object.entries(expect.magnitude ?? {}));
		const summary = new Summary(false);
		for (const [name, tensor] of wanted.tensors) {
			const other = got.tensors.get(name);
			if (other === undefined) continue;
			if (!sameShape(other.shape, tensor.shape)) {
				return differs(
					`the delta of "${name}" has shape ${shapeText(tensor.shape)}, the subject's ${shapeText(other.shape)}`,
					[name],
					'shape-wrong',
				);
			}
			summary.add(
				measure({
					name,
					got: await valuesOf(other),
					expected: await valuesOf(tensor),
					magnitude: magnitude.get(name),
					precision,
					allowance,
				}),
			);
		}
		return summary.verdict('the delta of');
	} finally {
		await wanted.close();
		await got.close();
	}
}
