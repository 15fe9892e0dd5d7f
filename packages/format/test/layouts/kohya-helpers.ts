import { createHash } from 'node:crypto';
import { bytesSource } from '../../src/byte-source.js';
import { readSafetensors, safetensorsBytes } from '../../src/containers/index.js';
import type { DType } from '../../src/dtype.js';
import { decodeFloats, encodeFloats } from '../../src/half.js';
import type { EncodeOptions, Layout, LayoutInput } from '../../src/layouts/layout.js';
import type { StateDict } from '../../src/state-dict.js';
import { bytesTensor, type Tensor } from '../../src/tensor.js';

/** dtype, shape, and the value of a scalar or the values of a small tensor. */
export type Spec = readonly [dtype: DType, shape: readonly number[], values?: readonly number[]];

/** Deterministic values, different in every tensor: index and name make them. */
function fill(name: string, count: number): Float64Array {
	let seed = 7;
	for (const c of name) seed = (seed * 31 + c.charCodeAt(0)) % 9973;
	return Float64Array.from({ length: count }, (_, i) => (((seed + i * 37) % 127) - 63) / 64);
}

export function tensorOf(name: string, [dtype, shape, values]: Spec): Tensor {
	const count = shape.reduce((a, b) => a * b, 1);
	const numbers = values === undefined ? fill(name, count) : Float64Array.from(values);
	if (dtype === 'F16' || dtype === 'BF16' || dtype === 'F32' || dtype === 'F64')
		return bytesTensor(dtype, shape, encodeFloats(dtype, numbers), name);
	if (dtype !== 'I64') throw new TypeError(`no test values of ${dtype}`);
	return bytesTensor('I64', shape, new Uint8Array(BigInt64Array.from([...numbers].map((n) => BigInt(Math.trunc(n)))).buffer), name);
}

/** A state dict in memory from literal specs. */
export async function fileOf(specs: Readonly<Record<string, Spec>>, metadata: Readonly<Record<string, string>> = {}): Promise<StateDict> {
	const tensors = new Map(Object.entries(specs).map(([name, spec]) => [name, tensorOf(name, spec)]));
	const small = new Map<string, readonly number[]>();
	for (const [name, t] of tensors) {
		if (t.shape.reduce((a, b) => a * b, 1) <= 4) small.set(name, [...decodeFloats(t.dtype, await t.read())]);
	}
	return {
		container: 'memory',
		name: 'test',
		tensors,
		metadata: new Map(Object.entries(metadata)),
		top: 'dict',
		wrapper: undefined,
		nonTensors: [],
		small,
		smallComplete: true,
		warnings: [],
	};
}

export function inputOf(file: StateDict): LayoutInput {
	return { file, textEncoder: undefined, embeddings: [], config: undefined, base: undefined };
}

export const KEEP: EncodeOptions = { container: 'safetensors', alpha: 'keep' };

/** A plain LoRA of one module under kohya's leaves. */
export function lora(module: string, out: number, inn: number, rank = 2, alpha?: number, dtype: DType = 'F32'): Record<string, Spec> {
	return {
		[`${module}.lora_down.weight`]: [dtype, [rank, inn]],
		[`${module}.lora_up.weight`]: [dtype, [out, rank]],
		...(alpha === undefined ? {} : { [`${module}.alpha`]: [dtype, [], [alpha]] as Spec }),
	};
}

/** The same with PEFT's leaves. */
export function peftLora(module: string, out: number, inn: number, rank = 2): Record<string, Spec> {
	return { [`${module}.lora_A.weight`]: ['F32', [rank, inn]], [`${module}.lora_B.weight`]: ['F32', [out, rank]] };
}

export async function sha(tensor: Tensor): Promise<string> {
	return createHash('sha256')
		.update(await tensor.read())
		.digest('hex');
}

/** name -> dtype, shape and hash of the bytes: equal exactly when the files are. */
export async function contents(tensors: ReadonlyMap<string, Tensor>): Promise<Record<string, string>> {
	const out: Record<string, string> = {};
	for (const name of [...tensors.keys()].sort()) {
		const t = tensors.get(name);
		if (t !== undefined) out[name] = `${t.dtype} (${t.shape.join()}) ${await sha(t)}`;
	}
	return out;
}

/** Decode by one layout, write by another, read that, write by the first again. */
export async function thereAndBack(
	file: StateDict,
	from: Layout,
	to: Layout,
): Promise<{
	readonly middle: StateDict;
	readonly tensors: Record<string, string>;
	readonly metadata: Record<string, string>;
	readonly losses: readonly unknown[];
}> {
	const there = from.decode(inputOf(file), {});
	const encoded = to.encode?.(there, KEEP);
	const [first] = encoded?.files ?? [];
	if (first === undefined) throw new TypeError(`${to.id} cannot be written`);
	const middle = await readSafetensors(bytesSource(await safetensorsBytes(first.tensors, first.metadata), 'middle'));
	const back = from.encode?.(to.decode(inputOf(middle), {}), KEEP);
	const [last] = back?.files ?? [];
	if (last === undefined) throw new TypeError(`${from.id} cannot be written`);
	return {
		middle,
		tensors: await contents(last.tensors),
		metadata: Object.fromEntries([...last.metadata].sort()),
		losses: [...(encoded?.losses ?? []), ...(back?.losses ?? [])],
	};
}
