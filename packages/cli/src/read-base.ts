import fs from 'node:fs';
import path from 'node:path';
import { type BaseInventory, baseInventoryFromTensors, FormatError, openStateDict, quote } from '@lorakit/format';
import { openSource } from '@lorakit/format/node';
import { readText } from './open-input.js';

/** One file of a base model: names and shapes, and the configuration that lies beside it. */
interface BaseFile {
	readonly component: string | undefined;
	readonly names: readonly (readonly [string, readonly number[]])[];
	readonly config?: unknown;
}

/** Folders of a diffusers model whose weights an adapter can change. */
export const COMPONENT_FOLDERS: readonly string[] = [
	'unet',
	'transformer',
	'transformer_2',
	'text_encoder',
	'text_encoder_2',
	'text_encoder_3',
];
const WEIGHTS: readonly RegExp[] = [/\.safetensors$/i, /\.(bin|pt|pth|ckpt)$/i];

/**
 * Read which modules a base model has, from headers alone: a diffusers folder (`unet/`, `transformer/`,
 * `text_encoder*` with their `config.json`), the folder of one component, or a single-file checkpoint.
 *
 * @throws {FormatError} `E_FORMAT` for a folder without a model, `E_CONFIG` for a broken config.json, and those of reading.
 */
export async function readBase(spec: string): Promise<BaseInventory> {
	const isFolder = !spec.includes('://') && fs.statSync(spec, { throwIfNoEntry: false })?.isDirectory() === true;
	if (!isFolder) return baseInventoryFromTensors([await readFile(spec, undefined, undefined)], spec);
	const files: BaseFile[] = [];
	for (const component of COMPONENT_FOLDERS) {
		const folder = path.join(spec, component);
		if (fs.statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) continue;
		files.push(...(await readComponent(folder, component)));
	}
	if (files.length === 0) {
		const component = componentOf(await configOf(spec));
		files.push(...(await readComponent(spec, component)));
	}
	if (files.length === 0) {
		throw new FormatError(
			'E_FORMAT',
			`${quote(spec)} holds no base model: none of ${COMPONENT_FOLDERS.join(', ')} is in it, and no weight file; name a diffusers folder or a checkpoint.`,
		);
	}
	return baseInventoryFromTensors(files, spec);
}

/** All weight files of one folder; `.safetensors` where there are any. */
async function readComponent(folder: string, component: string | undefined): Promise<BaseFile[]> {
	const names = fs.readdirSync(folder).sort();
	const config = await configOf(folder);
	for (const pattern of WEIGHTS) {
		const found = names.filter((name) => pattern.test(name));
		if (found.length === 0) continue;
		const files: BaseFile[] = [];
		for (const name of found) files.push(await readFile(path.join(folder, name), component, config));
		return files;
	}
	return [];
}

async function readFile(file: string, component: string | undefined, config: unknown): Promise<BaseFile> {
	const source = await openSource(file);
	try {
		const { tensors } = await openStateDict(source, { values: false });
		return { component, names: Array.from(tensors, ([name, { shape }]) => [name, shape] as const), config };
	} finally {
		await source.close();
	}
}

/** The parsed `config.json` of a folder; undefined where there is none. @throws {FormatError} `E_CONFIG`. */
export async function configOf(folder: string): Promise<unknown> {
	const file = path.join(folder, 'config.json');
	if (fs.statSync(file, { throwIfNoEntry: false })?.isFile() !== true) return undefined;
	const text = await readText(file);
	try {
		return JSON.parse(text);
	} catch (error) {
		throw new FormatError('E_CONFIG', `${quote(file)} is no JSON.`, { cause: error });
	}
}

/** The component that a bare folder is, by the class its configuration names. */
export function componentOf(config: unknown): string | undefined {
	if (typeof config !== 'object' || config === null) return undefined;
	const names = new Map(Object.entries(config));
	const name = String(names.get('_class_name') ?? names.get('architectures') ?? '');
	if (/UNet/.test(name)) return 'unet';
	if (/Transformer/.test(name)) return 'transformer';
	if (/TextModelWithProjection/.test(name)) return 'text_encoder_2';
	return /CLIPText|T5|Text/.test(name) ? 'text_encoder' : undefined;
}
