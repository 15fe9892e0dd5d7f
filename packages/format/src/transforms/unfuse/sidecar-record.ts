import { FormatError, quote } from '../../errors.js';
import type { SidecarAdapter, SidecarAdapterFile, SidecarFile, SidecarHash, SidecarRecord, SidecarTensor } from './sidecar.js';

/** A JSON value, looked at with care: never a property look-up with a name that may be `__proto__`. */
type Fields = ReadonlyMap<string, unknown>;

/**
 * The record of a sidecar from its JSON. Fields that are not known are passed over.
 * @param where names the sidecar in messages
 * @throws {FormatError} `E_SIDECAR` for anything but a record of version 1.
 */
export function parseSidecarRecord(text: string, where: string): SidecarRecord {
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch (error) {
		throw new FormatError('E_SIDECAR', `The record in ${where} is no JSON; the sidecar is damaged.`, { cause: error });
	}
	const check = createChecks(where);
	const top = check.fields(value, 'record');
	if (top.get('kind') !== 'lorakit.unfuse') throw check.broken('kind', 'is not "lorakit.unfuse"');
	if (top.get('unfuse') !== 1) throw check.broken('unfuse', 'is not version 1; use the lorakit that wrote it');
	const base = top.get('base');
	if (base !== 'folder' && base !== 'file') throw check.broken('base', 'is neither "folder" nor "file"');
	const files = check.list(top.get('files'), 'files').map((item, i) => file(check, item, `files[${i}]`));
	if (new Set(files.map(({ path }) => path)).size !== files.length) throw check.broken('files', 'names a file twice');
	if (base === 'file' && files.length !== 1) throw check.broken('files', `has ${files.length} files instead of one`);
	return {
		kind: 'lorakit.unfuse',
		unfuse: 1,
		tool: check.text(top.get('tool'), 'tool'),
		version: check.text(top.get('version'), 'version'),
		base,
		adapters: check.list(top.get('adapters'), 'adapters').map((item, i) => adapter(check, item, `adapters[${i}]`)),
		files,
	};
}

function adapter(check: Checks, value: unknown, at: string): SidecarAdapter {
	const fields = check.fields(value, at);
	const order = fields.get('order');
	if (order !== null && order !== 'old' && order !== 'new') throw check.broken(`${at}.order`, 'is neither "old", "new" nor null');
	const components: [string, number][] = [];
	for (const [key, number] of check.fields(fields.get('components'), `${at}.components`))
		components.push([key, check.finite(number, `${at}.components`)]);
	const textEncoder = fields.get('textEncoder');
	const blocks = fields.get('blocks');
	const config = fields.get('config');
	return {
		name: check.text(fields.get('name'), `${at}.name`),
		scale: check.finite(fields.get('scale'), `${at}.scale`),
		components: Object.fromEntries(components),
		blocks: blocks === null ? null : check.text(blocks, `${at}.blocks`),
		layout: check.text(fields.get('layout'), `${at}.layout`),
		order,
		repair: fields.get('repair') === true,
		main: adapterFile(check, fields.get('main'), `${at}.main`),
		textEncoder: textEncoder === null ? null : adapterFile(check, textEncoder, `${at}.textEncoder`),
		config: config === null ? null : check.text(config, `${at}.config`),
	};
}

function adapterFile(check: Checks, value: unknown, at: string): SidecarAdapterFile {
	const fields = check.fields(value, at);
	return { name: check.text(fields.get('name'), `${at}.name`), bytes: check.text(fields.get('bytes'), `${at}.bytes`) };
}

function file(check: Checks, value: unknown, at: string): SidecarFile {
	const fields = check.fields(value, at);
	const tensors = check.list(fields.get('tensors'), `${at}.tensors`).map((item, i) => tensor(check, item, `${at}.tensors[${i}]`));
	if (new Set(tensors.map(({ name }) => name)).size !== tensors.length) throw check.broken(`${at}.tensors`, 'names a tensor twice');
	return {
		path: check.text(fields.get('path'), `${at}.path`),
		base: hash(check, fields.get('base'), `${at}.base`),
		fused: hash(check, fields.get('fused'), `${at}.fused`),
		header: check.text(fields.get('header'), `${at}.header`),
		tensors,
	};
}

function tensor(check: Checks, value: unknown, at: string): SidecarTensor {
	const fields = check.fields(value, at);
	const mode = fields.get('mode');
	if (mode !== 'delta' && mode !== 'codes') throw check.broken(`${at}.mode`, 'is neither "delta" nor "codes"');
	const residual = fields.get('residual');
	return {
		name: check.text(fields.get('name'), `${at}.name`),
		mode,
		residual: residual === null ? null : check.text(residual, `${at}.residual`),
	};
}

function hash(check: Checks, value: unknown, at: string): SidecarHash {
	const fields = check.fields(value, at);
	const sha256 = check.text(fields.get('sha256'), `${at}.sha256`);
	if (!/^[0-9a-f]{64}$/.test(sha256)) throw check.broken(`${at}.sha256`, 'is no SHA-256');
	const bytes = check.finite(fields.get('bytes'), `${at}.bytes`);
	if (!Number.isSafeInteger(bytes) || bytes < 0) throw check.broken(`${at}.bytes`, 'is no size');
	return { sha256, bytes };
}

interface Checks {
	broken(at: string, why: string): FormatError;
	fields(value: unknown, at: string): Fields;
	list(value: unknown, at: string): readonly unknown[];
	text(value: unknown, at: string): string;
	finite(value: unknown, at: string): number;
}

function createChecks(where: string): Checks {
	const broken = (at: string, why: string): FormatError =>
		new FormatError('E_SIDECAR', `The record in ${where} is damaged: ${quote(at)} ${why}.`, { at });
	return {
		broken,
		fields(value, at) {
			if (typeof value !== 'object' || value === null || Array.isArray(value)) throw broken(at, 'is no object');
			return new Map(Object.entries(value));
		},
		list(value, at) {
			if (!Array.isArray(value)) throw broken(at, 'is no list');
			return value;
		},
		text(value, at) {
			if (typeof value !== 'string') throw broken(at, 'is no text');
			return value;
		},
		finite(value, at) {
			if (typeof value !== 'number' || !Number.isFinite(value)) throw broken(at, 'is no number');
			return value;
		},
	};
}
