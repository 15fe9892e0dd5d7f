import { brokenIndex, checkShardIsThere, shardsOfIndex } from '@lorakit/format';

/**
 * The shards that an index speaks of, as paths of the tree.
 * @throws {FormatError} `E_CONFIG` for an index that is none; `E_SHARD_MISSING` for a shard that is not among `paths`.
 */
export function shardPaths(json: unknown, index: string, paths: readonly string[]): ReadonlyMap<string, ReadonlySet<string>> {
	const folder = index.slice(0, index.lastIndexOf('/') + 1);
	const there = new Set(paths);
	const shards = new Map(Array.from(shardsOfIndex(json, index), ([shard, tensors]) => [folder + shard, tensors]));
	for (const path of shards.keys()) checkShardIsThere(path, index, there);
	if (shards.size === 0) throw brokenIndex(index, 'it names no tensor');
	return shards;
}
