import { compareNames } from './names.js';
import { sameShape, shapeText } from './tensor-file.js';
import { differs, type JudgeInput, PASSED, some, type Verdict } from './verdict.js';

/** L0: every tensor of the file, its dtype, shape and bytes. */
export function judgeOpen({ expect, answer }: JudgeInput): Verdict {
	const wanted = new Map(Object.entries(expect.tensors ?? {}));
	if (answer.tensors === undefined) return differs('the answer has no "tensors"', [], 'no-answer');
	const { missing, extra } = compareNames(wanted.keys(), answer.tensors.keys());
	if (missing.length > 0)
		return differs(`${missing.length} of ${wanted.size} tensors are missing: ${some(missing)}`, missing, 'tensors-missing');
	if (extra.length > 0) return differs(`${extra.length} tensors are not in the file: ${some(extra)}`, extra, 'tensors-invented');
	for (const [name, facts] of wanted) {
		const got = answer.tensors.get(name);
		if (got === undefined) continue;
		if (got.dtype !== facts.dtype) return differs(`"${name}" is ${facts.dtype}, the subject says ${got.dtype}`, [name], 'tensor-bytes');
		if (!sameShape(got.shape, facts.shape)) {
			return differs(`"${name}" has shape ${shapeText(facts.shape)}, the subject says ${shapeText(got.shape)}`, [name], 'tensor-bytes');
		}
		if (got.sha256 !== facts.sha256) return differs(`the bytes of "${name}" are other ones`, [name], 'tensor-bytes');
	}
	return PASSED;
}
