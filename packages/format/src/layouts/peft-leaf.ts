import { FormatError, quote } from '../errors.js';
import { type Leaf, splitLeaf } from './leaves.js';

/** A tensor name of PEFT or diffusers taken apart. */
export interface NamedLeaf {
	readonly module: string;
	readonly leaf: Leaf;
	/** Name of the adapter that stands in the leaf of a raw `state_dict()`: `lora_A.default.weight`. */
	readonly adapterName: string | undefined;
}

/** `lora_bias` under diffusers' older leaf names, as convert_state_dict_to_diffusers renames it. */
const UP_BIAS: readonly string[] = ['.lora.up.bias', '.lora_linear_layer.up.bias'];

/**
 * Like `splitLeaf`, and also takes the adapter's name out of the leaf (LAYOUTS §2.11: `….lora_A.NAME.weight`,
 * `….lora_magnitude_vector.NAME.weight`, `….hada_w1_a.NAME`). Names hold no dots: they are keys of torch ModuleDicts.
 */
export function splitNamedLeaf(key: string): NamedLeaf | undefined {
	const plain = splitLeaf(key);
	if (plain !== undefined) return { ...plain, adapterName: undefined };
	for (const suffix of UP_BIAS) {
		if (key.length > suffix.length && key.endsWith(suffix)) {
			const style = suffix === '.lora.up.bias' ? 'diffusers' : 'linear-layer';
			return { module: key.slice(0, -suffix.length), leaf: { suffix, role: 'up_bias', style }, adapterName: undefined };
		}
	}
	const last = key.lastIndexOf('.');
	if (last <= 0) return undefined;
	// The name is the last part, or the one before `.weight` / `.bias`.
	const before = key.lastIndexOf('.', last - 1);
	const tail = key.slice(last);
	if ((tail === '.weight' || tail === '.bias') && before > 0) {
		const split = splitLeaf(key.slice(0, before) + tail);
		if (split !== undefined && isPeft(split.leaf)) return { ...split, adapterName: key.slice(before + 1, last) };
	}
	const split = splitLeaf(key.slice(0, last));
	if (split !== undefined && isPeft(split.leaf)) return { ...split, adapterName: key.slice(last + 1) };
	return undefined;
}

function isPeft(leaf: Leaf): boolean {
	return (leaf.style === 'peft' || leaf.style === 'any') && leaf.role !== 'alpha' && leaf.role !== 'scale';
}

/** The leaf of a PEFT tensor with an adapter's name put back in, where `splitNamedLeaf` took it out. */
export function nameLeaf(suffix: string, adapterName: string | undefined): string {
	if (adapterName === undefined) return suffix;
	for (const tail of ['.weight', '.bias']) if (suffix.endsWith(tail)) return `${suffix.slice(0, -tail.length)}.${adapterName}${tail}`;
	return `${suffix}.${adapterName}`;
}

/**
 * The one adapter to read when names stand in the leaves: the only one, or the one asked for.
 * @throws {FormatError} `E_LORA_MULTIPLE_ADAPTERS` naming them, when nothing says which.
 */
export function chooseAdapter(names: ReadonlySet<string | undefined>, wanted: string | undefined): string | undefined {
	const found = [...names].map((name) => (name === undefined ? 'the unnamed one' : quote(name))).sort();
	if (wanted !== undefined && names.has(wanted)) return wanted;
	const [only] = names;
	if (names.size <= 1 && (wanted === undefined || only === undefined)) return only;
	throw new FormatError(
		'E_LORA_MULTIPLE_ADAPTERS',
		wanted === undefined
			? `This file holds ${names.size} adapters (${found.slice(0, 8).join(', ')}); say which one to read.`
			: `No adapter ${quote(wanted)} in this file; it holds ${found.slice(0, 8).join(', ')}.`,
	);
}
