import { openTensorFile, valuesOf } from '../judge/tensor-file.js';
import type { JudgeInput } from '../judge/verdict.js';
import type { ForwardRequest } from '../suite/case.js';
import type { Finding } from './diagnose-case.js';
import { unique } from './diagnose-scaling.js';
import type { Code } from './diagnoses.js';
import { predict, type ReadUse } from './fit.js';
import { hypothesesFor } from './hypotheses.js';
import { readAdapterFacts, weightLookup } from './module-facts.js';

/** A prediction is met when it is this near, relative to the larger of the two. */
const MET = { f32: 1e-4, f16: 1e-2, bf16: 8e-2 } as const;

/**
 * L5, one linear module: what a formula adds to the weight adds x D^T to the output, so that single formulas can be
 * told apart by outputs too. Undefined for other modules, and where no formula fits.
 */
export async function diagnoseModuleOutput(input: JudgeInput): Promise<Finding | undefined> {
	const { component, module, adapters, base, inputs } = input.case.request as ForwardRequest;
	if (module === undefined) return undefined;
	const key = `${component}.${module}`;
	const weight = await weightLookup(base, input.file);
	const held = await weight(key);
	if (held === undefined || held.shape.length !== 2) return undefined;
	const uses: ReadUse[] = [];
	for (const adapter of adapters) {
		const facts = await readAdapterFacts(adapter, base, input.file, new Map([[key, held.shape]]), weight);
		if (facts === undefined) return undefined;
		uses.push({ adapter, strength: adapter.strength ?? 1, facts });
	}
	const x = await tensorOf(input.file(inputs), 'input');
	const got = await tensorOf(input.output('out'), 'output');
	const plain = await tensorOf(input.file(input.expect.without ?? ''), 'output');
	if (x === undefined || got === undefined || plain === undefined || got.length !== plain.length) return undefined;
	const seen = got.map((y, i) => y - (plain[i] ?? 0));
	const near = (delta: Float64Array): boolean => isNear(seen, times(x, delta, held.shape), MET[input.precision]);
	const right = predict(key, held.values.length, uses, undefined);
	if (near(right)) return undefined;
	const fitting: { code: Code; detail?: string | undefined }[] = [];
	for (const h of hypothesesFor(uses.map((u) => u.facts))) {
		if (near(predict(key, right.length, uses, h))) fitting.push({ code: h.code, detail: h.detail });
	}
	const [first] = fitting;
	if (first === undefined) return undefined;
	return { ...first, runnersUp: unique(fitting.map((f) => f.code)), evidenceLevel: 'outputs', modules: [key] };
}

async function tensorOf(file: string, name: string): Promise<Float64Array | undefined> {
	const opened = await openTensorFile(file);
	const tensor = opened.tensors.get(name);
	const values = tensor === undefined ? undefined : await valuesOf(tensor);
	await opened.close();
	return values;
}

/** x D^T for rows of x; D is (out, in). */
function times(x: Float64Array, delta: Float64Array, [out = 0, inner = 0]: readonly number[]): Float64Array {
	const rows = x.length / inner;
	const y = new Float64Array(rows * out);
	for (let r = 0; r < rows; r++) {
		for (let o = 0; o < out; o++) {
			let sum = 0;
			for (let i = 0; i < inner; i++) sum += (x[r * inner + i] ?? 0) * (delta[o * inner + i] ?? 0);
			y[r * out + o] = sum;
		}
	}
	return y;
}

function isNear(a: Float64Array, b: Float64Array, met: number): boolean {
	let [off, sizeA, sizeB] = [0, 0, 0];
	for (let i = 0; i < a.length; i++) {
		const [x, y] = [a[i] ?? 0, b[i] ?? 0];
		[off, sizeA, sizeB] = [off + (x - y) ** 2, sizeA + x * x, sizeB + y * y];
	}
	return Math.sqrt(off) <= met * Math.sqrt(Math.max(sizeA, sizeB)) + 1e-6;
}
