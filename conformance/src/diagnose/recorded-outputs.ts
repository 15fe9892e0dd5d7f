import { openTensorFile, valuesOf } from '../judge/tensor-file.js';
import type { Case, Expect } from '../suite/case.js';
import { CODES, type Code } from './diagnoses.js';

/** One tensor that a wrong implementation gave, beside what is right and what no adapter gives. */
export interface RecordedOutput {
	readonly code: Code;
	readonly detail: string | undefined;
	/** Name in the subject's file. */
	readonly name: string;
	/** The part that was recorded, of each of the three. */
	readonly wrong: Float64Array;
	readonly exact: Float64Array;
	readonly plain: Float64Array;
	/** The same part of a tensor of the subject; undefined when it is another tensor. */
	part(values: Float64Array): Float64Array | undefined;
}

/**
 * What `expect.faults` of a case holds: tensors `CODE[:DETAIL]/NAME`, of an output its first values, of latents the last
 * (the last step was recorded). The outputs without any adapter are among them, as `adapter-not-applied`.
 */
export async function recordedOutputs(entry: Case, expect: Expect, file: (ref: string) => string): Promise<readonly RecordedOutput[]> {
	const right = expect.outputs ?? expect.latents;
	if (right === undefined || expect.without === undefined) return [];
	const image = entry.request.op === 'image';
	const exact = await valuesIn(file(right));
	const plain = await valuesIn(file(expect.without));
	const wrong = expect.faults === undefined ? new Map<string, Float64Array>() : await valuesIn(file(expect.faults));
	const out: RecordedOutput[] = [];
	const add = (code: Code, detail: string | undefined, name: string, values: Float64Array): void => {
		const whole = exact.get(name);
		const base = plain.get(name);
		if (whole === undefined || base === undefined || values.length > whole.length) return;
		const cut = (v: Float64Array): Float64Array => (image ? v.subarray(v.length - values.length) : v.subarray(0, values.length));
		const part = (v: Float64Array): Float64Array | undefined => (v.length === whole.length ? cut(v) : undefined);
		out.push({ code, detail, name, wrong: values, exact: cut(whole), plain: cut(base), part });
	};
	if (right !== expect.without) for (const [name, values] of plain) add('adapter-not-applied', undefined, name, values);
	for (const [key, values] of wrong) {
		const [label = '', name = ''] = key.split('/');
		const [said = '', detail] = label.split(':');
		const code = CODES.find((c) => c === said);
		if (code !== undefined) add(code, detail, name, values);
	}
	return out;
}

/** Every tensor of a file. */
export async function valuesIn(path: string): Promise<ReadonlyMap<string, Float64Array>> {
	const opened = await openTensorFile(path);
	try {
		const out = new Map<string, Float64Array>();
		for (const [name, tensor] of opened.tensors) out.set(name, await valuesOf(tensor));
		return out;
	} finally {
		await opened.close();
	}
}
