import path from 'node:path';
import {
	type BaseTensorFile,
	brokenIndex,
	checkShardHolds,
	checkShardIsThere,
	checkShardNumbers,
	FormatError,
	quote,
	shardsOfIndex,
} from '@lorakit/format';
import { readText } from '../open-input.js';

/** `model.safetensors.index.json`, and with a variant `model.safetensors.index.fp16.json`. */
const INDEX = /\.(safetensors|bin)\.index(\.[\w-]+)?\.json$/i;

/**
 * Check models in several files: every shard that an index names is there and holds the tensors it should, and every
 * tensor of a shard is in the index. Without an index the numbers in the names must be complete.
 *
 * @param tree all files of the folder
 * @param files the weight files that were opened
 * @throws {FormatError} `E_SHARD_MISSING`; `E_CONFIG` for an index that is none.
 */
export async function checkIndexes(root: string, tree: readonly string[], files: readonly BaseTensorFile[]): Promise<void> {
	const opened = new Map(files.map((file) => [file.path, file]));
	const folders = new Set(files.map((file) => path.posix.dirname(file.path)));
	const indexed = new Set<string>();
	for (const index of tree) {
		const match = INDEX.exec(index);
		const folder = path.posix.dirname(index);
		if (match === null || !folders.has(folder)) continue;
		// The index of a second copy in torch's container is left out with the copy.
		const own = files.filter((file) => path.posix.dirname(file.path) === folder);
		if (match[1]?.toLowerCase() === 'bin' && own.some((file) => file.path.toLowerCase().endsWith('.safetensors'))) continue;
		for (const [shard, tensors] of shardsOfIndex(parseIndex(await readText(path.join(root, index)), index), index)) {
			const place = folder === '.' ? shard : `${folder}/${shard}`;
			checkShardIsThere(place, index, opened);
			const file = opened.get(place);
			if (file === undefined) continue;
			indexed.add(place);
			checkShardHolds(file, tensors, index);
			checkNamed(file, tensors, index);
		}
	}
	for (const { path: file } of files) if (!indexed.has(file)) checkShardNumbers(file, opened);
}

/** @throws {FormatError} `E_CONFIG`. */
function parseIndex(text: string, index: string): unknown {
	try {
		return JSON.parse(text);
	} catch {
		throw brokenIndex(index, 'it is no JSON');
	}
}

/** Every tensor of a shard is in the index: a fused file would say more than its base's index. */
function checkNamed({ path: shard, state }: BaseTensorFile, named: ReadonlySet<string>, index: string): void {
	for (const name of state.tensors.keys()) {
		if (named.has(name)) continue;
		throw new FormatError(
			'E_SHARD_MISSING',
			`${quote(shard)} holds ${quote(name)}, which ${quote(index)} does not name; fetch both again.`,
			{ at: name },
		);
	}
}
