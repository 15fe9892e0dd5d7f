/**
 * The built library as these scripts use it: its two public entries, and the number decoder and hashes, which are not public.
 * Under vitest the sources take the place of the build, so that a test never judges a stale one.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const FROM_SOURCE = process.env.VITEST !== undefined;
const ROOT = new URL(`../../packages/format/${FROM_SOURCE ? 'src' : 'dist'}/`, import.meta.url);
const EXTENSION = FROM_SOURCE ? 'ts' : 'js';

if (!existsSync(fileURLToPath(new URL(`index.${EXTENSION}`, ROOT)))) {
	console.error('packages/format/dist is not there: run "npm run build" first.');
	process.exit(2);
}

/** @param {string} name module under the root, without extension */
const load = (name) => import(/* @vite-ignore */ new URL(`${name}.${EXTENSION}`, ROOT).href);

const [format, node, half, files, refresh, sshs] = await Promise.all([
	load('index'),
	load('io/index'),
	load('half'),
	load('hashes/file-hashes'),
	load('hashes/refresh-hashes'),
	load('hashes/sshs'),
]);

export const { FormatError, LAYOUTS, baseInventoryFromTensors, bytesSource, decodeAdapter, deltaOf, loadInput, needsBase } = format;
export const { bytesTensor, openStateDict, planConversion, renameNaming, safetensorsBytes } = format;
export const { openSource, resolveInput } = node;
export const { decodeFloats } = half;

/** Header entries of a file with those that are hashes of it made true, as every writing makes them. @param {object} dict a StateDict */
export async function trueMetadata(dict) {
	if (!files.HASH_KEYS.some((key) => dict.metadata.has(key))) return dict.metadata;
	return refresh.refreshHashes(dict.metadata, await sshs.sshsHashes(dict, format.createSha256)).metadata;
}

/**
 * The bytes of one planned file, as writing it to disk makes them.
 *
 * @param {import('../../packages/format/dist/index.js').PlannedFile} file
 * @returns {Promise<Uint8Array>}
 */
export async function plannedFileBytes(file) {
	const pieces = [];
	await format.writePlannedFile(file, {
		async write(bytes) {
			pieces.push(bytes.slice());
		},
	});
	return new Uint8Array(Buffer.concat(pieces));
}
