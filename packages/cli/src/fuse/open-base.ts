import fs from 'node:fs';
import path from 'node:path';
import {
	type BaseModel,
	type BaseTensorFile,
	type ByteSource,
	baseModel,
	FormatError,
	openStateDict,
	quote,
	SIDECAR_NAME,
} from '@lorakit/format';
import { listTree, openSource, snapshotOfRepoFolder } from '@lorakit/format/node';
import { COMPONENT_FOLDERS, componentOf, configOf } from '../read-base.js';
import { checkIndexes } from './open-base-index.js';

/** A base model that is open for reading; its sources stay open until `close`. */
export interface OpenedBase {
	readonly model: BaseModel;
	/** The folder that was really opened (a snapshot in the Hub's cache), or the file as named. */
	readonly path: string;
	/** By `BaseTensorFile.path`. */
	readonly sources: ReadonlyMap<string, ByteSource>;
	/** Folder: every other file, relative to it with `/`. */
	readonly others: readonly string[];
	/** Folder: of `others`, second copies of weights in another container, and whose: component folder, or undefined for the whole model. */
	readonly copies: ReadonlyMap<string, string | undefined>;
	close(): Promise<void>;
}

/** Weight files in order of preference, and second copies of them. */
const SAFETENSORS = /\.safetensors$/i;
const TORCH = /\.(bin|pt|pth|ckpt)$/i;
const COPIES = /\.(bin|pt|pth|ckpt|msgpack|h5|onnx|onnx_data|pb)$|\.bin\.index(\.[\w-]+)?\.json$/i;

/**
 * Open a base model: a diffusers folder (every component with weights; shards by their index; several variants beside
 * each other are all weights), the folder of one component, or a single-file checkpoint. Headers are read, data not.
 *
 * @throws {FormatError} `E_SHARD_MISSING`; `E_FORMAT` for a folder without weights; `E_CONFIG` for a broken config.json;
 * and those of opening and reading. Everything is closed again then.
 */
export async function openBase(spec: string): Promise<OpenedBase> {
	const sources = new Map<string, ByteSource>();
	const close = async (): Promise<void> => {
		for (const source of sources.values()) await source.close();
	};
	try {
		const isFolder = !spec.includes('://') && fs.statSync(spec, { throwIfNoEntry: false })?.isDirectory() === true;
		return isFolder ? await openFolder(spec, sources, close) : await openFile(spec, sources, close);
	} catch (error) {
		await close();
		throw error;
	}
}

async function openFile(spec: string, sources: Map<string, ByteSource>, close: () => Promise<void>): Promise<OpenedBase> {
	const name = path.basename(spec);
	const source = await openSource(spec);
	sources.set(name, source);
	const state = await openStateDict(source, { values: false });
	const model = baseModel([{ path: name, component: undefined, state }], 'file', name);
	return { model, path: spec, sources, others: [], copies: new Map(), close };
}

async function openFolder(spec: string, sources: Map<string, ByteSource>, close: () => Promise<void>): Promise<OpenedBase> {
	const root = snapshotOfRepoFolder(spec) ?? spec;
	const tree = listTree(root);
	const copies = new Map<string, string | undefined>();
	const weights: { readonly path: string; readonly component: string | undefined }[] = [];
	const configs = new Map<string, unknown>();
	for (const component of COMPONENT_FOLDERS) {
		const own = tree.filter((file) => file.startsWith(`${component}/`) && !file.slice(component.length + 1).includes('/'));
		if (own.length === 0) continue;
		addComponent(own, component, weights, copies);
		configs.set(component, await configOf(path.join(root, component)));
	}
	if (weights.length === 0) {
		const config = await configOf(root);
		const component = componentOf(config);
		addComponent(
			tree.filter((file) => !file.includes('/')),
			component,
			weights,
			copies,
		);
		if (component !== undefined) configs.set(component, config);
	} else {
		// A whole checkpoint beside the components says the same once more.
		for (const file of tree)
			if (!file.includes('/') && !/lora/i.test(file) && (SAFETENSORS.test(file) || TORCH.test(file))) copies.set(file, undefined);
	}
	if (weights.length === 0) {
		throw new FormatError(
			'E_FORMAT',
			`${quote(spec)} holds no base model: none of ${COMPONENT_FOLDERS.join(', ')} is in it, and no weight file; name a diffusers folder or a checkpoint.`,
		);
	}
	const files: BaseTensorFile[] = [];
	for (const { path: file, component } of weights) {
		const source = await openSource(path.join(root, file));
		sources.set(file, source);
		files.push({ path: file, component, state: await openStateDict(source, { values: false }) });
	}
	await checkIndexes(root, tree, files);
	const model = baseModel(files, 'folder', path.basename(path.resolve(spec)), { configs });
	return { model, path: root, sources, others: tree.filter((file) => !sources.has(file)), copies, close };
}

/** The weights of one folder: `.safetensors` where there are any, else torch files. */
function addComponent(
	files: readonly string[],
	component: string | undefined,
	weights: { path: string; component: string | undefined }[],
	copies: Map<string, string | undefined>,
): void {
	const safetensors = files.filter((file) => SAFETENSORS.test(file) && path.posix.basename(file) !== SIDECAR_NAME);
	const chosen = safetensors.length > 0 ? safetensors : files.filter((file) => TORCH.test(file));
	for (const file of chosen) weights.push({ path: file, component });
	if (safetensors.length > 0) for (const file of files) if (COPIES.test(file)) copies.set(file, component);
}
