import type { ByteSource } from '../byte-source.js';
import { FormatError, quote } from '../errors.js';
import { MAX_PICKLE_BYTES, VERIFY_ON_OPEN_BYTES } from '../limits.js';
import { readSmallValues } from '../small-values.js';
import type { StateDict } from '../state-dict.js';
import type { ReadOptions } from './container.js';
import { runPickle } from './pickle-machine.js';
import { readTorchObject } from './torch-object.js';
import { StorageTable } from './torch-persistent.js';
import { InflatedCache, zipStorage } from './torch-storage.js';
import { openZip, type ZipArchive, type ZipEntry } from './zip-read.js';

/**
 * Read a torch zip (`torch.save` since 1.6): names, shapes and lazy tensors. Only the directory, the local headers
 * and `data.pkl` are fetched, and the first `VERIFY_ON_OPEN_BYTES` of content are checked (a small damaged file is
 * found at once); everything else is checked when it is read. Layout: LAYOUTS.md 8.2.
 *
 * @throws {FormatError} `E_ZIP*`, `E_PICKLE_*`, `E_BYTEORDER`, `E_FORMAT`, `E_FORMAT_TORCHSCRIPT`, `E_NO_TENSORS`,
 * `E_UNSUPPORTED_*`, `E_NAME*`, `E_LIMIT`.
 */
export async function readTorchZip(source: ByteSource, options: ReadOptions = {}): Promise<StateDict> {
	const zip = await openZip(source);
	const root = findRoot(zip);
	await checkByteOrder(zip, root);
	const pickle = zip.entries.get(`${root}data.pkl`);
	if (pickle === undefined) throw new FormatError('E_ZIP_MISSING', `${source.name} has no data.pkl; fetch the file again.`);
	const bytes = await zip.read(pickle, MAX_PICKLE_BYTES);
	if (!source.remote) await verifySmall(zip, pickle);
	const cache = new InflatedCache();
	const storages = new StorageTable((id, where) => {
		const entry = zip.entries.get(`${root}data/${id.key}`);
		if (entry === undefined) {
			throw new FormatError(
				'E_ZIP_MISSING',
				`${source.name} lacks the zip entry ${quote(`${root}data/${id.key}`)}, which holds weights; the file is incomplete, fetch it again.`,
				{ at: id.key },
			);
		}
		if (entry.size !== id.nbytes) {
			throw new FormatError(
				'E_PICKLE_TENSOR',
				`${where} says that storage ${quote(id.key)} has ${id.nbytes} bytes, but its zip entry has ${entry.size}; the file is damaged or hostile.`,
				{ at: id.key },
			);
		}
		return zipStorage(zip, entry, cache);
	});
	const result = runPickle(bytes, 0, { what: `data.pkl of ${source.name}`, persistentLoad: (id, where) => storages.load(id, where) });
	const parts = readTorchObject(result, source.name);
	const trailing = bytes.byteLength - result.end;
	const values = options.values ?? !source.remote;
	return {
		container: 'torch-zip',
		name: source.name,
		metadata: new Map(),
		...parts,
		small: values ? await readSmallValues(parts.tensors) : new Map(),
		smallComplete: values,
		warnings:
			trailing === 0
				? parts.warnings
				: [
						...parts.warnings,
						{ code: 'W_TRAILING', message: `data.pkl of ${source.name} has ${trailing} bytes after its end, which are ignored.` },
					],
	};
}

/** The folder (with its slash) that holds `data.pkl`. Any depth: some people zip a folder around it. */
function findRoot(zip: ZipArchive): string {
	const { name } = zip.source;
	const roots: string[] = [];
	for (const entry of zip.entries.keys()) {
		if (/(^|\/)constants\.pkl$/.test(entry) || /^[^/]*\/code\/./.test(entry)) {
			throw new FormatError(
				'E_FORMAT_TORCHSCRIPT',
				`${name} is a TorchScript program (it has ${quote(entry)}), not a file of weights; load it in Python and save its state_dict as safetensors.`,
			);
		}
		if (entry === 'data.pkl' || entry.endsWith('/data.pkl')) roots.push(entry.slice(0, -'data.pkl'.length));
	}
	if (roots.length > 1) {
		throw new FormatError(
			'E_ZIP_AMBIGUOUS',
			`${name} has ${roots.length} entries named data.pkl (${roots
				.slice(0, 2)
				.map((r) => quote(`${r}data.pkl`))
				.join(', ')}); readers would pick different ones.`,
		);
	}
	const [root] = roots;
	if (root !== undefined) return root;
	const first = zip.entries.keys().next();
	if (first.done === true) throw new FormatError('E_ZIP_MISSING', `${name} is an empty zip archive; a torch file has a data.pkl.`);
	for (const entry of zip.entries.keys()) {
		if (/(^|\/)data\/\d+$/.test(entry)) {
			throw new FormatError(
				'E_ZIP_MISSING',
				`${name} has tensor data (${quote(entry)}) but no data.pkl; the file is incomplete, fetch it again.`,
			);
		}
	}
	const what = first.value.endsWith('.npy')
		? 'a numpy .npz archive'
		: `a zip archive that torch did not write (it has ${quote(first.value)})`;
	throw new FormatError('E_FORMAT', `${name} is ${what}; expected a torch file, which has a data.pkl.`);
}

async function checkByteOrder(zip: ZipArchive, root: string): Promise<void> {
	const entry = zip.entries.get(`${root}byteorder`);
	if (entry === undefined) return;
	const text = new TextDecoder().decode(await zip.read(entry, 64)).trim();
	if (text === 'little') return;
	throw new FormatError(
		'E_BYTEORDER',
		`${zip.source.name} says its byte order is ${quote(text)}; only "little" is read. Save it anew on a little-endian machine.`,
	);
}

/** Check content while the budget lasts, in the order of the file: small files entirely, large ones not at all. */
async function verifySmall(zip: ZipArchive, done: ZipEntry): Promise<void> {
	let left = VERIFY_ON_OPEN_BYTES;
	for (const entry of zip.entries.values()) {
		if (entry === done || entry.size === 0 || entry.size > left) continue;
		left -= entry.size;
		await zip.read(entry, entry.size);
	}
}
