import { FormatError, quote } from '../errors.js';
import { type PlacedWeight, placeCheckpointTensor, weightPath } from './checkpoint-names.js';
import { FLUX_NAMES } from './flux-names.js';
import { guessBase } from './guess-base.js';
import type { BaseInventory, BaseModule, UnetConfig } from './inventory.js';
import { type NamingTable, partRows } from './naming-table.js';
import { SD3_NAMES } from './sd3-names.js';
import { canonicalTextEncoderPath } from './text-encoder-templates.js';
import { transformerDialect } from './transformer-names.js';
import { inferUnetConfig, parseUnetConfig } from './unet-config.js';
import { unetModulesInOrder } from './unet-order.js';
import { WAN_NAMES } from './wan-names.js';

/** The names and shapes of one file of a base model. */
export interface BaseFile {
	/** Its folder in a diffusers model (`unet`, `text_encoder`, ...); undefined for a single-file checkpoint. */
	readonly component: string | undefined;
	readonly names: Iterable<readonly [name: string, shape: readonly number[]]>;
	/** The folder's parsed `config.json`. */
	readonly config?: unknown;
}

/** Registration order inside a CLIP layer (transformers): what index lists follow. */
const CLIP_LAYER = [
	'self_attn.k_proj',
	'self_attn.v_proj',
	'self_attn.q_proj',
	'self_attn.out_proj',
	'layer_norm1',
	'mlp.fc1',
	'mlp.fc2',
	'layer_norm2',
];
const EMBEDDING = /(token_embedding|position_embedding|embed_tokens|relative_attention_bias)$|^shared$/;

/**
 * The modules of a base: a diffusers folder (one entry per component; several files of one component are joined) or
 * a single-file checkpoint in LDM/sgm, OpenCLIP, BFL or Stability names. UNet modules come in `named_modules()`
 * order. Of Flux, SD3 and Wan transformers both namings are listed, so that an adapter in either is found.
 * @throws {FormatError} `E_CONFIG` for a broken UNet config, `E_FORMAT` when nothing in the files is a model we know.
 */
export function baseInventoryFromTensors(files: readonly BaseFile[], name: string): BaseInventory {
	const found = new Map<string, Map<string, readonly number[]>>();
	let config: UnetConfig | undefined;
	for (const file of files) {
		if (file.component === 'unet' && file.config !== undefined && file.config !== null) config = parseUnetConfig(file.config);
		for (const [tensor, shape] of file.names) {
			for (const { component, path, shape: weight } of place(file.component, tensor, shape)) {
				const known = found.get(component);
				if (known === undefined) found.set(component, new Map([[path, weight]]));
				else known.set(path, weight);
			}
		}
	}
	if (found.size === 0) {
		throw new FormatError(
			'E_FORMAT',
			`${quote(name)} holds no tensor of a model we know; give a diffusers folder or a checkpoint of the base model.`,
		);
	}
	const components = new Map<string, readonly BaseModule[]>();
	for (const [component, shapes] of found) {
		const modules = Array.from(shapes, ([path, shape]) => moduleOf(path, shape));
		if (component === 'unet') {
			config ??= inferUnetConfig(modules);
			components.set(component, config === undefined ? modules : inUnetOrder(modules, config));
		} else if (component.startsWith('text_encoder')) components.set(component, inClipOrder(modules));
		else if (component.startsWith('transformer')) components.set(component, inBothNamings(modules));
		else components.set(component, modules);
	}
	return { name, family: familyOf(components), components, unetConfig: config };
}

function place(component: string | undefined, name: string, shape: readonly number[]): readonly PlacedWeight[] {
	if (component === undefined) return placeCheckpointTensor(name, shape);
	const path = weightPath(name);
	if (path === undefined) return [];
	if (!component.startsWith('text_encoder')) return [{ component, path, shape }];
	return [{ component, path: canonicalTextEncoderPath(path)?.path ?? path, shape }];
}

function moduleOf(path: string, shape: readonly number[]): BaseModule {
	return { path, kind: kindOf(path, shape), shape };
}

function kindOf(path: string, shape: readonly number[]): BaseModule['kind'] {
	if (EMBEDDING.test(path)) return 'embedding';
	if (shape.length === 1) return 'norm';
	if (shape.length === 2) return 'linear';
	return shape.length === 4 ? 'conv2d' : 'other';
}

function inUnetOrder(modules: readonly BaseModule[], config: UnetConfig): readonly BaseModule[] {
	const left = new Map(modules.map((m) => [m.path, m]));
	const ordered: BaseModule[] = [];
	for (const { path } of unetModulesInOrder(config, 'new')) {
		const module = left.get(path);
		if (module === undefined) continue;
		ordered.push(module);
		left.delete(path);
	}
	return [...ordered, ...left.values()];
}

function inClipOrder(modules: readonly BaseModule[]): readonly BaseModule[] {
	const place = ({ path }: BaseModule): readonly [number, number] => {
		const match = /^text_model\.encoder\.layers\.(\d{1,6})\.(.+)$/.exec(path);
		if (match === null) return [path.startsWith('text_model.embeddings.') ? -1 : Number.MAX_SAFE_INTEGER, 0];
		return [Number(match[1]), CLIP_LAYER.indexOf(match[2] ?? '')];
	};
	const placed = modules.map((module) => ({ module, at: place(module) }));
	return placed.sort((a, b) => a.at[0] - b.at[0] || a.at[1] - b.at[1]).map(({ module }) => module);
}

/** Modules of a transformer under both its namings: fused weights cut into parts, complete parts joined. */
function inBothNamings(modules: readonly BaseModule[]): readonly BaseModule[] {
	const dialect = transformerDialect(modules.map((m) => m.path));
	const table = dialect === undefined ? undefined : tableOf(dialect.family);
	if (dialect === undefined || table === undefined) return modules;
	const shapes = new Map(modules.map((m) => [m.path, m.shape]));
	for (const { path, shape } of modules) {
		const [rows = 0, ...rest] = shape;
		if (dialect.naming !== 'diffusers') {
			const named = table.byNative(path);
			const heights = named === undefined ? undefined : partRows(named.rule, named.parts.length, rows, shape[1]);
			for (const [n, part] of (named?.parts ?? []).entries())
				if (heights !== undefined && !shapes.has(part)) shapes.set(part, [heights[n] ?? 0, ...rest]);
			continue;
		}
		const named = table.byDiffusers(path);
		if (named === undefined || shapes.has(named.native)) continue;
		const parts = named.parts.map((part) => shapes.get(part)?.[0]);
		if (parts.every((p) => p !== undefined)) shapes.set(named.native, [parts.reduce((sum, p) => sum + p, 0), ...rest]);
	}
	return Array.from(shapes, ([path, shape]) => moduleOf(path, shape));
}

function tableOf(family: string): NamingTable | undefined {
	if (family === 'flux' || family === 'chroma') return FLUX_NAMES;
	if (family === 'sd3') return SD3_NAMES;
	return family === 'wan' ? WAN_NAMES : undefined;
}

function familyOf(components: ReadonlyMap<string, readonly BaseModule[]>): string {
	const modules = Array.from(components, ([component, list]) =>
		list.map(({ path, shape }) => ({ component, path, naming: 'diffusers' as const, inFeatures: shape[1], outFeatures: shape[0] })),
	);
	return guessBase({ modules: modules.flat(), metadata: new Map() }).family;
}
