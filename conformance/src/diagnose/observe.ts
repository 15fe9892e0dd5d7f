import { heldValues, openBaseWeights } from '../judge/base-weights.js';
import { ulpOf } from '../judge/number-format.js';
import { openTensorFile, sameShape, valuesOf } from '../judge/tensor-file.js';
import type { AdapterRequest, BaseRef, Case, Expect, ForwardRequest, Precision, WeightsRequest } from '../suite/case.js';

/** What a subject added to one module, against what it should have added. */
export interface Observed {
	/** `component.path`. */
	readonly key: string;
	readonly shape: readonly number[];
	readonly got: Float64Array;
	/** What the subject wrote, the base included. */
	readonly written: Float64Array;
	readonly expected: Float64Array;
	/** Norm of one unit in the last place of every element: what rounding to each precision may do. */
	noise(precision: Precision): number;
}

/** One set of observations: a delta file, or one export. */
export interface Observation {
	/** Name of the export; `delta` otherwise. */
	readonly name: string;
	readonly modules: readonly Observed[];
}

interface Place {
	readonly case: Case;
	readonly expect: Expect;
	file(ref: string): string;
	/** Left out: what a right subject would have written. */
	output?: ((name: string) => string) | undefined;
	readonly precision: Precision;
}

/** L3 and L4: everything that the subject added. Nothing that cannot be read is observed. */
export async function observe(place: Place): Promise<readonly Observation[]> {
	const { request } = place.case;
	if (request.op === 'delta') return [await observeDelta(place)];
	if (request.op !== 'weights') return [];
	const out: Observation[] = [];
	for (const [name, expected] of Object.entries(place.expect.exports ?? {})) {
		if ('file' in expected) out.push(await observeExport(place, name, expected.file));
		else if (expected.same === 'base') out.push(await observeExport(place, name, undefined));
	}
	return out;
}

async function observeDelta({ expect, file, output }: Place): Promise<Observation> {
	const wanted = await openTensorFile(file(expect.file ?? ''));
	const got = output === undefined ? undefined : await openTensorFile(output('out'));
	const modules: Observed[] = [];
	for (const [key, tensor] of wanted.tensors) {
		const expected = await valuesOf(tensor);
		const other = got?.tensors.get(key);
		if (other !== undefined && !sameShape(other.shape, tensor.shape)) continue;
		// A module that is not there got nothing.
		const values = got === undefined ? expected : other === undefined ? new Float64Array(expected.length) : await valuesOf(other);
		modules.push({ key, shape: tensor.shape, got: values, written: values, expected, noise: (p) => noiseOf(p, values, expected) });
	}
	await wanted.close();
	await got?.close();
	return { name: 'delta', modules };
}

async function observeExport({ case: entry, file, output, precision }: Place, name: string, ref: string | undefined): Promise<Observation> {
	const base = await openBaseWeights((entry.request as WeightsRequest).base, file);
	const wanted = ref === undefined ? undefined : await openTensorFile(file(ref));
	const got = output === undefined ? undefined : await openTensorFile(output(name));
	const modules: Observed[] = [];
	for (const [key, tensor] of base.tensors) {
		const exact = wanted?.tensors.get(key);
		const other = got?.tensors.get(key);
		if (!key.endsWith('.weight') || (wanted !== undefined && exact === undefined) || (got !== undefined && other === undefined)) continue;
		if (other !== undefined && !sameShape(other.shape, tensor.shape)) continue;
		const stored = await valuesOf(tensor);
		const start = await heldValues(tensor, precision);
		const expected = exact === undefined ? new Float64Array(stored.length) : minus(await valuesOf(exact), stored);
		const values = other === undefined ? undefined : await valuesOf(other);
		const added = values === undefined ? expected : minus(values, start);
		// Without an expectation only weights that moved say something.
		if (wanted === undefined && values !== undefined && added.every((x) => x === 0)) continue;
		const sum = values ?? start;
		modules.push({
			key: key.slice(0, -'.weight'.length),
			shape: tensor.shape,
			got: added,
			written: sum,
			expected,
			noise: (p) => noiseOf(p, start, sum, added),
		});
	}
	await base.close();
	await wanted?.close();
	await got?.close();
	return { name, modules };
}

function minus(a: Float64Array, b: Float64Array): Float64Array {
	return a.map((x, i) => x - (b[i] ?? 0));
}

function noiseOf(precision: Precision, ...operands: readonly Float64Array[]): number {
	let squares = 0;
	const count = operands[0]?.length ?? 0;
	for (let i = 0; i < count; i++) {
		let largest = 0;
		for (const values of operands) largest = Math.max(largest, Math.abs(values[i] ?? 0));
		squares += ulpOf(precision, largest) ** 2;
	}
	return Math.sqrt(squares);
}

/** The base of a case, where it has one. */
export function baseOf(entry: Case): BaseRef | undefined {
	const { request } = entry;
	return 'base' in request ? (request as AdapterRequest | WeightsRequest | ForwardRequest).base : undefined;
}
