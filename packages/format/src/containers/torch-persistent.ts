import { FormatError, quote } from '../errors.js';
import { type PyStorage, type PyValue, typeName } from './pickle-value.js';
import type { TorchDType } from './torch-dtype.js';
import type { StorageBacking } from './torch-storage.js';

/** A persistent id, checked: `("storage", StorageClass, key, location, numel[, view])`. */
export interface StorageId {
	readonly key: string;
	/** Undefined: untyped, counted in bytes. */
	readonly dtype: TorchDType | undefined;
	readonly nbytes: number;
	/** Legacy only: (offset, size) in elements of a storage that is part of another. */
	readonly view: { readonly offset: number; readonly size: number } | undefined;
}

/**
 * Take a persistent id apart.
 * @throws {FormatError} `E_PICKLE_PERSID` for what torch never writes, `E_PICKLE_TENSOR` for impossible sizes,
 * `E_UNSUPPORTED_TENSOR` for a storage on the meta device.
 */
export function parseStorageId(id: PyValue, where: string): StorageId {
	const fail = (what: string): FormatError =>
		new FormatError('E_PICKLE_PERSID', `${where} has a persistent id with ${what}; torch writes none like it, so the file is refused.`);
	if (typeof id !== 'object' || id === null || id.t !== 'tuple') throw fail(`the type ${typeName(id)}`);
	const [kind, type, key, location, numel, view] = id.items;
	if (kind !== 'storage' || id.items.length < 5 || id.items.length > 6) throw fail('another form than a storage has');
	if (typeof key !== 'string' || !/^[A-Za-z0-9_-]{1,200}$/.test(key)) {
		throw fail(`the storage key ${typeof key === 'string' ? quote(key) : `of type ${typeName(key ?? null)}`}`);
	}
	if (typeof location !== 'string') throw fail(`a location of type ${typeName(location ?? null)}`);
	const bad = (what: string): FormatError =>
		new FormatError('E_PICKLE_TENSOR', `${where} has storage ${quote(key)} with ${what}; the file is damaged or hostile.`, { at: key });
	if (typeof type !== 'object' || type === null || type.t !== 'global' || type.role.kind !== 'storage') {
		throw bad(`the class ${typeName(type ?? null)}, which is no storage`);
	}
	if (location === 'meta') {
		throw new FormatError(
			'E_UNSUPPORTED_TENSOR',
			`${where} has storage ${quote(key)} on the meta device, which has no values; save real weights.`,
			{ at: key },
		);
	}
	const { dtype } = type.role;
	const nbytes = typeof numel === 'number' && numel >= 0 ? numel * (dtype?.bytes ?? 1) : Number.NaN;
	if (!Number.isSafeInteger(nbytes)) throw bad('an impossible number of elements');
	return { key, dtype, nbytes, view: view === undefined || view === null ? undefined : parseView(view, bad) };
}

function parseView(view: PyValue, bad: (what: string) => FormatError): { readonly offset: number; readonly size: number } {
	if (typeof view !== 'object' || view === null || view.t !== 'tuple' || view.items.length !== 3)
		throw bad(`view data of type ${typeName(view)}`);
	const [, offset, size] = view.items;
	if (typeof offset !== 'number' || typeof size !== 'number' || offset < 0 || size < 0) throw bad('an impossible view');
	return { offset, size };
}

/**
 * The storages of one file by key. The same key must mean the same storage everywhere: two sizes or two types
 * for it are how a reader is made to take one kind of number for another.
 */
export class StorageTable {
	readonly #byKey = new Map<string, { readonly id: StorageId; readonly backing: StorageBacking }>();
	readonly #open: (id: StorageId, where: string) => StorageBacking;

	/** @param open finds the bytes of a storage that is met for the first time, and checks its size against the file */
	constructor(open: (id: StorageId, where: string) => StorageBacking) {
		this.#open = open;
	}

	/** Storages met so far, in order of first use. */
	get ids(): ReadonlyMap<string, StorageId> {
		return new Map([...this.#byKey].map(([key, { id }]) => [key, id]));
	}

	/** @throws {FormatError} as `parseStorageId`, and what `open` throws. */
	load(value: PyValue, where: string): PyStorage {
		const id = parseStorageId(value, where);
		const fail = (what: string): FormatError =>
			new FormatError('E_PICKLE_TENSOR', `${where} ${what} storage ${quote(id.key)}; the file is damaged or hostile.`, { at: id.key });
		let known = this.#byKey.get(id.key);
		if (known === undefined) {
			known = { id, backing: this.#open(id, where) };
			this.#byKey.set(id.key, known);
		} else if (known.id.nbytes !== id.nbytes || known.id.dtype !== id.dtype) {
			throw fail(
				`describes as ${id.nbytes} bytes of ${id.dtype?.name ?? 'untyped'}, earlier as ${known.id.nbytes} bytes of ${known.id.dtype?.name ?? 'untyped'},`,
			);
		}
		const { backing } = known;
		if (id.view === undefined) return { t: 'storage', key: id.key, dtype: id.dtype, start: 0, nbytes: id.nbytes, backing };
		const unit = id.dtype?.bytes ?? 1;
		const start = id.view.offset * unit;
		const nbytes = id.view.size * unit;
		if (!Number.isSafeInteger(start + nbytes) || start + nbytes > id.nbytes) throw fail('has a view that leaves');
		return { t: 'storage', key: id.key, dtype: id.dtype, start, nbytes, backing };
	}
}
