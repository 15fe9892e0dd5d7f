import { FormatError, quote } from '../errors.js';
import type { BaseTensorFile } from './base-model.js';

const SHARD = /^(.*)-(\d{5})-of-(\d{5})(\..*)$/;

/**
 * Tensor names by shard, as an index says them; shards are names of files beside it.
 * @param json the parsed `model.safetensors.index.json`
 * @param index its path, for messages
 * @throws {FormatError} `E_CONFIG` for an index that is none.
 */
export function shardsOfIndex(json: unknown, index: string): ReadonlyMap<string, ReadonlySet<string>> {
	const map = fieldsOf(fieldsOf(json)?.get('weight_map'));
	if (map === undefined) throw brokenIndex(index, 'it has no "weight_map"');
	const shards = new Map<string, Set<string>>();
	for (const [tensor, shard] of map) {
		if (typeof shard !== 'string' || shard === '' || /[/\\\0]/.test(shard)) {
			throw brokenIndex(index, `${quote(tensor)} is in no file of this folder`);
		}
		const own = shards.get(shard);
		if (own === undefined) shards.set(shard, new Set([tensor]));
		else own.add(tensor);
	}
	return shards;
}

/** The refusal of an index. */
export function brokenIndex(index: string, why: string): FormatError {
	return new FormatError('E_CONFIG', `${quote(index)} is no index of shards: ${why}.`, { at: index });
}

/** A shard that an index names must be there. @throws {FormatError} `E_SHARD_MISSING`. */
export function checkShardIsThere(path: string, index: string, there: { has(path: string): boolean }): void {
	if (!there.has(path)) throw missing(path, `is named by ${quote(index)}`);
}

/** Every tensor that the index says is in this shard is. @throws {FormatError} `E_SHARD_MISSING`. */
export function checkShardHolds({ path, state }: BaseTensorFile, named: Iterable<string>, index: string): void {
	for (const name of named) {
		if (state.tensors.has(name)) continue;
		throw new FormatError(
			'E_SHARD_MISSING',
			`${quote(index)} says that ${quote(name)} is in ${quote(path)}, but it is not; fetch both again.`,
			{ at: name },
		);
	}
}

/** `NAME-00001-of-00003.safetensors` without an index: 2 and 3 must be there too. @throws {FormatError} `E_SHARD_MISSING`. */
export function checkShardNumbers(file: string, there: { has(path: string): boolean }): void {
	const match = SHARD.exec(file);
	if (match === null) return;
	const [, stem = '', , count = '', rest = ''] = match;
	for (let n = 1; n <= Number(count); n++) {
		const other = `${stem}-${String(n).padStart(5, '0')}-of-${count}${rest}`;
		if (!there.has(other)) throw missing(other, `belongs to ${quote(file)}`);
	}
}

function missing(path: string, why: string): FormatError {
	return new FormatError('E_SHARD_MISSING', `${quote(path)} ${why} and is not there; fetch it again.`, { at: path });
}

function fieldsOf(value: unknown): ReadonlyMap<string, unknown> | undefined {
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
	return new Map(Object.entries(value));
}
