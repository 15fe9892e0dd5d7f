import path from 'node:path';
import { type BaseTensorFile, FormatError, quote } from '@lorakit/format';
import { readText } from '../open-input.js';

/** `model.safetensors.index.json`, and with a variant `model.safetensors.index.fp16.json`. */
const INDEX = /\.(safetensors|bin)\.index(\.[\w-]+)?\.json$/i;
const SHARD = /^(.*)-(\d{5})-of-(\d{5})(\..*)$/;

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
		for (const [shard, tensors] of shardsOf(await readText(path.join(root, index)), index)) {
			const place = folder === '.' ? shard : `${folder}/${shard}`;
			const file = opened.get(place);
			if (file === undefined) {
				throw new FormatError('E_SHARD_MISSING', `${quote(place)} is named by ${quote(index)} and is not there; fetch it again.`, {
					at: place,
				});
			}
			indexed.add(place);
			checkTensors(file, tensors, index);
		}
	}
	for (const { path: file } of files) if (!indexed.has(file)) checkNumbers(file, opened);
}

/** Tensor names by shard. @throws {FormatError} `E_CONFIG`. */
function shardsOf(text: string, index: string): ReadonlyMap<string, ReadonlySet<string>> {
	const broken = (why: string): FormatError => new FormatError('E_CONFIG', `${quote(index)} is no index of shards: ${why}.`, { at: index });
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch {
		throw broken('it is no JSON');
	}
	const map = fieldsOf(fieldsOf(value)?.get('weight_map'));
	if (map === undefined) throw broken('it has no "weight_map"');
	const shards = new Map<string, Set<string>>();
	for (const [tensor, shard] of map) {
		if (typeof shard !== 'string' || shard === '' || /[/\\\0]/.test(shard)) throw broken(`${quote(tensor)} is in no file of this folder`);
		const own = shards.get(shard);
		if (own === undefined) shards.set(shard, new Set([tensor]));
		else own.add(tensor);
	}
	return shards;
}

function fieldsOf(value: unknown): ReadonlyMap<string, unknown> | undefined {
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
	return new Map(Object.entries(value));
}

function checkTensors({ path: shard, state }: BaseTensorFile, named: ReadonlySet<string>, index: string): void {
	for (const name of named) {
		if (state.tensors.has(name)) continue;
		throw new FormatError(
			'E_SHARD_MISSING',
			`${quote(index)} says that ${quote(name)} is in ${quote(shard)}, but it is not; fetch both again.`,
			{
				at: name,
			},
		);
	}
	for (const name of state.tensors.keys()) {
		if (named.has(name)) continue;
		throw new FormatError(
			'E_SHARD_MISSING',
			`${quote(shard)} holds ${quote(name)}, which ${quote(index)} does not name; fetch both again.`,
			{
				at: name,
			},
		);
	}
}

/** `NAME-00001-of-00003.safetensors` without an index: 2 and 3 must be there too. */
function checkNumbers(file: string, opened: ReadonlyMap<string, unknown>): void {
	const match = SHARD.exec(file);
	if (match === null) return;
	const [, stem = '', , count = '', extension = ''] = match;
	for (let n = 1; n <= Number(count); n++) {
		const other = `${stem}-${String(n).padStart(5, '0')}-of-${count}${extension}`;
		if (!opened.has(other))
			throw new FormatError('E_SHARD_MISSING', `${quote(other)} belongs to ${quote(file)} and is not there; fetch it again.`, {
				at: other,
			});
	}
}
