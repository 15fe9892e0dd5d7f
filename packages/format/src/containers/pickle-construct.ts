import { FormatError, quote } from '../errors.js';
import { rebuildTensor } from './pickle-rebuild.js';
import { dictKey, type PyDict, type PyGlobal, type PyValue, typeName } from './pickle-value.js';

/** What the machine lends to the constructors. */
export interface ConstructHost {
	/** Names the pickle and the byte, for messages. */
	where(): string;
	/** Put an entry into a dict, within the budgets. */
	setItem(dict: PyDict, key: PyValue, value: PyValue): void;
	/** Charge containers (and values that are copied into new ones) to the budget. */
	charge(units: number): void;
	/** Charge bytes made of a string to the string budget: a remembered string can be asked for again and again. */
	chargeBytes(count: number): void;
}

/**
 * The "call" of an allowed global: REDUCE and NEWOBJ end here, and all that runs is below.
 *
 * @throws {FormatError} `E_PICKLE_OPCODE` for a call that no pickler writes, `E_PICKLE_GLOBAL` for `_codecs.encode`
 * with another codec than latin1, `E_PICKLE_TENSOR` for impossible tensors.
 */
export function construct(callee: PyGlobal, args: readonly PyValue[], host: ConstructHost): PyValue {
	const { role } = callee;
	switch (role.kind) {
		case 'rebuild':
			host.charge(1);
			return rebuildTensor(role.how, args, host.where());
		case 'dict':
			return makeDict(callee, role.type, args, host);
		case 'set': {
			const [items] = args;
			host.charge(1);
			if (args.length === 0) return { t: 'set', items: [] };
			if (args.length === 1 && isObject(items) && (items.t === 'list' || items.t === 'tuple' || items.t === 'set')) {
				host.charge(items.items.length);
				return { t: 'set', items: [...items.items] };
			}
			throw odd(callee, host);
		}
		case 'size': {
			const [items] = args;
			if (args.length === 0) return { t: 'tuple', items: [] };
			if (args.length === 1 && isObject(items) && (items.t === 'tuple' || items.t === 'list')) {
				host.charge(1 + items.items.length);
				return { t: 'tuple', items: [...items.items] };
			}
			throw odd(callee, host);
		}
		case 'device':
			host.charge(1);
			return { t: 'opaque', text: `torch.device ${args.slice(0, 2).map(shortWord).filter(Boolean).join(':')}` };
		case 'layout':
			host.charge(1);
			return { t: 'opaque', text: `torch layout ${shortWord(args[0])}` };
		case 'complex':
			host.charge(1);
			return { t: 'opaque', text: 'complex number' };
		case 'codecs-encode':
			return encode(args, host);
		case 'bytes':
			return makeBytes(callee, args, host);
		case 'opaque':
			host.charge(1);
			return { t: 'opaque', text: `instance of ${callee.module}.${callee.name}` };
		case 'tensor-class':
			// Parameter(tensor) as very old torch wrote it.
			if (args.length >= 1 && isObject(args[0]) && args[0].t === 'tensor') return args[0];
			throw odd(callee, host);
		default:
			throw odd(callee, host);
	}
}

function makeDict(callee: PyGlobal, type: PyDict['type'], args: readonly PyValue[], host: ConstructHost): PyDict {
	host.charge(1);
	const dict: PyDict = { t: 'dict', type, entries: undefined, attributes: undefined };
	// defaultdict(factory) and its entries come by SETITEMS; Counter({...}); OrderedDict([[k, v], ...]) in Python 2.
	const content = type === 'defaultdict' ? args[1] : args[0];
	if (args.length > (type === 'defaultdict' ? 2 : 1)) throw odd(callee, host);
	if (type === 'defaultdict' && args[0] !== undefined && args[0] !== null && !(isObject(args[0]) && args[0].t === 'global'))
		throw odd(callee, host);
	if (content === undefined) return dict;
	if (isObject(content) && content.t === 'dict') {
		for (const { key, value } of content.entries?.values() ?? []) host.setItem(dict, key, value);
		return dict;
	}
	if (!isObject(content) || (content.t !== 'list' && content.t !== 'tuple')) throw odd(callee, host);
	for (const pair of content.items) {
		if (!isObject(pair) || (pair.t !== 'list' && pair.t !== 'tuple') || pair.items.length !== 2) throw odd(callee, host);
		host.setItem(dict, pair.items[0] ?? null, pair.items[1] ?? null);
	}
	return dict;
}

/** `_codecs.encode(text, "latin1")` is how protocol 2 spells bytes; any other codec is somebody's trick. */
function encode(args: readonly PyValue[], host: ConstructHost): PyValue {
	const [text, codec] = args;
	if (args.length !== 2 || typeof text !== 'string' || codec !== 'latin1') {
		throw new FormatError(
			'E_PICKLE_GLOBAL',
			`${host.where()} calls _codecs.encode with ${typeof codec === 'string' ? quote(codec) : 'other arguments'}; only text with "latin1", the spelling of bytes, is allowed.`,
			{ at: '_codecs.encode' },
		);
	}
	host.chargeBytes(text.length);
	const bytes = new Uint8Array(text.length);
	for (let k = 0; k < text.length; k++) {
		const code = text.charCodeAt(k);
		if (code > 255) throw new FormatError('E_PICKLE_CORRUPT', `${host.where()} spells bytes with the character ${quote(text.charAt(k))}.`);
		bytes[k] = code;
	}
	host.charge(1);
	return { t: 'bytes', bytes };
}

function makeBytes(callee: PyGlobal, args: readonly PyValue[], host: ConstructHost): PyValue {
	if (args.length === 0) return { t: 'bytes', bytes: new Uint8Array(0) };
	if (args.length === 1 && isObject(args[0]) && args[0].t === 'bytes') return args[0];
	if (args.length === 2 && (args[1] === 'latin-1' || args[1] === 'latin1')) return encode([args[0] ?? null, 'latin1'], host);
	throw odd(callee, host);
}

/** BUILD: attributes of a dict (`_metadata` of a module's state dict is dropped: it holds versions only). */
export function build(target: PyValue, state: PyValue, host: ConstructHost): void {
	if (isObject(target) && target.t === 'opaque') return;
	const first: PyValue | undefined = isObject(state) && state.t === 'tuple' ? state.items[0] : state;
	if (!isObject(target) || target.t !== 'dict' || target.type === 'dict' || !isObject(first) || first.t !== 'dict') {
		throw new FormatError(
			'E_PICKLE_OPCODE',
			`${host.where()} sets attributes on a value of type ${typeName(target)}, which weights never need; the file is refused.`,
		);
	}
	for (const { key, value } of first.entries?.values() ?? []) {
		if (key === '_metadata') continue;
		target.attributes ??= { t: 'dict', type: 'dict', entries: undefined, attributes: undefined };
		host.setItem(target.attributes, key, value);
	}
}

/** Key for an entry. @throws {FormatError} `E_PICKLE_CORRUPT` for what Python cannot hash. */
export function checkedKey(key: PyValue, where: string): unknown {
	const k = dictKey(key);
	if (k === undefined) {
		throw new FormatError('E_PICKLE_CORRUPT', `${where} uses a ${typeName(key)} as a dict key, which Python cannot have written.`);
	}
	return k;
}

/** A device or layout as the text of a placeholder. Cut, because it is copied once per call. */
function shortWord(value: PyValue | undefined): string {
	return typeof value === 'string' ? value.slice(0, 40) : typeof value === 'number' ? String(value) : '';
}

function odd(callee: PyGlobal, host: ConstructHost): FormatError {
	return new FormatError(
		'E_PICKLE_OPCODE',
		`${host.where()} calls ${callee.module}.${callee.name} in a way that no pickle of weights does; the file is refused.`,
		{ at: `${callee.module}.${callee.name}` },
	);
}

function isObject(value: PyValue | undefined): value is Extract<PyValue, object> {
	return typeof value === 'object' && value !== null;
}
