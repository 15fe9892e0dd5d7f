import { escapeControls, FormatError } from '../errors.js';
import { MAX_TENSORS, MAX_WALK_DEPTH, MAX_WALK_NODES } from '../limits.js';
import { type PyValue, typeName } from './pickle-value.js';

/** What is known about one container. */
export interface Count {
	/** Paths from it to tensors (saturating just above `MAX_TENSORS`). */
	readonly paths: number;
}

/** Every container that was reached. */
export type Counts = ReadonlyMap<PyValue, Count>;

/** One value inside a container. */
export interface Child {
	/** Tensor name; undefined below a key that cannot be part of one. */
	readonly name: string | undefined;
	/** For people, cut when absurdly long: `callbacks[0].name`. */
	readonly path: string;
	readonly value: PyValue;
}

/**
 * Count the paths to tensors below every container, each container visited once however often it is shared: a
 * pickle of a few bytes can describe 2^60 paths.
 *
 * @throws {FormatError} `E_LIMIT` for too many values or for tensors nested too deeply, `E_PICKLE_CYCLE` when a
 * container with tensors contains itself.
 */
export function countTensors(root: PyValue, file: string): Counts {
	const nodes = new Map<PyValue, Node>();
	/** Containers that were met again while still open. */
	const cyclic = new Set<PyValue>();
	const stack: Node[] = [];
	let visited = 0;
	const enter = (value: PyValue): void => {
		const node: Node = { value, children: valuesOf(value), next: 0, open: true, paths: 0, height: 0 };
		nodes.set(value, node);
		stack.push(node);
	};
	if (isContainer(root)) enter(root);
	for (let node = stack[stack.length - 1]; node !== undefined; node = stack[stack.length - 1]) {
		if (node.next >= node.children.length) {
			stack.pop();
			node.open = false;
			node.children = NOTHING;
			const parent = stack[stack.length - 1];
			if (parent !== undefined) absorb(parent, node.paths, node.height);
			continue;
		}
		if (++visited > MAX_WALK_NODES) {
			throw new FormatError('E_LIMIT', `${file} holds more than ${MAX_WALK_NODES} Python values; no file of weights needs that.`);
		}
		const child = node.children[node.next++] ?? null;
		if (typeof child !== 'object' || child === null) continue;
		if (child.t === 'tensor') absorb(node, 1, 0);
		if (!isContainer(child)) continue;
		const known = nodes.get(child);
		if (known === undefined) enter(child);
		else if (known.open) cyclic.add(child);
		else absorb(node, known.paths, known.height);
	}
	for (const value of cyclic) {
		if ((nodes.get(value)?.paths ?? 0) > 0) {
			throw new FormatError(
				'E_PICKLE_CYCLE',
				`${file} has a ${typeName(value)} with tensors that contains itself, so that its tensors have endless names.`,
			);
		}
	}
	if ((nodes.get(root)?.height ?? 0) > MAX_WALK_DEPTH) {
		throw new FormatError('E_LIMIT', `${file} nests tensors deeper than ${MAX_WALK_DEPTH} containers; no file of weights needs that.`);
	}
	return nodes;
}

/** A container while and after it is counted. One small object each: there may be millions. */
interface Node {
	readonly value: PyValue;
	children: readonly PyValue[];
	next: number;
	open: boolean;
	paths: number;
	/** Containers on the longest way to a tensor; 0 without one. */
	height: number;
}

const NOTHING: readonly PyValue[] = [];

function absorb(node: Node, paths: number, height: number): void {
	if (paths === 0) return;
	node.paths = Math.min(node.paths + paths, MAX_TENSORS + 1);
	node.height = Math.max(node.height, height + 1);
}

function isContainer(value: PyValue): boolean {
	return (
		typeof value === 'object' && value !== null && (value.t === 'dict' || value.t === 'list' || value.t === 'tuple' || value.t === 'set')
	);
}

function valuesOf(value: PyValue): readonly PyValue[] {
	if (typeof value !== 'object' || value === null) return NOTHING;
	if (value.t === 'list' || value.t === 'tuple' || value.t === 'set') return value.items;
	if (value.t !== 'dict') return NOTHING;
	const inner: PyValue[] = [];
	for (const entry of value.entries?.values() ?? []) inner.push(entry.value);
	if (value.attributes !== undefined) inner.push(value.attributes);
	return inner;
}

/** What lies directly inside a container, with its names. */
export function* childrenOf(value: PyValue, path: string, name: string | undefined = ''): Generator<Child, void, undefined> {
	if (typeof value !== 'object' || value === null) return;
	const join = (part: string | undefined): string | undefined =>
		name === undefined || part === undefined ? undefined : name === '' && path === '' ? part : `${name}.${part}`;
	// Cut once for all children: ten thousand paths below a key of a megabyte would be ten gigabytes.
	const shown = cutPath(path);
	if (value.t === 'list' || value.t === 'tuple' || value.t === 'set') {
		for (const [k, item] of value.items.entries()) yield { name: join(String(k)), path: `${shown}[${k}]`, value: item };
		return;
	}
	if (value.t !== 'dict') return;
	for (const { key, value: inner } of value.entries?.values() ?? []) {
		const text = typeof key === 'string' ? key : typeof key === 'number' || typeof key === 'bigint' ? String(key) : undefined;
		const label = text === undefined ? `<${describe(key)}>` : cutPath(text);
		yield { name: join(text), path: path === '' ? label : `${shown}.${label}`, value: inner };
	}
	if (value.attributes !== undefined) {
		yield { name: join('__dict__'), path: path === '' ? '__dict__' : `${shown}.__dict__`, value: value.attributes };
	}
}

/** Longest path that is kept whole. Real ones have some dozens of characters. */
const MAX_PATH_CHARS = 1000;

function cutPath(path: string): string {
	return path.length > MAX_PATH_CHARS ? `${path.slice(0, MAX_PATH_CHARS)}...` : path;
}

/** Short text about a value: `int 17`, `str "lora"`, `OrderedDict of 3`. */
export function describe(value: PyValue): string {
	const cut = (text: string): string => escapeControls(text.length > 40 ? `${text.slice(0, 37)}...` : text);
	if (value === null) return 'None';
	if (typeof value === 'boolean') return `bool ${value ? 'True' : 'False'}`;
	if (typeof value === 'number' || typeof value === 'bigint') return `int ${cut(String(value))}`;
	if (typeof value === 'string') return `str "${cut(value)}"`;
	switch (value.t) {
		case 'float':
			return `float ${value.value}`;
		case 'bytes':
			return `${value.bytes.byteLength} bytes`;
		case 'list':
		case 'tuple':
		case 'set':
			return `${value.t} of ${value.items.length}`;
		case 'dict':
			return `${value.type} of ${value.entries?.size ?? 0}`;
		case 'global':
			return `class ${cut(value.module)}.${cut(value.name)}`;
		case 'opaque':
			return cut(value.text);
		case 'storage':
			return `storage of ${value.nbytes} bytes`;
		case 'tensor':
			return `tensor (${value.size.join(', ')})`;
	}
}
