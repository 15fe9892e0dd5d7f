import { FormatError, quote } from '../errors.js';
import { splitLeaf } from '../modules/checkpoint-names.js';
import { flattenPath } from '../modules/grammar.js';
import { type BaseIndex, indexBase } from './base-index.js';
import type { BaseModel, BaseTensorFile } from './base-model.js';
import type { TensorLeaf } from './place-base-tensor.js';
import { type Segment, type StoredModule, type StoredPart, segmentName } from './stored-part.js';

/** The name of a module as an adapter has it. */
export interface ModuleName {
	readonly component: string;
	readonly path: string;
	/** False: `path` is flattened. */
	readonly resolved: boolean;
}

export interface ModuleSearch {
	/** By `component NUL path` as asked. */
	readonly found: ReadonlyMap<string, StoredModule>;
	/** Asked, and not in the base. */
	readonly missing: readonly ModuleName[];
}

/** The key of `ModuleSearch.found`. */
export function moduleKey({ component, path }: Pick<ModuleName, 'component' | 'path'>): string {
	return `${component}\u0000${path}`;
}

/** A component that says nothing about which part of a pipeline it is: language models, anything of PEFT. */
const ANYTHING = 'model';

/**
 * Where the modules of an adapter are stored in a base. First by the names that our tables place; then, for what no
 * table knows, by the tensors' own names: `PATH.weight` as it stands, or behind one prefix that is the same for all
 * (`model.`, `transformer.`), or for flattened paths by flattening the base's names. Never by splitting at `_`.
 *
 * @throws {FormatError} `E_AMBIGUOUS` when a name fits two tensors, naming both.
 */
export function findModules(base: BaseModel, names: Iterable<ModuleName>): ModuleSearch {
	const index = indexBase(base);
	const found = new Map<string, StoredModule>();
	const open = new Map<string, ModuleName[]>();
	const flat = new Map<string, FlatNames>();
	for (const name of names) {
		const known = name.resolved ? index.find(name.component, name.path) : byFlatName(index, name, flat);
		if (known !== undefined) {
			found.set(moduleKey(name), known);
			continue;
		}
		const list = open.get(name.component);
		if (list === undefined) open.set(name.component, [name]);
		else list.push(name);
	}
	const missing: ModuleName[] = [];
	for (const [component, list] of open) {
		const wanted = new Map(list.map((name) => [name.path, name]));
		const generic = byTensorNames(base, index, component, wanted);
		for (const name of wanted.values()) {
			const module = generic.get(name.path);
			if (module === undefined) missing.push(name);
			else found.set(moduleKey(name), module);
		}
	}
	return { found, missing };
}

type FlatNames = ReadonlyMap<string, readonly string[]>;

function byFlatName(index: BaseIndex, name: ModuleName, cache: Map<string, FlatNames>): StoredModule | undefined {
	let flat = cache.get(name.component);
	if (flat === undefined) {
		flat = flattened(index.paths(name.component));
		cache.set(name.component, flat);
	}
	const [first, second] = flat.get(name.path) ?? [];
	if (second !== undefined && first !== undefined) throw ambiguous(name, first, second);
	return first === undefined ? undefined : index.find(name.component, first);
}

function flattened(paths: Iterable<string>): FlatNames {
	const out = new Map<string, string[]>();
	for (const path of paths) {
		const key = flattenPath(path);
		const known = out.get(key);
		if (known === undefined) out.set(key, [path]);
		else known.push(path);
	}
	return out;
}

function ambiguous({ component, path }: ModuleName, first: string, second: string): FormatError {
	return new FormatError(
		'E_AMBIGUOUS',
		`${quote(`${component} ${path}`)} may be ${quote(first)} or ${quote(second)} of the base; nothing decides, so nothing is changed.`,
		{ at: path },
	);
}

interface Hit {
	readonly file: BaseTensorFile;
	readonly name: string;
	readonly leaf: TensorLeaf;
}

/** prefix -> asked path -> tensors that are it behind that prefix. */
type Hits = Map<string, Map<string, Hit[]>>;

function byTensorNames(
	base: BaseModel,
	index: BaseIndex,
	component: string,
	wanted: ReadonlyMap<string, ModuleName>,
): ReadonlyMap<string, StoredModule> {
	const hits = collect(base, index, component, wanted);
	const prefix = choosePrefix(hits, wanted);
	const out = new Map<string, StoredModule>();
	for (const [path, tensors] of (prefix === undefined ? undefined : hits.get(prefix)) ?? []) {
		const parts = new Map<TensorLeaf, StoredPart>();
		const names = new Map<TensorLeaf, string>();
		for (const { file, name, leaf } of tensors) {
			const tensor = file.state.tensors.get(name);
			if (tensor === undefined) continue;
			const known = names.get(leaf);
			const label = segmentName({ file, name });
			if (known !== undefined) throw ambiguous(wanted.get(path) ?? { component, path, resolved: true }, known, label);
			names.set(leaf, label);
			const rows = tensor.shape[0] ?? 1;
			const segment: Segment = { file, name, tensor, tensorRow: 0, moduleRow: 0, rows };
			parts.set(leaf, { shape: tensor.shape.length === 0 ? [1] : tensor.shape, segments: [segment], transposed: false });
		}
		out.set(path, { component, path, parts });
	}
	return out;
}

function collect(base: BaseModel, index: BaseIndex, component: string, wanted: ReadonlyMap<string, ModuleName>): Hits {
	const hits: Hits = new Map();
	const add = (prefix: string, path: string, hit: Hit): void => {
		const paths = hits.get(prefix) ?? new Map<string, Hit[]>();
		hits.set(prefix, paths);
		const list = paths.get(path);
		if (list === undefined) paths.set(path, [hit]);
		else list.push(hit);
	};
	const folder = base.files.some((f) => f.component === component);
	const isText = (c: string): boolean => c.startsWith('text_encoder');
	// `lora_unet_` is also what trainers put before the modules of transformers.
	const mayShare = (owner: string): boolean =>
		component === ANYTHING || (!isText(owner) && !isText(component) && !index.components.has(component));
	for (const file of base.files) {
		if (folder && file.component !== component) continue;
		if (!folder && file.component !== undefined && component !== ANYTHING) continue;
		for (const name of file.state.tensors.keys()) {
			// What is another component's is never this one's, whatever its name.
			const owner = index.placed.get(segmentName({ file, name }));
			if (owner !== undefined && owner !== component && !mayShare(owner)) continue;
			const split = splitLeaf(name);
			if (split === undefined) continue;
			const { path, leaf } = split;
			for (let at = 0; ; ) {
				const rest = path.slice(at);
				const dotted = wanted.get(rest);
				if (dotted?.resolved === true) add(path.slice(0, at), rest, { file, name, leaf });
				const flat = flattenPath(rest);
				if (wanted.get(flat)?.resolved === false) add(path.slice(0, at), flat, { file, name, leaf });
				const dot = path.indexOf('.', at);
				if (dot < 0) break;
				at = dot + 1;
			}
		}
	}
	return hits;
}

/** The prefix under which most names are found; the empty one before others. @throws {FormatError} `E_AMBIGUOUS` when two are as good. */
function choosePrefix(hits: Hits, wanted: ReadonlyMap<string, ModuleName>): string | undefined {
	let best: string | undefined;
	let tied: string | undefined;
	let most = 0;
	const countOf = (prefix: string): number => hits.get(prefix)?.size ?? 0;
	for (const prefix of hits.keys()) {
		const count = countOf(prefix);
		if (count > most) {
			best = prefix;
			tied = undefined;
			most = count;
		} else if (count === most) tied = prefix;
	}
	if (countOf('') === most && most > 0) return '';
	if (best === undefined || tied === undefined) return best;
	for (const [path, [hit]] of hits.get(best) ?? []) {
		const other = hits.get(tied)?.get(path)?.[0];
		const name = wanted.get(path);
		if (hit !== undefined && other !== undefined && name !== undefined) throw ambiguous(name, segmentName(hit), segmentName(other));
	}
	// Two prefixes with as many names, and no name in common: neither is the one.
	const [[path = '', [hit] = []] = []] = hits.get(best) ?? [];
	const [[, [other] = []] = []] = hits.get(tied) ?? [];
	throw ambiguous(
		wanted.get(path) ?? { component: '', path, resolved: true },
		hit === undefined ? best : segmentName(hit),
		other === undefined ? tied : segmentName(other),
	);
}
