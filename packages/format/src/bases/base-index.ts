import { FormatError, quote } from '../errors.js';
import type { BaseModel } from './base-model.js';
import { otherNaming } from './both-namings.js';
import { placeBaseTensor, type TensorLeaf } from './place-base-tensor.js';
import { type Segment, type StoredModule, type StoredPart, segmentName } from './stored-part.js';

/** Every module that the names of a base's tensors say. */
export interface BaseIndex {
	/** Components in which a module was found. */
	readonly components: ReadonlySet<string>;
	/** Module paths of one component; empty for a component that is not there. */
	paths(component: string): Iterable<string>;
	/** @throws {FormatError} `E_AMBIGUOUS` when two tensors are the same part of this module. */
	find(component: string, path: string): StoredModule | undefined;
	/** Names of tensors (`FILE:NAME`) that are some module's, and of which component. */
	readonly placed: ReadonlyMap<string, string>;
}

const INDEXES = new WeakMap<BaseModel, BaseIndex>();

/** The index of a base; built once. */
export function indexBase(base: BaseModel): BaseIndex {
	let index = INDEXES.get(base);
	if (index === undefined) {
		index = build(base);
		INDEXES.set(base, index);
	}
	return index;
}

function build(base: BaseModel): BaseIndex {
	const components = new Map<string, Map<string, Map<TensorLeaf, StoredPart>>>();
	const clashes = new Map<string, readonly [string, string]>();
	const placed = new Map<string, string>();
	for (const file of base.files) {
		for (const [name, tensor] of file.state.tensors) {
			for (const { component, path, leaf, shape, rows, transposed } of placeBaseTensor(file.component, name, tensor.shape)) {
				placed.set(segmentName({ file, name }), component);
				const [from, to] = rows ?? [0, (transposed ? tensor : { shape }).shape[0] ?? 1];
				if (!Number.isInteger(from) || !Number.isInteger(to)) continue;
				const segment: Segment = { file, name, tensor, tensorRow: from, moduleRow: 0, rows: to - from };
				const modules = components.get(component) ?? new Map<string, Map<TensorLeaf, StoredPart>>();
				components.set(component, modules);
				const parts = modules.get(path) ?? new Map<TensorLeaf, StoredPart>();
				modules.set(path, parts);
				const known = parts.get(leaf)?.segments[0];
				if (known === undefined) parts.set(leaf, { shape: shape.length === 0 ? [1] : shape, segments: [segment], transposed });
				else clashes.set(`${component}\u0000${path}`, [segmentName(known), segmentName(segment)]);
			}
		}
	}
	for (const [component, modules] of components) {
		if (!component.startsWith('transformer')) continue;
		for (const [path, parts] of otherNaming(modules)) modules.set(path, new Map(parts));
	}
	return {
		components: new Set(components.keys()),
		paths: (component) => components.get(component)?.keys() ?? [],
		find(component, path) {
			const clash = clashes.get(`${component}\u0000${path}`);
			if (clash !== undefined) {
				throw new FormatError(
					'E_AMBIGUOUS',
					`${quote(`${component} ${path}`)} is two tensors of ${base.name}: ${quote(clash[0])} and ${quote(clash[1])}; leave one of them out.`,
					{ at: clash[1] },
				);
			}
			const parts = components.get(component)?.get(path);
			return parts === undefined ? undefined : { component, path, parts };
		},
		placed,
	};
}
