/**
 * The built library as these scripts use it. They test this repository, so they take the modules of `dist` one by one:
 * the reference deltas and the containers' in-memory writers are not part of the public entry.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const DIST = new URL('../../packages/format/dist/', import.meta.url);

if (!existsSync(fileURLToPath(DIST))) {
	console.error('packages/format/dist is not there: run "npm run build" first.');
	process.exit(2);
}

/** @param {string} name module under dist, without extension */
const load = (name) => import(new URL(`${name}.js`, DIST).href);

const [source, containers, loading, detect, convert, families, errors, io, halves, layouts, writing] = await Promise.all([
	load('byte-source'),
	load('containers/index'),
	load('load'),
	load('detect'),
	load('convert'),
	load('families/index'),
	load('errors'),
	load('io/index'),
	load('half'),
	load('layouts/index'),
	load('write'),
]);

export const { bytesSource } = source;
export const { openStateDict } = containers;
export const { loadInput } = loading;
export const { decodeAdapter } = detect;
export const { planConversion } = convert;
export const { deltaOf, needsBase } = families;
export const { FormatError } = errors;
export const { openSource, resolveInput, createNodeSha256 } = io;
export const { decodeFloats } = halves;
export const { LAYOUTS } = layouts;
/** Everything that `write.ts` exports: see `materialise`. */
export const writer = writing;
