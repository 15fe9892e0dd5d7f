import type { TorchDType } from './torch-dtype.js';
import type { StorageBacking } from './torch-storage.js';

/**
 * A Python value that came out of a pickle, as inert data. `null` is None; an integer is a `number` where that is
 * exact, else a `bigint`; a float is its own kind, since 1 and 1.0 differ where sizes are read.
 */
export type PyValue =
	| null
	| boolean
	| number
	| bigint
	| string
	| PyFloat
	| PyBytes
	| PyList
	| PyTuple
	| PyDict
	| PySet
	| PyGlobal
	| PyOpaque
	| PyStorage
	| PyTensor;

export interface PyFloat {
	readonly t: 'float';
	readonly value: number;
}

export interface PyBytes {
	readonly t: 'bytes';
	readonly bytes: Uint8Array;
}

export interface PyList {
	readonly t: 'list';
	items: PyValue[];
}

export interface PyTuple {
	readonly t: 'tuple';
	readonly items: readonly PyValue[];
}

/** dict and its subclasses. Keys are compared by type and value (`dictKey`), never as property names. */
export interface PyDict {
	readonly t: 'dict';
	readonly type: 'dict' | 'OrderedDict' | 'defaultdict' | 'Counter';
	/** Made when the first entry comes: a million empty dicts must stay small. */
	entries: Map<unknown, { readonly key: PyValue; value: PyValue }> | undefined;
	/** Attributes set by BUILD, without `_metadata`. */
	attributes: PyDict | undefined;
}

export interface PySet {
	readonly t: 'set';
	readonly items: PyValue[];
}

/** A name on the allow-list, and what it stands for. */
export interface PyGlobal {
	readonly t: 'global';
	readonly module: string;
	readonly name: string;
	readonly role: GlobalRole;
}

/** An instance that only means something to Python: a device, a complex number, a numpy scalar. */
export interface PyOpaque {
	readonly t: 'opaque';
	readonly text: string;
}

export interface PyStorage {
	readonly t: 'storage';
	readonly key: string;
	/** Undefined: untyped, counted in bytes. */
	readonly dtype: TorchDType | undefined;
	/** First byte inside the backing (legacy views of storages begin later). */
	readonly start: number;
	readonly nbytes: number;
	readonly backing: StorageBacking;
}

export interface PyTensor {
	readonly t: 'tensor';
	readonly storage: PyStorage;
	readonly dtype: TorchDType;
	/** In elements of `dtype`, from the start of the storage; checked to lie inside. */
	readonly offset: number;
	readonly size: readonly number[];
	/** In elements. */
	readonly stride: readonly number[];
	/** Python attributes of a tensor or Parameter, which no other container can hold. */
	readonly attributes: PyDict | undefined;
}

/** What an allowed global does when it is called with REDUCE or NEWOBJ: all of it is our own code. */
export type GlobalRole =
	| { readonly kind: 'dict'; readonly type: PyDict['type'] }
	| { readonly kind: 'set' | 'size' | 'device' | 'layout' | 'codecs-encode' | 'complex' | 'bytes' | 'class' | 'opaque' | 'tensor-class' }
	| { readonly kind: 'dtype'; readonly dtype: TorchDType }
	| { readonly kind: 'storage'; readonly dtype: TorchDType | undefined }
	| { readonly kind: 'rebuild'; readonly how: RebuildHow }
	/** Known, and refused by name: quantised, sparse, nested, meta tensors. */
	| { readonly kind: 'unsupported'; readonly what: string };

/** The tensor rebuilders of `torch._utils` and `torch._tensor`. */
export type RebuildHow = 'tensor' | 'tensor_v2' | 'tensor_v3' | 'parameter' | 'parameter_with_state' | 'from_type_v2';

/** Short name of a value's Python type, for messages. */
export function typeName(value: PyValue): string {
	if (value === null) return 'None';
	if (typeof value === 'boolean') return 'bool';
	if (typeof value === 'number' || typeof value === 'bigint') return 'int';
	if (typeof value === 'string') return 'str';
	if (value.t === 'dict') return value.type;
	if (value.t === 'global') return `${value.module}.${value.name}`;
	return value.t;
}

/** A dict key in messages. */
export function keyLabel(key: PyValue): string {
	return typeof key === 'string' || typeof key === 'number' || typeof key === 'bigint' ? String(key) : typeName(key);
}

/** Half a surrogate pair, which no string of a pickle holds: what begins with it is no string of Python's. */
const NO_TEXT = '\ud800';

/**
 * Key under which a dict holds `value`: equal for what Python calls equal among scalars (1 == 1.0 == True), and
 * identity for the rest. Undefined for what Python cannot hash. A string is its own key, so that a long one that is
 * used often is never copied.
 */
export function dictKey(value: PyValue): unknown {
	if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint') return value;
	if (typeof value === 'boolean') return Number(value);
	switch (value.t) {
		case 'float':
			if (Number.isNaN(value.value)) return value;
			// Integers beyond 2^53 are bigints.
			return Number.isInteger(value.value) && !Number.isSafeInteger(value.value) ? BigInt(value.value) : value.value;
		case 'bytes':
			return value.bytes.byteLength <= 256 ? bytesKey(value) : value;
		case 'global':
			return `${NO_TEXT}g${value.module}\n${value.name}`;
		case 'list':
		case 'dict':
		case 'set':
			return undefined;
		default:
			return value;
	}
}

/** Keys of bytes, made once per value: a remembered one can be used a million times. */
const BYTES_KEYS = new WeakMap<PyBytes, string>();

function bytesKey(value: PyBytes): string {
	let key = BYTES_KEYS.get(value);
	if (key === undefined) {
		key = `${NO_TEXT}b${String.fromCharCode(...value.bytes)}`;
		BYTES_KEYS.set(value, key);
	}
	return key;
}
