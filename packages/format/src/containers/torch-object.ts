import { FormatError, quote, type Warning } from '../errors.js';
import {
	ALIAS_FLOOR,
	MAX_ALIASES,
	MAX_NAME_CHARS,
	MAX_NON_TENSORS,
	MAX_TENSORS,
	MAX_VIEW_EXPANSION,
	MAX_WALK_NODES,
	VIEW_EXPANSION_FLOOR_BYTES,
} from '../limits.js';
import type { NonTensor, StateDict } from '../state-dict.js';
import type { Tensor } from '../tensor.js';
import type { PickleResult } from './pickle-machine.js';
import type { PyDict, PyTensor, PyValue } from './pickle-value.js';
import { type Counts, childrenOf, countTensors, describe } from './torch-object-walk.js';
import { torchTensor, torchTensorBytes } from './torch-tensor.js';

/** The part of a state dict that the object decides. */
export type ObjectParts = Pick<StateDict, 'tensors' | 'top' | 'wrapper' | 'nonTensors' | 'warnings'>;

/** Keys of a textual-inversion bundle, which are part of its layout: never taken off as a wrapper. */
const NO_WRAPPERS: ReadonlySet<string> = new Set(['string_to_param', 'string_to_token']);

/**
 * Names and tensors of a loaded torch object.
 *
 * - dict: its keys are the names (integer keys in decimal); deeper dicts and lists are joined with `.`;
 * - a dict whose tensors all lie in one dict below one key (`state_dict`, `lora`, `model`, ...): that wrapper is
 *   taken off and named;
 * - list or tuple: names are the indices; one bare tensor: its name is `tensor`.
 *
 * Values without tensors are reported, the topmost ones only, never lost silently.
 *
 * @throws {FormatError} `E_NO_TENSORS`, `E_NAME_COLLISION`, `E_NAME`, `E_PICKLE_CYCLE`, `E_LIMIT`, `E_UNSUPPORTED_DTYPE`.
 */
export function readTorchObject(result: PickleResult, file: string): ObjectParts {
	const { value } = result;
	const warnings: Warning[] = [];
	if (isTensor(value)) {
		const nonTensors = value.attributes === undefined ? [] : [{ path: 'tensor.__dict__', description: describe(value.attributes) }];
		pushWarnings(result, nonTensors, warnings, file);
		const tensors = collect(new Map([['tensor', value]]), file);
		return { tensors, top: 'tensor', wrapper: undefined, nonTensors, warnings };
	}
	const counts = countTensors(value, file);
	const total = counts.get(value)?.paths ?? 0;
	if (total === 0) {
		throw new FormatError('E_NO_TENSORS', `${file} holds ${describe(value)} without a single tensor; it is no file of weights.`);
	}
	if (total > MAX_TENSORS) {
		throw new FormatError('E_LIMIT', `${file} reaches its tensors by more than ${MAX_TENSORS} paths; no file of weights needs that.`);
	}
	const found = new Map<string, PyTensor>();
	const others = new NonTensors();
	let root = value;
	let wrapper: string | undefined;
	const wrapped = findWrapper(value, counts);
	if (wrapped !== undefined) {
		wrapper = wrapped.key;
		root = wrapped.inner;
		for (const child of childrenOf(value, '')) if (child.value !== root) others.add(child.path, child.value);
	}
	walk(root, counts, found, others, file);
	pushWarnings(result, others.list, warnings, file, others.total);
	return {
		tensors: collect(found, file),
		top: typeof root === 'object' && root !== null && (root.t === 'list' || root.t === 'tuple') ? 'list' : 'dict',
		wrapper,
		nonTensors: others.list,
		warnings,
	};
}

function findWrapper(value: PyValue, counts: Counts): { readonly key: string; readonly inner: PyDict } | undefined {
	if (typeof value !== 'object' || value === null || value.t !== 'dict' || value.entries === undefined) return undefined;
	if (value.attributes !== undefined && (counts.get(value.attributes)?.paths ?? 0) > 0) return undefined;
	let only: { readonly key: string; readonly inner: PyDict } | undefined;
	for (const { key, value: inner } of value.entries.values()) {
		if (isTensor(inner)) return undefined;
		if (typeof inner !== 'object' || inner === null || (counts.get(inner)?.paths ?? 0) === 0) continue;
		if (only !== undefined || inner.t !== 'dict' || typeof key !== 'string' || NO_WRAPPERS.has(key)) return undefined;
		only = { key, inner };
	}
	return only;
}

/** Depth first in the order of the file; only containers that hold tensors are entered, so paths are bounded by their count. */
function walk(root: PyValue, counts: Counts, found: Map<string, PyTensor>, others: NonTensors, file: string): void {
	const stack = [childrenOf(root, '')];
	const distinct = new Set<PyTensor>();
	let visited = 0;
	let nameChars = 0;
	while (stack.length > 0) {
		const next = stack[stack.length - 1]?.next();
		if (next === undefined || next.done === true) {
			stack.pop();
			continue;
		}
		const { name, path, value } = next.value;
		// A shared container is walked once per path to it, with all that it holds.
		if (++visited > MAX_WALK_NODES) {
			throw new FormatError('E_LIMIT', `${file} reaches more than ${MAX_WALK_NODES} Python values; no file of weights needs that.`);
		}
		if (isTensor(value)) {
			if (name === undefined) {
				throw new FormatError(
					'E_NAME',
					`${file} keeps a tensor under ${path}, a key that cannot be a tensor name; save it under text keys.`,
				);
			}
			// Before the name is used: until then nested keys are shared, not copied.
			nameChars += name.length;
			if (nameChars > MAX_NAME_CHARS) {
				throw new FormatError(
					'E_LIMIT',
					`The tensor names of ${file} take more than ${MAX_NAME_CHARS} characters once nested keys are joined; no file of weights needs that.`,
				);
			}
			distinct.add(value);
			if (found.size >= ALIAS_FLOOR && found.size >= distinct.size * MAX_ALIASES) {
				throw new FormatError(
					'E_LIMIT',
					`${file} gives more than ${found.size} names to ${distinct.size} tensors, which lie in containers that contain each other again and again; no file of weights needs that.`,
				);
			}
			if (found.has(name)) {
				throw new FormatError(
					'E_NAME_COLLISION',
					`${file} has two tensors that would both be named ${quote(name)} once nested names are joined; rename one of them.`,
					{ at: name },
				);
			}
			found.set(name, value);
			if (value.attributes !== undefined) others.add(`${path}.__dict__`, value.attributes);
		} else if (typeof value === 'object' && value !== null && (counts.get(value)?.paths ?? 0) > 0) {
			stack.push(childrenOf(value, path, name));
		} else {
			others.add(path, value);
		}
	}
}

/** Lazy tensors; the bytes of all views together are held against the bytes of their storages. */
function collect(found: ReadonlyMap<string, PyTensor>, file: string): Map<string, Tensor> {
	const tensors = new Map<string, Tensor>();
	const storages = new Set<string>();
	let bytes = 0;
	let stored = 0;
	for (const value of found.values()) {
		if (!storages.has(value.storage.key)) stored += value.storage.backing.nbytes;
		storages.add(value.storage.key);
		bytes += torchTensorBytes(value);
	}
	if (bytes > VIEW_EXPANSION_FLOOR_BYTES && bytes > stored * MAX_VIEW_EXPANSION) {
		throw new FormatError(
			'E_LIMIT',
			`The tensors of ${file} are views that would take ${bytes} bytes when written out, from ${stored} bytes of storage; that is no file of weights.`,
		);
	}
	for (const [name, value] of found) tensors.set(name, torchTensor(value, name));
	return tensors;
}

/** Values that are no tensors, up to a bound; what is beyond it is counted. */
class NonTensors {
	readonly list: NonTensor[] = [];
	total = 0;

	add(path: string, value: PyValue): void {
		this.total++;
		if (this.list.length < MAX_NON_TENSORS) this.list.push({ path, description: describe(value) });
	}
}

function pushWarnings(
	result: PickleResult,
	nonTensors: readonly NonTensor[],
	warnings: Warning[],
	file: string,
	total = nonTensors.length,
): void {
	const few = (texts: readonly string[], count = texts.length): string =>
		texts.slice(0, 3).join(', ') + (count > 3 ? ` and ${count - 3} more` : '');
	if (total > 0) {
		const shown = few(
			nonTensors.slice(0, 3).map((n) => `${quote(n.path)} (${n.description})`),
			total,
		);
		warnings.push({
			code: 'W_NON_TENSOR',
			message: `${file} holds ${total} Python values that are no tensors and are not carried: ${shown}.`,
		});
	}
	if (result.opaque.length > 0) {
		warnings.push({
			code: 'W_OPAQUE_GLOBAL',
			message: `${file} names Python classes that were not loaded, only noted: ${few(result.opaque)}.`,
		});
	}
	if (result.duplicateKeys.length > 0) {
		warnings.push({
			code: 'W_DUPLICATE_KEY',
			message: `${file} sets a key twice in one dict; the last value counts, as in Python: ${few(result.duplicateKeys.map((k) => quote(k)))}.`,
		});
	}
}

function isTensor(value: PyValue): value is PyTensor {
	return typeof value === 'object' && value !== null && value.t === 'tensor';
}
