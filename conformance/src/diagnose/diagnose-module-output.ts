import { openTensorFile, valuesOf } from '../judge/tensor-file.js';
import type { JudgeInput } from '../judge/verdict.js';
import type { AdapterRef, BaseRef, ForwardRequest } from '../suite/case.js';
import type { Finding } from './diagnose-case.js';
import { unique } from './diagnose-scaling.js';
import type { Code } from './diagnoses.js';
import { predict, type ReadUse } from './fit.js';
import { hypothesesFor } from './hypotheses.js';
import { readAdapterFacts, type WeightLookup, weightLookup } from './module-facts.js';

/** A prediction is met when it is this near, relative to the larger of the two. */
const MET = { f32: 1e-4, f16: 1e-2, bf16: 8e-2 } as const;

/** A module of a base, and what adapters say of it. */
export interface ModuleUses {
	readonly key: string;
	readonly held: NonNullable<Awaited<ReturnType<WeightLookup>>>;
	readonly uses: readonly ReadUse[];
}

/** @param key `component.path`. @returns undefined for a module that is neither linear nor a convolution, and for unreadable adapters */
export async function readModuleUses(
	key: string,
	adapters: readonly AdapterRef[],
	base: BaseRef,
	file: (ref: string) => string,
): Promise<ModuleUses | undefined> {
	const weight = await weightLookup(base, file);
	const held = await weight(key);
	if (held === undefined || (held.shape.length !== 2 && held.shape.length !== 4)) return undefined;
	// to_k and to_v may be exchanged.
	const stem = key.replace(/to_[kv]$/, '');
	const wanted = (other: string): boolean => other === key || (stem !== key && (other === `${stem}to_k` || other === `${stem}to_v`));
	const uses: ReadUse[] = [];
	for (const adapter of adapters) {
		const facts = await readAdapterFacts(adapter, base, file, new Map([[key, held.shape]]), weight, wanted);
		if (facts === undefined) return undefined;
		uses.push({ adapter, strength: adapter.strength ?? 1, facts });
	}
	return { key, held, uses };
}

/**
 * L5, one linear layer or convolution: what a formula adds to the weight adds its product with x to the output, so that
 * single formulas can be told apart by outputs too. Undefined for other modules, and where no formula fits.
 */
export async function diagnoseModuleOutput(input: JudgeInput): Promise<Finding | undefined> {
	const { component, module, adapters, base, inputs } = input.case.request as ForwardRequest;
	if (module === undefined) return undefined;
	const read = await readModuleUses(`${component}.${module}`, adapters, base, input.file);
	if (read === undefined) return undefined;
	const { key, held, uses } = read;
	const x = await tensorOf(input.file(inputs), 'input');
	const got = await tensorOf(input.output('out'), 'output');
	const plain = await tensorOf(input.file(input.expect.without ?? ''), 'output');
	if (x === undefined || got === undefined || plain === undefined || got.values.length !== plain.values.length) return undefined;
	const seen = got.values.map((y, i) => y - (plain.values[i] ?? 0));
	const through = (delta: Float64Array): Float64Array =>
		held.shape.length === 2 ? times(x.values, delta, held.shape) : convolved(x, delta, held.shape, plain.shape);
	const near = (delta: Float64Array): boolean => isNear(seen, through(delta), MET[input.precision]);
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

interface Plain {
	readonly shape: readonly number[];
	readonly values: Float64Array;
}

async function tensorOf(file: string, name: string): Promise<Plain | undefined> {
	const opened = await openTensorFile(file);
	const tensor = opened.tensors.get(name);
	const read = tensor === undefined ? undefined : { shape: tensor.shape, values: await valuesOf(tensor) };
	await opened.close();
	return read;
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

/** x convolved with a kernel (out, in, kh, kw), padded by half of it; the stride is what makes `shape` of the output. */
function convolved(x: Plain, delta: Float64Array, kernel: readonly number[], shape: readonly number[]): Float64Array {
	const [out = 0, inner = 0, kh = 0, kw = 0] = kernel;
	const [, , h = 0, w = 0] = x.shape;
	const [batch = 0, , oh = 0, ow = 0] = shape;
	const stride = Math.round(h / oh);
	const y = new Float64Array(batch * out * oh * ow);
	const at = (n: number, i: number, row: number, column: number): number =>
		row < 0 || row >= h || column < 0 || column >= w ? 0 : (x.values[((n * inner + i) * h + row) * w + column] ?? 0);
	let place = 0;
	for (let n = 0; n < batch; n++) {
		for (let o = 0; o < out; o++) {
			for (let r = 0; r < oh; r++) {
				for (let c = 0; c < ow; c++) {
					let [sum, k] = [0, o * inner * kh * kw];
					for (let i = 0; i < inner; i++) {
						for (let p = 0; p < kh; p++) {
							const row = r * stride + p - (kh >> 1);
							for (let q = 0; q < kw; q++) sum += (delta[k++] ?? 0) * at(n, i, row, c * stride + q - (kw >> 1));
						}
					}
					y[place++] = sum;
				}
			}
		}
	}
	return y;
}

/** True when two vectors differ by no more than `met` of the larger. */
export function isNear(a: Float64Array, b: Float64Array, met: number): boolean {
	let [off, sizeA, sizeB] = [0, 0, 0];
	for (let i = 0; i < a.length; i++) {
		const [x, y] = [a[i] ?? 0, b[i] ?? 0];
		[off, sizeA, sizeB] = [off + (x - y) ** 2, sizeA + x * x, sizeB + y * y];
	}
	return Math.sqrt(off) <= met * Math.sqrt(Math.max(sizeA, sizeB)) + 1e-6;
}
