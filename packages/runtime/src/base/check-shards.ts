import { type BaseTensorFile, FormatError, quote } from '@lorakit/format';

const SHARD = /^(.*-)(\d{5})-of-(\d{5})(\..*)$/;

/**
 * The shards that an index speaks of, as paths.
 *
 * @throws {FormatError} `E_CONFIG` for an index that is none; `E_SHARD_MISSING` for a shard that is not among `paths`.
 */
export function shardsOfIndex(json: unknown, index: string, paths: readonly string[]): ReadonlyMap<string, ReadonlySet<string>> {
	const broken = (why: string): FormatError => new FormatError('E_CONFIG', `${quote(index)} is no index of shards: ${why}.`, { at: index });
	const map = fieldsOf(fieldsOf(json)?.get('weight_map'));
	if (map === undefined) throw broken('it has no "weight_map"');
	const folder = index.slice(0, index.lastIndexOf('/') + 1);
	const there = new Set(paths);
	const shards = new Map<string, Set<string>>();
	for (const [tensor, shard] of map) {
		if (typeof shard !== 'string' || shard === '' || /[/\\\0]/.test(shard)) throw broken(`${quote(tensor)} is in no file of this folder`);
		const path = folder + shard;
		if (!there.has(path)) throw missing(path, `is named by ${quote(index)}`);
		const own = shards.get(path);
		if (own === undefined) shards.set(path, new Set([tensor]));
		else own.add(tensor);
	}
	if (shards.size === 0) throw broken('it names no tensor');
	return shards;
}

/** Every tensor that the index says is in this shard is. @throws {FormatError} `E_SHARD_MISSING`. */
export function checkShard({ path, state }: BaseTensorFile, named: ReadonlySet<string>, index: string): void {
	for (const name of named) {
		if (state.tensors.has(name)) continue;
		throw new FormatError(
			'E_SHARD_MISSING',
			`${quote(index)} says that ${quote(name)} is in ${quote(path)}, but it is not; fetch both again.`,
			{
				at: name,
			},
		);
	}
}

/** Shards without an index: the numbers in their names must be complete. @throws {FormatError} `E_SHARD_MISSING`. */
export function checkShardNumbers(files: readonly string[]): void {
	const there = new Set(files);
	for (const file of files) {
		const match = SHARD.exec(file);
		if (match === null) continue;
		const [, stem = '', , count = '', rest = ''] = match;
		for (let n = 1; n <= Number(count); n++) {
			const other = `${stem}${String(n).padStart(5, '0')}-of-${count}${rest}`;
			if (!there.has(other)) throw missing(other, `belongs to ${quote(file)}`);
		}
	}
}

function missing(path: string, why: string): FormatError {
	return new FormatError('E_SHARD_MISSING', `${quote(path)} ${why} and is not there; fetch it again.`, { at: path });
}

function fieldsOf(value: unknown): ReadonlyMap<string, unknown> | undefined {
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
	return new Map(Object.entries(value));
}
