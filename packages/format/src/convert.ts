import type { Adapter, Naming, TargetModule } from './adapter.js';
import { convertKeep } from './convert-keep.js';
import { type Decoded, decodeAdapter, detectLayout } from './detect.js';
import { FormatError, quote, type Warning } from './errors.js';
import { findLayout } from './layouts/index.js';
import type { Encoded, EncodedFile, EncodeOptions, Layout, LayoutInput, Loss } from './layouts/layout.js';
import { scaledModules } from './layouts/shared.js';
import { embeddingFiles } from './layouts/textual-inversion.js';
import { soloInput } from './load.js';
import { buildReceipt, type Receipt } from './receipt.js';
import type { StateDict } from './state-dict.js';
import { createTally, type Tally } from './tally.js';
import { originsOf } from './tensor.js';
import { type CastDType, castAdapter } from './transforms/cast-adapter.js';
import { foldScaling } from './transforms/fold-scaling.js';
import { withLinear1Qkv, withWholeLinear1 } from './transforms/naming/linear1-qkv.js';
import { renameNaming } from './transforms/naming/rename-naming.js';
import { checkAgainstBase, resolveWithBase } from './transforms/resolve-with-base.js';

/** Containers we write. */
export type OutputContainer = 'safetensors' | 'torch-zip';

export interface ConvertOptions {
	/** Target layout id or alias, or `keep` (change the container alone). */
	readonly to: string;
	/** Overrules detection. */
	readonly from?: string | undefined;
	/** Default `safetensors`. */
	readonly container?: OutputContainer | undefined;
	readonly dtype?: CastDType | undefined;
	/** Default `keep`: the target's own slot. */
	readonly alpha?: EncodeOptions['alpha'] | undefined;
	readonly order?: 'old' | 'new' | undefined;
	readonly adapterName?: string | undefined;
	readonly repair?: boolean | undefined;
	readonly allowLoss?: boolean | undefined;
	/** Parts to leave out because the user asked for it; each tensor of them is named as lost in the receipt, and a warning says so. */
	readonly without?: readonly LeftOut[] | undefined;
}

/** What `without` can leave out. */
export type LeftOut = 'text-encoder' | 'embeddings';

/** One file to write, tensors still lazy. `suffix` '' is OUT itself; see `EncodedFile`. */
export interface PlannedFile extends EncodedFile {
	readonly container: OutputContainer;
	/** True for suffixes that replace OUT's extension (`.text_encoder.pt`, `_emb.safetensors`). */
	readonly beside: boolean;
}

/** A conversion, decided and accounted for, nothing written yet. */
export interface ConversionPlan {
	readonly from: string;
	readonly to: string;
	readonly files: readonly PlannedFile[];
	/** Name -> text of files beside OUT (`adapter_config.json`). */
	readonly sideFiles: ReadonlyMap<string, string>;
	readonly receipt: Receipt;
	readonly warnings: readonly Warning[];
	/** The adapter as decoded; undefined for `keep`. */
	readonly decoded: Decoded | undefined;
	/** What only the data tells: values that rounding made 0 or Inf. Call it after the files were written. */
	tally(): readonly Warning[];
}

/**
 * Decide a conversion: container -> layout -> Adapter -> transforms -> layout. No data but scalars is read; the
 * plan's tensors are read or computed when its files are written (`write.ts`).
 *
 * @throws {FormatError} what reading and decoding throw; `E_LOSS`, `E_UNSUPPORTED_ADAPTER`, `E_UNKNOWN_KEY`,
 *   `E_ALPHA_NO_SLOT`, `E_MODULE_UNRESOLVED` when something would be lost and `allowLoss` is not set.
 */
export function planConversion(input: LayoutInput, options: ConvertOptions): ConversionPlan {
	const container = options.container ?? 'safetensors';
	if (options.to === 'keep') return convertKeep(input, { ...options, container });
	writableLayout(options.to, container);
	return planDecoded(decodeAdapter(input, options), options);
}

/** The layout to write, and its writing half. @throws {FormatError} `E_USAGE`. */
function writableLayout(
	to: string,
	container: OutputContainer,
): { readonly target: Layout; readonly encode: NonNullable<Layout['encode']> } {
	const target = findLayout(to, container);
	const { encode } = target;
	if (encode === undefined) throw new FormatError('E_USAGE', `${quote(target.id)} can be read but not written; choose another --to.`);
	return { target, encode };
}

/**
 * The second half of `planConversion`: an adapter that is decoded (or was made: `planAdapter`) -> transforms -> layout.
 * `options.to` must be a layout. Accounts for every tensor of `decoded.input`. @throws {FormatError} as `planConversion`.
 */
export function planDecoded(decoded: Decoded, options: ConvertOptions): ConversionPlan {
	const container = options.container ?? 'safetensors';
	const { target, encode } = writableLayout(options.to, container);
	const tally = createTally();
	const { adapter: whole, left } = leaveOut(decoded.adapter, options.without ?? []);
	const adapter = transform({ ...decoded, adapter: whole }, target, options, tally);
	const encoded = encode(adapter, { container, alpha: options.alpha ?? 'keep', order: options.order });
	const files = plannedFiles(encoded, adapter, container);
	const receipt = buildReceipt({
		input: decoded.layout.configured === true ? decoded.input : { ...decoded.input, config: undefined },
		layoutFrom: decoded.layout.id,
		layoutTo: target.id,
		adapter: decoded.adapter,
		encoded: { ...encoded, losses: [...encoded.losses, ...left] },
		files,
	});
	const warnings = [...adapter.warnings, ...encoded.warnings, ...deadWarning(decoded.adapter)];
	if (encoded.embeddingsBeside && adapter.embeddings.length > 0) {
		warnings.push({
			code: 'W_EMBEDDING_BESIDE',
			message: `${target.id} has no place for embeddings: ${adapter.embeddings.map((e) => quote(e.token)).join(', ')} go to files beside OUT and are found again on reading.`,
		});
	}
	const [leftFirst] = left;
	if (leftFirst !== undefined) {
		warnings.push({
			code: 'W_LOSS',
			message: `${left.length} tensors are left out as asked, first ${quote(leftFirst.what)}.`,
			at: leftFirst.what,
		});
	}
	const named = { ...encoded, losses: [...encoded.losses, ...left] };
	const losses = [...encoded.losses, ...unaccounted(receipt, named, decoded.adapter), ...misread(files, encoded, target)];
	if (losses.length > 0) {
		if (options.allowLoss !== true) throw refusal(target, adapter, losses);
		for (const loss of losses) warnings.push({ code: 'W_LOSS', message: `Lost: ${quote(loss.what)}: ${loss.why}`, at: loss.what });
	}
	return { from: decoded.layout.id, to: target.id, files, sideFiles: encoded.sideFiles, receipt, warnings, decoded, tally: tally.warnings };
}

/** Take out what the user does not want, with every tensor of it. */
function leaveOut(adapter: Adapter, without: readonly LeftOut[]): { readonly adapter: Adapter; readonly left: readonly Loss[] } {
	if (without.length === 0) return { adapter, left: [] };
	const isOut = (m: TargetModule): boolean => without.includes('text-encoder') && m.component.startsWith('text_encoder');
	const embeddingsOut = without.includes('embeddings') ? adapter.embeddings : [];
	const tensors = [
		...adapter.modules.filter(isOut).flatMap((m) => [...Object.values(m.factors), m.alphaTensor, m.scaleTensor]),
		...embeddingsOut.map((e) => e.vectors),
	].filter((t) => t !== undefined);
	const left = tensors.flatMap((t) => [...originsOf(t)]).map((what) => ({ what, why: 'left out as asked' }));
	const embeddings = embeddingsOut.length > 0 ? [] : adapter.embeddings;
	return { adapter: { ...adapter, modules: adapter.modules.filter((m) => !isOut(m)), embeddings }, left };
}

function transform(decoded: Decoded, target: Layout, options: ConvertOptions, tally: Tally): Adapter {
	let { adapter } = decoded;
	const { base } = decoded.input;
	if (base !== undefined) {
		adapter = resolveWithBase(adapter, base);
		checkAgainstBase(adapter, base);
	}
	if (adapter.modules.some((m) => m.rule === 'unread')) {
		throw new FormatError('E_ALPHA_NO_SLOT', 'Only the header of the input was read, so its alphas are not known; read it with values.');
	}
	const lost = target.flat === true ? undefined : adapter.modules.find((m) => !m.resolved);
	if (lost !== undefined) {
		const count = adapter.modules.filter((m) => !m.resolved).length;
		throw new FormatError(
			'E_MODULE_UNRESOLVED',
			`${count} of ${adapter.modules.length} module names are flattened and fit no model that we have a table of (first: ${quote(lost.path)}), so ${target.id} cannot name them; give the model with --base, or keep a flat layout such as kohya.`,
			{ at: lost.path },
		);
	}
	adapter = inNamingOf(adapter, target);
	adapter =
		target.id === 'xlabs-flux' ? withLinear1Qkv(adapter) : target.id === adapter.source.layout ? adapter : withWholeLinear1(adapter);
	if (options.alpha === 'fold') adapter = foldScaling(adapter, { dtype: options.dtype, observe: tally.observe });
	if (options.dtype !== undefined) adapter = castAdapter(adapter, options.dtype, tally.observe);
	return adapter;
}

/** Form entry: the naming that an adapter had before `renameNaming`, so that the way back takes it up again. */
const NAMING_FROM = 'naming.from';

/** Rename paths where the target wants other names: back to the file's first names, else to the target's own choice. */
function inNamingOf(adapter: Adapter, target: Layout): Adapter {
	const allowed = (naming: Naming): boolean => target.namings.length === 0 || target.namings.includes(naming);
	const form = new Map(adapter.form);
	const back = form.get(NAMING_FROM);
	const first = back !== undefined && isNaming(back) && allowed(back) ? back : undefined;
	const wanted = first ?? target.naming?.(adapter) ?? (allowed(adapter.naming) ? adapter.naming : target.namings[0]);
	if (wanted === undefined || wanted === adapter.naming) return adapter;
	let renamed: Adapter;
	try {
		renamed = renameNaming(adapter, wanted);
	} catch (error) {
		// A preference is no must: what cannot be renamed (LoKr over fused projections) keeps its names.
		if (error instanceof FormatError && first === undefined && allowed(adapter.naming)) return adapter;
		throw error;
	}
	const after = new Map(renamed.form);
	if (wanted === back) after.delete(NAMING_FROM);
	else if (renamed.modules !== adapter.modules) after.set(NAMING_FROM, adapter.naming);
	return { ...renamed, form: after };
}

function isNaming(text: string): text is Naming {
	return text === 'diffusers' || text === 'bfl' || text === 'sai' || text === 'native';
}

function plannedFiles(encoded: Encoded, adapter: Adapter, container: OutputContainer): PlannedFile[] {
	const files: PlannedFile[] = encoded.files.map((f) => ({
		...f,
		container: f.suffix.endsWith('.safetensors') ? 'safetensors' : container,
		beside: f.suffix !== '',
	}));
	if (encoded.embeddingsBeside) {
		for (const { fileStemSuffix, tensors, metadata } of embeddingFiles(adapter.embeddings)) {
			files.push({ suffix: `${fileStemSuffix}.safetensors`, tensors, metadata, top: 'dict', container: 'safetensors', beside: true });
		}
	}
	return files;
}

/** Tensors that no reader ever used are dropped with a warning that names them. */
function deadWarning(adapter: Adapter): Warning[] {
	const [first] = adapter.dead;
	if (first === undefined) return [];
	const known = adapter.warnings.some((w) => w.code === 'W_DEAD_TENSOR');
	return known
		? []
		: [
				{
					code: 'W_DEAD_TENSOR',
					message: `${adapter.dead.size} tensors have no effect in any reader and are left out, first ${quote(first[0])}: ${first[1]}`,
					at: first[0],
				},
			];
}

/** Inputs that the receipt found lost although no layout said so: a bug of a layout becomes a refusal, never a silent loss. */
function unaccounted(receipt: Receipt, encoded: Encoded, adapter: Adapter): Loss[] {
	const named = new Set(encoded.losses.map((l) => l.what));
	const out: Loss[] = [];
	for (const entry of receipt.tensors) {
		if (entry.disposition === 'lost' && !named.has(entry.name) && !adapter.dead.has(entry.name))
			out.push({ what: entry.name, why: entry.how });
	}
	for (const entry of receipt.metadata) {
		const what = entry.name.startsWith('config:') ? entry.name : `metadata:${entry.name}`;
		if (entry.disposition === 'lost' && !named.has(what)) out.push({ what, why: entry.how });
	}
	return out;
}

/** What we write must be read as what it is: ask the registry about the names before anything is written. */
function misread(files: readonly PlannedFile[], encoded: Encoded, target: Layout): Loss[] {
	const [main] = files;
	if (main === undefined || main.tensors.size === 0 || encoded.losses.length > 0) return [];
	const file: StateDict = {
		container: main.container,
		name: 'OUT',
		tensors: main.tensors,
		metadata: main.metadata,
		top: main.top,
		wrapper: undefined,
		nonTensors: [],
		small: new Map(),
		smallComplete: false,
		warnings: [],
	};
	const { chosen, tied } = detectLayout({ ...soloInput(file), config: encoded.sideFiles.get('adapter_config.json') });
	// diffusers' generations share spellings, and mean the same where they do.
	if (chosen?.layout === target || (chosen?.layout.id.startsWith('diffusers') === true && target.id.startsWith('diffusers'))) return [];
	const [what = ''] = main.tensors.keys();
	const read = chosen === undefined ? tied.map((r) => r.layout.id).join(' or ') : chosen.layout.id;
	const why = read === '' ? 'no layout would know the names that it would have' : `the names that it would have are read as ${read}`;
	return [{ what, why: `${why}, so ${target.id} cannot hold this adapter.` }];
}

function refusal(target: Layout, adapter: Adapter, losses: readonly Loss[]): FormatError {
	const [first] = losses;
	const what = first?.what ?? '';
	const rest = losses.length > 1 ? ` (and ${losses.length - 1} more)` : '';
	const advice = 'Pass --allow-loss to go on without.';
	const unknown = losses.filter((l) => adapter.unknown.has(l.what));
	if (unknown.length > 0) {
		const names = unknown.slice(0, 3).map((l) => quote(l.what));
		return new FormatError(
			'E_UNKNOWN_KEY',
			`${unknown.length} tensors of the input belong to no module that ${target.id} or any layout here knows: ${names.join(', ')}${unknown.length > 3 ? ', ...' : ''}. ${advice}`,
			{ at: unknown[0]?.what },
		);
	}
	const alpha = losses.find((l) => /alpha|scaling/.test(l.why) && scaledModules(adapter).length > 0 && l.why.includes('fold'));
	if (alpha !== undefined) return new FormatError('E_ALPHA_NO_SLOT', `${target.id} cannot say it: ${alpha.why}`, { at: alpha.what });
	const family = losses.find((l) => /family|not load|cannot hold|reader/.test(l.why) && !l.what.startsWith('metadata:'));
	if (family !== undefined)
		return new FormatError('E_UNSUPPORTED_ADAPTER', `${target.id} cannot hold ${quote(family.what)}${rest}: ${family.why} ${advice}`, {
			at: family.what,
		});
	return new FormatError('E_LOSS', `Converting to ${target.id} would lose ${quote(what)}${rest}: ${first?.why ?? ''} ${advice}`, {
		at: what,
	});
}
