import { numel } from '../dtype.js';
import { FormatError } from '../errors.js';
import { MAX_RANK } from '../limits.js';
import { type PyStorage, type PyTensor, type PyValue, type RebuildHow, typeName } from './pickle-value.js';
import type { TorchDType } from './torch-dtype.js';

/** Entries of a tensor's metadata dict. */
const MAX_TENSOR_FLAGS = 16;

/**
 * Do what torch's rebuilders do, on descriptions: no byte of data is touched. Arguments as in `torch/_utils.py`:
 * `_rebuild_tensor(storage, offset, size, stride)`, `_v2(…, requires_grad, hooks[, metadata])`,
 * `_v3(…, requires_grad, hooks, dtype[, metadata])`, `_rebuild_parameter[_with_state](tensor, requires_grad, hooks[, state])`,
 * `_rebuild_from_type_v2(function, type, arguments, state)`. Offsets and strides count elements.
 *
 * @throws {FormatError} `E_PICKLE_TENSOR` for arguments that describe no tensor inside its storage.
 */
export function rebuildTensor(how: RebuildHow, args: readonly PyValue[], where: string): PyTensor {
	switch (how) {
		case 'tensor':
			return strided(args.slice(0, 4), undefined, where, args.length === 4);
		case 'tensor_v2':
			checkFlags(args[4], args[5], args[6], where);
			return strided(args.slice(0, 4), undefined, where, args.length === 6 || args.length === 7);
		case 'tensor_v3': {
			const dtype = args[6];
			if (!is(dtype, 'global') || dtype.role.kind !== 'dtype') throw bad(where, `a dtype of type ${nameOf(dtype)}`);
			checkFlags(args[4], args[5], args[7], where);
			return strided(args.slice(0, 4), dtype.role.dtype, where, args.length === 7 || args.length === 8);
		}
		case 'parameter':
		case 'parameter_with_state': {
			const tensor = args[0];
			if (!is(tensor, 'tensor')) throw bad(where, `a parameter of type ${nameOf(tensor)}`);
			if (args.length !== (how === 'parameter' ? 3 : 4)) throw bad(where, `${args.length} arguments for a parameter`);
			checkFlags(args[1], args[2], undefined, where);
			return how === 'parameter' ? tensor : withState(tensor, args[3], where);
		}
		case 'from_type_v2': {
			const [callee, type, inner, state] = args;
			if (args.length !== 4 || !is(callee, 'global') || callee.role.kind !== 'rebuild' || callee.role.how === 'from_type_v2') {
				throw bad(where, `a typed tensor made by ${nameOf(callee)}`);
			}
			if (!is(type, 'global') || type.role.kind !== 'tensor-class') throw bad(where, `a tensor of the type ${nameOf(type)}`);
			if (!is(inner, 'tuple')) throw bad(where, `tensor arguments of type ${nameOf(inner)}`);
			return withState(rebuildTensor(callee.role.how, inner.items, where), state, where);
		}
	}
}

function strided(args: readonly PyValue[], given: TorchDType | undefined, where: string, rightCount: boolean): PyTensor {
	const [storage, offset, size, stride] = args;
	if (!rightCount) throw bad(where, 'a wrong number of arguments for a tensor');
	if (!is(storage, 'storage')) throw bad(where, `a storage of type ${nameOf(storage)}`);
	const dtype = given ?? storage.dtype;
	if (dtype === undefined) throw bad(where, 'an untyped storage without a dtype');
	const shape = integers(size, 'size', where);
	const steps = integers(stride, 'stride', where);
	if (typeof offset !== 'number' || offset < 0) throw bad(where, `the offset ${shown(offset)}`);
	if (shape.length !== steps.length) throw bad(where, `${shape.length} sizes and ${steps.length} strides`);
	if (shape.length > MAX_RANK) throw bad(where, `${shape.length} dimensions, of which torch itself allows ${MAX_RANK}`);
	checkInside(storage, dtype, offset, shape, steps, where);
	return { t: 'tensor', storage, dtype, offset, size: shape, stride: steps, attributes: undefined };
}

/** Doubles are enough: all terms are at least 0, and a sum that is no longer exact is far beyond any storage. */
function checkInside(
	storage: PyStorage,
	dtype: TorchDType,
	offset: number,
	size: readonly number[],
	stride: readonly number[],
	where: string,
): void {
	const available = Math.floor(storage.nbytes / dtype.bytes);
	const count = numel(size);
	if (count === undefined) throw bad(where, `the size (${size.join(', ')}), which is more elements than can be counted`);
	// A tensor without elements touches nothing.
	if (count === 0) return;
	const last = size.reduce((sum, n, k) => sum + (n - 1) * (stride[k] ?? 0), offset);
	if (last >= available) {
		throw bad(
			where,
			`offset ${offset}, size (${size.join(', ')}) and stride (${stride.join(', ')}), which reach element ${last} of a storage of ${available}`,
		);
	}
}

function integers(value: PyValue | undefined, what: string, where: string): number[] {
	if (!is(value, 'tuple')) throw bad(where, `a ${what} of type ${nameOf(value)}`);
	if (value.items.length > MAX_RANK) throw bad(where, `${value.items.length} dimensions, of which torch itself allows ${MAX_RANK}`);
	return value.items.map((n) => {
		if (typeof n !== 'number' || n < 0) throw bad(where, `the ${what} ${shown(n)}`);
		return n;
	});
}

/** requires_grad, hooks and view flags: the first two mean nothing outside Python, the last would change values. */
function checkFlags(grad: PyValue | undefined, hooks: PyValue | undefined, metadata: PyValue | undefined, where: string): void {
	if (typeof grad !== 'boolean') throw bad(where, `requires_grad of type ${nameOf(grad)}`);
	if (hooks !== null && !is(hooks, 'dict')) throw bad(where, `hooks of type ${nameOf(hooks)}`);
	if (metadata === undefined || metadata === null) return;
	if (!is(metadata, 'dict')) throw bad(where, `metadata of type ${nameOf(metadata)}`);
	// torch writes "conj" and "neg". One dict can be shared by every tensor of the file.
	if ((metadata.entries?.size ?? 0) > MAX_TENSOR_FLAGS) throw bad(where, `metadata of ${metadata.entries?.size} entries`);
	for (const { key, value } of metadata.entries?.values() ?? []) {
		if (value !== false) {
			throw new FormatError(
				'E_UNSUPPORTED_TENSOR',
				`${where} has a lazily ${key === 'neg' ? 'negated' : 'conjugated'} tensor, whose bytes are not its values; call resolve_conj() or resolve_neg() before saving.`,
			);
		}
	}
}

function withState(tensor: PyTensor, state: PyValue | undefined, where: string): PyTensor {
	if (state === null || state === undefined) return tensor;
	// Python gives a dict, or (dict, slots).
	const first: PyValue | undefined = is(state, 'tuple') ? state.items[0] : state;
	if (first === null) return tensor;
	if (!is(first, 'dict')) throw bad(where, `tensor attributes of type ${nameOf(first)}`);
	return (first.entries?.size ?? 0) === 0 ? tensor : { ...tensor, attributes: first };
}

function is<T extends 'global' | 'tensor' | 'tuple' | 'storage' | 'dict'>(
	value: PyValue | undefined,
	t: T,
): value is Extract<PyValue, { readonly t: T }> {
	return typeof value === 'object' && value !== null && value.t === t;
}

function nameOf(value: PyValue | undefined): string {
	return value === undefined ? 'nothing' : typeName(value);
}

function shown(value: PyValue | undefined): string {
	return typeof value === 'number' || typeof value === 'bigint' ? String(value).slice(0, 40) : `of type ${nameOf(value)}`;
}

function bad(where: string, what: string): FormatError {
	return new FormatError('E_PICKLE_TENSOR', `${where} describes a tensor with ${what}; the file is damaged or hostile.`);
}
