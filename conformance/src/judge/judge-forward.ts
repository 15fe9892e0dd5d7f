import { measure } from './measure.js';
import { Summary } from './summary.js';
import { openTensorFile, sameShape, shapeText, valuesOf } from './tensor-file.js';
import { differs, type JudgeInput, some, type Verdict } from './verdict.js';

/** L5: outputs from given inputs; gain and cosine are of the difference that the adapter makes. */
export async function judgeForward({ expect, file, output, precision, allowance }: JudgeInput): Promise<Verdict> {
	const wanted = await openTensorFile(file(expect.outputs ?? ''));
	const without = await openTensorFile(file(expect.without ?? ''));
	try {
		const got = await openTensorFile(output('out'));
		try {
			const summary = new Summary(false);
			const missing = [...wanted.tensors.keys()].filter((name) => !got.tensors.has(name));
			if (missing.length > 0) return differs(`the file lacks ${some(missing)}`, missing, 'no-answer');
			for (const [name, tensor] of wanted.tensors) {
				const other = got.tensors.get(name);
				if (other === undefined) continue;
				if (!sameShape(other.shape, tensor.shape)) {
					return differs(`"${name}" has shape ${shapeText(tensor.shape)}, the subject's ${shapeText(other.shape)}`, [name], 'shape-wrong');
				}
				const base = without.tensors.get(name);
				const start = base === undefined ? undefined : await valuesOf(base);
				summary.add(measure({ name, got: await valuesOf(other), expected: await valuesOf(tensor), start, precision, allowance }));
			}
			return summary.verdict('the output');
		} finally {
			await got.close();
		}
	} finally {
		await wanted.close();
		await without.close();
	}
}
