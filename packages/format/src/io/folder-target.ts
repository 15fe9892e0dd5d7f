import fs from 'node:fs';
import path from 'node:path';
import { FormatError } from '../errors.js';
import { SIDECAR_NAME } from '../transforms/unfuse/sidecar.js';
import { quotePath, writeError } from './io-error.js';
import { existsError } from './output-target.js';

/** A folder that may be written. */
export interface FolderTarget {
	/** As the caller spelled it. */
	readonly given: string;
	/** The real folder: what a symbolic link points to, without a slash at the end. */
	readonly folder: string;
	/** Whether something is there that will be replaced. */
	readonly exists: boolean;
}

/** Files that say "this folder is a model", so that `--force` never takes away anything else. */
const MODEL_FILES: readonly string[] = ['model_index.json', 'config.json', SIDECAR_NAME];

/**
 * Decide whether the folder `target` may be written, before any work is done. An empty folder is taken; one with a
 * model in it is replaced with `force`; any other is never touched.
 *
 * @param inputs paths that are read: the output may not be one of them, lie in one, or hold one
 * @throws {FormatError} `E_OUTPUT_IS_INPUT`, `E_OUTPUT_EXISTS`, `E_IO` (a file is there, no such parent).
 */
export function checkFolderTarget(target: string, force: boolean, inputs: readonly string[]): FolderTarget {
	if (target === '') throw new FormatError('E_IO', 'The output has an empty name; give the name of a folder.');
	try {
		return inspect(target, force, inputs);
	} catch (error) {
		throw writeError(error, target);
	}
}

function inspect(target: string, force: boolean, inputs: readonly string[]): FolderTarget {
	const plain = path.resolve(target);
	const parent = path.dirname(plain);
	if (fs.statSync(parent, { throwIfNoEntry: false })?.isDirectory() !== true) {
		throw new FormatError('E_IO', `${quotePath(target)} cannot be written: the folder ${quotePath(parent)} does not exist.`);
	}
	const entry = fs.lstatSync(plain, { throwIfNoEntry: false });
	const folder = entry === undefined ? path.join(fs.realpathSync(parent), path.basename(plain)) : fs.realpathSync(plain);
	for (const input of inputs) {
		const real = fs.realpathSync(input);
		if (real === folder)
			throw new FormatError('E_OUTPUT_IS_INPUT', `${quotePath(target)} is the same folder as the input; name another output.`);
		if (isInside(folder, real))
			throw new FormatError('E_OUTPUT_IS_INPUT', `${quotePath(target)} lies inside the input ${quotePath(input)}; name another output.`);
		if (entry !== undefined && isInside(real, folder)) {
			throw new FormatError(
				'E_OUTPUT_IS_INPUT',
				`${quotePath(target)} holds the input ${quotePath(input)}, which would be lost; name another output.`,
			);
		}
	}
	if (entry === undefined) return { given: target, folder, exists: false };
	if (!fs.statSync(folder).isDirectory())
		throw new FormatError('E_IO', `${quotePath(target)} is a file; the output of a folder is a folder.`);
	const names = fs.readdirSync(folder);
	if (names.length === 0) return { given: target, folder, exists: true };
	if (!force) throw existsError(target);
	if (!names.some((name) => MODEL_FILES.includes(name))) {
		throw new FormatError(
			'E_OUTPUT_EXISTS',
			`${quotePath(target)} is there and does not look like a model (none of ${MODEL_FILES.slice(0, 2).join(', ')} is in it), so not even --force replaces it; name another output.`,
		);
	}
	return { given: target, folder, exists: true };
}

/** True when `inner` is `outer` or below it; both real paths. */
function isInside(inner: string, outer: string): boolean {
	const relative = path.relative(outer, inner);
	return relative === '' || (!relative.startsWith(`..${path.sep}`) && relative !== '..' && !path.isAbsolute(relative));
}
