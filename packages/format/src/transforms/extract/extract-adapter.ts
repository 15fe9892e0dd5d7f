import type { Naming, TargetModule } from '../../adapter.js';
import { indexBase } from '../../bases/base-index.js';
import type { BaseModel } from '../../bases/base-model.js';
import type { StoredModule, StoredPart } from '../../bases/stored-part.js';
import { dtypeBits } from '../../dtype.js';
import { FormatError, quote, type Warning } from '../../errors.js';
import { guessBaseOf } from '../../layouts/shared.js';
import type { BaseModule } from '../../modules/inventory.js';
import { tensorChunks } from '../../tensor.js';
import { readStoredPart } from '../diff/energy-base.js';
import { checkRank, checkRankRule } from '../resize/choose-rank.js';
import { extractProduct, fullPart } from './extract-module.js';
import type { ExtractedModule, Extraction, ExtractOptions } from './extract-types.js';

/** Modules of attention: UNets, transformers, text encoders. */
const ATTENTION: RegExp =
	/(^|\.)(attn\d*|attentions?|self_attn|cross_attn|attn_\w+)\.|(^|\.)(to_[qkv]|to_out\.0|to_qkv|qkv|[qkv]_proj|out_proj)$/;

/**
 * The difference of two models of one kind as an adapter: TUNED minus BASE, each matrix by its best approximation
 * of the rank asked for, alpha = rank (scaling 1). Streams: one weight of each model is in memory at a time, beside
 * the factors that will be written.
 *
 * @throws {FormatError} `E_EMPTY_ADAPTER` (the models are the same in all that could be carried), `E_BASE_MISMATCH` (they are
 *   of different kinds), `E_RANK`, `E_NONFINITE`, `E_UNSUPPORTED_DTYPE`, and those of reading.
 */
export async function extractAdapter(tuned: BaseModel, base: BaseModel, options: ExtractOptions): Promise<Extraction> {
	checkOptions(options);
	const { work, extra } = modulesOfBoth(tuned, base);
	const total = work.reduce((sum, item) => sum + bytesOf(item), 0);
	const modules: TargetModule[] = [];
	const reports: ExtractedModule[] = [];
	const notCarried: string[] = [...extra];
	let unchanged = 0;
	let done = 0;
	for (const item of work) {
		const found = await extractModule(item, options);
		modules.push(...found.modules);
		reports.push(...found.reports);
		notCarried.push(...found.notCarried);
		if (found.modules.length + found.notCarried.length === 0) unchanged++;
		done += bytesOf(item);
		options.onProgress?.(done, total);
	}
	notCarried.push(...(await otherTensors(tuned, base)));
	if (modules.length === 0) throw nothing(tuned, base, unchanged, notCarried);
	const naming = namingOf(modules);
	return {
		adapter: {
			naming,
			modules,
			embeddings: [],
			metadata: new Map(),
			consumed: [],
			form: new Map(),
			unknown: new Map(),
			dead: new Map(),
			base: guessBaseOf(modules, naming, new Map()),
			source: { layout: 'extract', container: 'memory', name: tuned.name },
			warnings: [],
		},
		modules: reports,
		notCarried,
		unchanged,
		warnings: notCarriedWarning(notCarried, options.fullRest === true),
	};
}

function checkOptions({ rule, maxRank, convRank }: ExtractOptions): void {
	checkRankRule(rule);
	if (maxRank !== undefined) checkRank(maxRank);
	if (convRank !== undefined) checkRank(convRank);
}

interface Work {
	readonly component: string;
	readonly module: BaseModule;
	readonly tuned: StoredModule;
	readonly base: StoredModule;
}

/** What is compared, and the tensors of either that the other lacks (modules that TUNED alone has, biases), which no difference can say. */
function modulesOfBoth(tuned: BaseModel, base: BaseModel): { readonly work: readonly Work[]; readonly extra: readonly string[] } {
	const [of, from] = [indexBase(tuned), indexBase(base)];
	const out: Work[] = [];
	const extra: string[] = [];
	for (const [component, list] of base.inventory.components) {
		if (!tuned.inventory.components.has(component)) continue;
		const missing: string[] = [];
		for (const module of list) {
			const [a, b] = [of.find(component, module.path), from.find(component, module.path)];
			if (b === undefined) continue;
			if (a === undefined) {
				missing.push(module.path);
				continue;
			}
			checkShapes(component, module.path, a, b, tuned, base);
			out.push({ component, module, tuned: a, base: b });
			for (const leaf of new Set([...a.parts.keys(), ...b.parts.keys()]))
				if (a.parts.has(leaf) !== b.parts.has(leaf)) extra.push(`${component} ${module.path}.${leaf}`);
		}
		for (const { path } of tuned.inventory.components.get(component) ?? [])
			if (from.find(component, path) === undefined) extra.push(`${component} ${path}.weight`);
		if (missing.length > 0) {
			throw new FormatError(
				'E_BASE_MISMATCH',
				`${quote(tuned.name)} lacks ${missing.length} of ${list.length} ${component} modules of ${quote(base.name)}, first ${quote(missing[0] ?? '')}; both must be models of one kind.`,
				{ at: missing[0] },
			);
		}
	}
	if (out.length === 0) {
		const names = (model: BaseModel): string => [...model.inventory.components.keys()].join(', ') || 'nothing known';
		throw new FormatError(
			'E_BASE_MISMATCH',
			`${quote(tuned.name)} (${names(tuned)}) and ${quote(base.name)} (${names(base)}) have no component in common, so there is no difference to extract.`,
		);
	}
	return { work: out, extra };
}

function checkShapes(component: string, path: string, a: StoredModule, b: StoredModule, tuned: BaseModel, base: BaseModel): void {
	for (const [leaf, part] of b.parts) {
		const other = a.parts.get(leaf);
		// A 1 x 1 convolution and a linear layer are one weight; a transposed one is another.
		if (other === undefined || (other.shape[0] === part.shape[0] && elements(other.shape) === elements(part.shape))) continue;
		throw new FormatError(
			'E_BASE_MISMATCH',
			`${component} ${quote(`${path}.${leaf}`)} is (${other.shape.join(', ')}) in ${quote(tuned.name)} and (${part.shape.join(', ')}) in ${quote(base.name)}; both must be models of one kind.`,
			{ at: path },
		);
	}
}

/** Bytes to read. */
function bytesOf({ tuned, base }: Work): number {
	let sum = 0;
	for (const part of [...tuned.parts.values(), ...base.parts.values()])
		sum += (elements(part.shape) * dtypeBits(part.segments[0]?.tensor.dtype ?? 'F32')) / 8;
	return sum;
}

interface Found {
	readonly modules: readonly TargetModule[];
	readonly reports: readonly ExtractedModule[];
	readonly notCarried: readonly string[];
}

async function extractModule(work: Work, options: ExtractOptions): Promise<Found> {
	const { component, module } = work;
	const where = `${component} ${module.path}`;
	const weight = await differenceOf(where, work, 'weight');
	const bias = await differenceOf(where, work, 'bias');
	if (weight === undefined && bias === undefined) return { modules: [], reports: [], notCarried: [] };
	const matrix = module.kind === 'linear' || module.kind === 'conv2d' || (module.kind === 'other' && module.shape.length === 2);
	if (weight !== undefined && matrix && isWanted(where, module, options.only)) {
		const result = extractProduct(
			{ component, path: module.path, shape: module.shape, difference: weight.values, dtype: options.dtype ?? weight.dtype },
			options,
		);
		// A module is a product or a full difference: readers know no both.
		return { modules: [result.module], reports: [result.report], notCarried: bias === undefined ? [] : [`${where}.bias`] };
	}
	const names = [...(weight === undefined ? [] : [`${where}.weight`]), ...(bias === undefined ? [] : [`${where}.bias`])];
	const skipped = weight !== undefined && matrix;
	if (options.fullRest !== true || skipped) return { modules: [], reports: [], notCarried: names };
	const dtype = options.dtype ?? weight?.dtype ?? bias?.dtype ?? 'F32';
	const norm = module.kind === 'norm';
	const parts = { weight: weight?.values, bias: bias?.values };
	const result = fullPart({ component, path: module.path, shape: module.shape, norm, dtype }, parts);
	return { modules: [result.module], reports: [result.report], notCarried: [] };
}

/** TUNED minus BASE in doubles; undefined when every element is equal, or one lacks the tensor. */
async function differenceOf(
	where: string,
	work: Work,
	leaf: 'weight' | 'bias',
): Promise<{ readonly values: Float64Array; readonly dtype: 'F16' | 'BF16' | 'F32' } | undefined> {
	const [a, b] = [work.tuned.parts.get(leaf), work.base.parts.get(leaf)];
	if (a === undefined || b === undefined) return undefined;
	const values = await readStoredPart(a);
	const from = await readStoredPart(b);
	let changed = false;
	for (let i = 0; i < values.length; i++) {
		const d = (values[i] ?? 0) - (from[i] ?? 0);
		values[i] = d;
		if (d !== 0) changed = true;
		if (!Number.isFinite(d)) {
			throw new FormatError(
				'E_NONFINITE',
				`${where}.${leaf} differs by ${d} at element ${i}: one of the models holds values that are NaN or infinite.`,
				{
					at: work.module.path,
				},
			);
		}
	}
	return changed ? { values, dtype: narrow(a) } : undefined;
}

function narrow(part: StoredPart): 'F16' | 'BF16' | 'F32' {
	const dtype = part.segments[0]?.tensor.dtype;
	return dtype === 'F16' || dtype === 'BF16' ? dtype : 'F32';
}

function isWanted(where: string, module: BaseModule, only: ExtractOptions['only']): boolean {
	if (only === undefined || only === 'all') return true;
	return only === 'attention' ? ATTENTION.test(module.path) && module.shape.slice(2).every((d) => d === 1) : only(where);
}

/** Tensors of the same name that are no module's, and differ: compared byte by byte. */
async function otherTensors(tuned: BaseModel, base: BaseModel): Promise<string[]> {
	const out: string[] = [];
	const placed = indexBase(base).placed;
	for (const file of base.files) {
		const other = tuned.kind === 'file' && base.kind === 'file' ? tuned.files[0] : tuned.files.find((f) => f.path === file.path);
		if (other === undefined) continue;
		for (const [name, tensor] of file.state.tensors) {
			if (placed.has(`${file.path}:${name}`)) continue;
			const twin = other.state.tensors.get(name);
			if (twin === undefined || twin.nbytes !== tensor.nbytes || twin.dtype !== tensor.dtype) continue;
			const [one, two] = [tensorChunks(tensor), tensorChunks(twin)];
			for (;;) {
				const [x, y] = [await one.next(), await two.next()];
				if (x.done === true || y.done === true) break;
				if (sameBytes(x.value, y.value)) continue;
				out.push(name);
				break;
			}
		}
	}
	return out;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
	return a.byteLength === b.byteLength && a.every((x, i) => x === b[i]);
}

function nothing(tuned: BaseModel, base: BaseModel, unchanged: number, notCarried: readonly string[]): FormatError {
	const [first] = notCarried;
	const text =
		first === undefined
			? `${quote(tuned.name)} and ${quote(base.name)} are the same model: all ${unchanged} modules are equal, so there is nothing to extract.`
			: `What differs between ${quote(tuned.name)} and ${quote(base.name)} is nothing that was asked for: ${notCarried.length} tensors, first ${quote(first)}; pass --only all, or --full-rest.`;
	return new FormatError('E_EMPTY_ADAPTER', text, { at: first });
}

function notCarriedWarning(names: readonly string[], fullRest: boolean): Warning[] {
	const [first] = names;
	if (first === undefined) return [];
	const shown = names.slice(0, 3).map(quote).join(', ');
	return [
		{
			code: 'W_LOSS',
			message: `${names.length} tensors differ and are not in the adapter: ${shown}${names.length > 3 ? ', ...' : ''}${fullRest ? '' : '; --full-rest carries norms, biases and embeddings'}.`,
			at: first,
		},
	];
}

function namingOf(modules: readonly TargetModule[]): Naming {
	const ours = modules.filter((m) => m.component.startsWith('transformer'));
	if (ours.length === 0) return 'diffusers';
	if (ours.some((m) => /^(double|single)_blocks\./.test(m.path))) return 'bfl';
	if (ours.some((m) => m.path.startsWith('joint_blocks.'))) return 'sai';
	return ours.some((m) => /^(single_)?transformer_blocks\./.test(m.path)) ? 'diffusers' : 'native';
}

function elements(shape: readonly number[]): number {
	return shape.reduce((n, d) => n * d, 1);
}
