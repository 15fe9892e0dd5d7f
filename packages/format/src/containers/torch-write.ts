import { FormatError, quote } from '../errors.js';
import { type Tensor, tensorChunks } from '../tensor.js';
import type { ByteSink } from './container.js';
import { PickleWriter } from './pickle-write.js';
import { type TorchDType, torchDType } from './torch-dtype.js';
import { planZip, type ZipPlan, type ZipWriteEntry } from './zip-write.js';

export interface TorchZipOptions {
	/** `dict`: an OrderedDict by name. `list`: the tensors alone; names must be `0`, `1`, ... in order. */
	readonly top: 'dict' | 'list';
	/** Folder inside the archive, by custom the stem of the file name; default `archive`. */
	readonly rootName?: string | undefined;
}

/**
 * Lay out a torch zip that `torch.load(weights_only=True)` opens, of any torch since 1.6: protocol 2 pickle, one
 * storage per tensor, entries stored and aligned. The same input gives the same bytes.
 *
 * Types with a typed storage travel by `_rebuild_tensor_v2`; newer ones (uint16, float8, ...) by `_rebuild_tensor_v3`
 * and an untyped storage, as torch 2.13 writes them (measured), and need a torch that knows them.
 *
 * @throws {FormatError} `E_UNSUPPORTED_DTYPE` for types that torch lacks, `E_NAME` for names that are no Unicode text or
 * no list indices.
 */
export function planTorchZip(tensors: ReadonlyMap<string, Tensor>, options: TorchZipOptions): ZipPlan {
	const root = rootFolder(options.rootName);
	const pickle = writePickle(tensors, options.top);
	const entries: ZipWriteEntry[] = [
		bytesEntry(`${root}/data.pkl`, pickle),
		bytesEntry(`${root}/byteorder`, new TextEncoder().encode('little')),
	];
	let key = 0;
	for (const tensor of tensors.values()) {
		entries.push({ name: `${root}/data/${key++}`, size: tensor.nbytes, chunks: () => tensorChunks(tensor) });
	}
	entries.push(bytesEntry(`${root}/version`, new TextEncoder().encode('3\n')));
	return planZip(entries);
}

/** Write a torch zip in one pass. @throws {FormatError} as `planTorchZip`, and what reading the tensors throws. */
export async function writeTorchZip(tensors: ReadonlyMap<string, Tensor>, options: TorchZipOptions, sink: ByteSink): Promise<void> {
	await planTorchZip(tensors, options).write(sink);
}

function writePickle(tensors: ReadonlyMap<string, Tensor>, top: 'dict' | 'list'): Uint8Array {
	const pickle = new PickleWriter();
	if (top === 'list') pickle.op('EMPTY_LIST');
	else pickle.global('collections', 'OrderedDict').op('EMPTY_TUPLE', 'REDUCE');
	if (tensors.size === 0) return pickle.finish();
	pickle.op('MARK');
	let key = 0;
	for (const [name, tensor] of tensors) {
		if (top === 'dict') {
			// TextEncoder would quietly replace a lone surrogate.
			if (/[\ud800-\udfff]/u.test(name)) {
				throw new FormatError('E_NAME', `Tensor name ${quote(name)} is no valid Unicode text, so it cannot be written; rename it.`, {
					at: name,
				});
			}
			pickle.text(name);
		} else if (name !== String(key)) {
			throw new FormatError(
				'E_NAME',
				`A torch list holds tensors by index, but tensor ${key} is named ${quote(name)}; write a dict instead.`,
				{
					at: name,
				},
			);
		}
		writeTensor(pickle, name, tensor, key++);
	}
	return pickle.op(top === 'list' ? 'APPENDS' : 'SETITEMS').finish();
}

function writeTensor(pickle: PickleWriter, name: string, tensor: Tensor, key: number): void {
	const dtype = torchDType(tensor.dtype);
	const shape = dtype === undefined ? undefined : torchShape(tensor, dtype);
	if (dtype === undefined || shape === undefined) {
		throw new FormatError(
			'E_UNSUPPORTED_DTYPE',
			`Tensor ${quote(name)} has dtype ${tensor.dtype} and shape (${tensor.shape.join(', ')}), which torch cannot hold; write a .safetensors file or pass --dtype.`,
			{ at: name },
		);
	}
	const typed = dtype.storage !== undefined;
	pickle
		.global('torch._utils', typed ? '_rebuild_tensor_v2' : '_rebuild_tensor_v3')
		.op('MARK', 'MARK')
		.commonText('storage');
	if (dtype.storage === undefined) pickle.global('torch.storage', 'UntypedStorage');
	else pickle.global('torch', dtype.storage);
	// The storage counts elements when it is typed, bytes when not.
	pickle
		.text(String(key))
		.commonText('cpu')
		.int(typed ? tensor.nbytes / dtype.bytes : tensor.nbytes);
	pickle.op('TUPLE', 'BINPERSID').int(0).ints(shape).ints(contiguousStrides(shape)).op('NEWFALSE');
	pickle.global('collections', 'OrderedDict').op('EMPTY_TUPLE', 'REDUCE');
	if (!typed) pickle.global('torch', dtype.name);
	pickle.op('TUPLE', 'REDUCE');
}

/** torch's shape: for packed 4-bit pairs half the last dimension; undefined when that is odd or missing. */
function torchShape(tensor: Tensor, dtype: TorchDType): readonly number[] | undefined {
	if (dtype.packed === 1) return tensor.shape;
	const last = tensor.shape[tensor.shape.length - 1];
	return last === undefined || last % 2 !== 0 ? undefined : [...tensor.shape.slice(0, -1), last / 2];
}

function contiguousStrides(shape: readonly number[]): number[] {
	// Without elements any strides will do, and products over the other dimensions may be too large to count.
	if (shape.includes(0)) return shape.map(() => 1);
	const strides = new Array<number>(shape.length);
	let step = 1;
	for (let k = shape.length - 1; k >= 0; k--) {
		strides[k] = step;
		step *= shape[k] ?? 1;
	}
	return strides;
}

/** A folder name without separators or control characters; readers only need it to be the same everywhere. */
function rootFolder(name: string | undefined): string {
	const clean = (name ?? '').replace(/[^A-Za-z0-9._-]/g, '_').slice(0, 100);
	return /^\.*$/.test(clean) ? 'archive' : clean;
}

function bytesEntry(name: string, bytes: Uint8Array): ZipWriteEntry {
	return {
		name,
		size: bytes.byteLength,
		async *chunks() {
			yield bytes;
		},
	};
}
