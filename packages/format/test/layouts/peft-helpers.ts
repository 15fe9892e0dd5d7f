import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Adapter, TargetModule } from '../../src/adapter.js';
import { bytesSource } from '../../src/byte-source.js';
import { openStateDict } from '../../src/containers/index.js';
import { byteLength, type DType } from '../../src/dtype.js';
import { FormatError } from '../../src/errors.js';
import type { Encoded, LayoutInput } from '../../src/layouts/layout.js';
import type { StateDict } from '../../src/state-dict.js';
import { bytesTensor, type Tensor } from '../../src/tensor.js';

/** A tensor as tests write it: shape, then (for small ones) values, F32 unless said. */
export type Literal = readonly [shape: readonly number[], values?: readonly number[], dtype?: DType];

/** A state dict in memory. Tensors without values get bytes that differ from each other, so that a mix-up shows. */
export function dict(
	tensors: Readonly<Record<string, Literal>>,
	metadata: Readonly<Record<string, string>> = {},
	top: StateDict['top'] = 'dict',
): StateDict {
	const out = new Map<string, Tensor>();
	const small = new Map<string, readonly number[]>();
	let seed = 1;
	for (const [name, [shape, values, dtype = 'F32']] of Object.entries(tensors)) {
		const count = shape.reduce((a, b) => a * b, 1);
		const numbers = Float32Array.from({ length: count }, (_, i) => values?.[i] ?? seed + i / 1024);
		seed++;
		const bytes = dtype === 'F32' ? new Uint8Array(numbers.buffer) : new Uint8Array(byteLength(dtype, shape) ?? 0);
		out.set(name, bytesTensor(dtype, shape, bytes, name));
		if (values !== undefined && count <= 4) small.set(name, values);
	}
	return {
		container: 'safetensors',
		name: 'test.safetensors',
		tensors: out,
		metadata: new Map(Object.entries(metadata)),
		top,
		wrapper: undefined,
		nonTensors: [],
		small,
		smallComplete: true,
		warnings: [],
	};
}

/** An input for a layout. */
export function input(file: StateDict, more: Partial<LayoutInput> = {}): LayoutInput {
	return { file, textEncoder: undefined, embeddings: [], config: undefined, base: undefined, ...more };
}

/** What was encoded, as if written and read again: names become origins. */
export function reread(encoded: Encoded, container: StateDict['container'] = 'safetensors'): LayoutInput {
	const dicts = encoded.files.map((file): [string, StateDict] => [
		file.suffix,
		{
			...dict({}),
			container,
			name: `test${file.suffix}`,
			tensors: new Map([...file.tensors].map(([name, t]) => [name, { ...t, origin: name, derivation: undefined }])),
			metadata: file.metadata,
			top: file.top,
		},
	]);
	const of = (suffix: string): StateDict | undefined => dicts.find(([s]) => s === suffix)?.[1];
	const ti = of('.ti.pt');
	return input(of('') ?? dict({}), {
		textEncoder: of('.text_encoder.pt'),
		embeddings: ti === undefined ? [] : [ti],
		config: encoded.sideFiles.get('adapter_config.json'),
	});
}

/** Plain LoRA pairs for modules: `down` (rank, in), `up` (out, rank), named by the caller. */
export function pairs(names: readonly string[], down: string, up: string, rank = 2, width = 8): Record<string, Literal> {
	const out: Record<string, Literal> = {};
	for (const name of names) {
		out[name + down] = [[rank, width]];
		out[name + up] = [[width, rank]];
	}
	return out;
}

export function moduleAt(adapter: Adapter, component: string, path: string): TargetModule {
	const found = adapter.modules.find((m) => m.component === component && m.path === path);
	if (found === undefined)
		throw new Error(`no module ${component} ${path}; there are ${adapter.modules.map((m) => `${m.component} ${m.path}`).join(', ')}`);
	return found;
}

/** The code of the FormatError that `act` throws; anything else fails the test. */
export function codeOf(act: () => unknown): string {
	try {
		act();
	} catch (error) {
		if (error instanceof FormatError) return error.code;
		throw error;
	}
	return 'no error';
}

export function messageOf(act: () => unknown): string {
	try {
		act();
	} catch (error) {
		if (error instanceof FormatError) return error.message;
		throw error;
	}
	return '';
}

export function codes(adapter: Pick<Adapter, 'warnings'>): readonly string[] {
	return adapter.warnings.map((w) => w.code);
}

export async function sha256(tensor: Tensor | undefined): Promise<string> {
	return tensor === undefined
		? 'none'
		: createHash('sha256')
				.update(await tensor.read())
				.digest('hex');
}

export function fixturePath(path: string): URL {
	return new URL(`../../../../fixtures/adapters/${path}`, import.meta.url);
}

/** A committed real file. */
export async function fixture(path: string): Promise<StateDict> {
	return openStateDict(bytesSource(new Uint8Array(readFileSync(fixturePath(path))), path));
}

/** Names, dtypes, shapes and bytes of a set of tensors, for exact comparison. */
export async function contents(tensors: ReadonlyMap<string, Tensor>): Promise<Record<string, string>> {
	const out: Record<string, string> = {};
	for (const name of [...tensors.keys()].sort()) {
		const t = tensors.get(name);
		if (t !== undefined) out[name] = `${t.dtype} (${t.shape.join(', ')}) ${await sha256(t)}`;
	}
	return out;
}
