import type { Adapter } from './adapter.js';
import { type DecodeAdapterOptions, type Decoded, type Detection, decodeAdapter, detectLayout, type Reading } from './detect.js';
import { numel } from './dtype.js';
import { FormatError, type Warning } from './errors.js';
import { summariseMetadata } from './inspect-metadata.js';
import { type ModuleSummary, summariseModules } from './inspect-modules.js';
import { FAMILIES } from './inspect-rows.js';
import type { InspectFinding, InspectReading, InspectReport } from './inspect-types.js';
import type { LayoutInput } from './layouts/layout.js';
import { recogniseNonLora } from './layouts/not-a-lora.js';
import { strengthDifferences } from './runtimes.js';
import { possibleSplit } from './split-qkv.js';
import type { StateDict } from './state-dict.js';

export type { InspectReport } from './inspect-types.js';

export interface InspectOptions extends DecodeAdapterOptions {
	/** Size of the file; the report says null without. */
	readonly bytes?: number | undefined;
	/** Hashes that the caller computed, by kind. */
	readonly hashes?: ReadonlyMap<string, string> | undefined;
	/** How many tags. Default 20. */
	readonly tags?: number | undefined;
}

/**
 * Everything about a file, as plain data. Never throws for a sound tensor file, LoRA or not: what convert and
 * validate would refuse stands in `errors`. Reads no data.
 */
export function inspect(input: LayoutInput, options: InspectOptions = {}): InspectReport {
	const before = options.detection ?? detectLayout(input);
	let decoded: Decoded | undefined;
	const errors: InspectFinding[] = [];
	try {
		decoded = decodeAdapter(input, { ...options, detection: before });
	} catch (error) {
		if (!(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
		errors.push({ code: error.code, message: error.message, at: error.at ?? null });
	}
	const detection = decoded?.detection ?? before;
	const adapter = decoded?.adapter;
	const kind = kindOf(input, adapter, errors);
	const modules = adapter === undefined ? EMPTY : summariseModules(adapter);
	const runtimes = adapter === undefined ? [] : strengthDifferences(adapter);
	const header = summariseMetadata(input.file.metadata, adapter?.embeddings ?? [], options.tags ?? 20);
	const readings = detection.readings.map(toReading);
	const chosen = decoded === undefined ? undefined : readings.find((r) => r.layout === decoded.layout.id);
	const { warnings: headerWarnings, ...fromHeader } = header;
	return {
		schema: 'lora.inspect/1',
		file: fileFacts(input, options.bytes),
		kind,
		what: whatItIs(input, kind, adapter, detection, errors),
		layout: chosen ?? (decoded === undefined ? null : forced(decoded)),
		readings,
		base: adapter === undefined ? null : { ...adapter.base, evidence: [...adapter.base.evidence] },
		naming: adapter?.naming ?? null,
		modules: adapter?.modules.length ?? 0,
		...modules,
		embeddings: (adapter?.embeddings ?? []).map((e) => ({
			token: e.token,
			slot: e.slot,
			component: e.component,
			vectors: e.vectors.shape.length === 1 ? 1 : (e.vectors.shape[0] ?? 0),
			width: e.vectors.shape.at(-1) ?? 0,
		})),
		...fromHeader,
		hashes: [...header.hashes, ...[...(options.hashes ?? [])].map(([hash, value]) => ({ kind: hash, value, from: 'computed' as const }))],
		runtimes: runtimes.map(({ runtime, name, modules: n, own, applied, message, source }) => ({
			runtime,
			name,
			modules: n,
			own,
			applied,
			message,
			source,
		})),
		unknown: adapter === undefined ? [...detection.leftovers] : [...adapter.unknown.keys()],
		dead: adapter?.dead.size ?? 0,
		warnings: merged((adapter?.warnings ?? input.file.warnings).map(toFinding), [...splitQkv(input, adapter), ...headerWarnings]),
		errors,
	};
}

/** Layouts look at the header too: one finding for one entry. */
function merged(found: readonly InspectFinding[], more: readonly InspectFinding[]): InspectFinding[] {
	return [...found, ...more.filter((m) => !found.some((f) => f.code === m.code && f.at === m.at))];
}

const EMPTY: ModuleSummary = {
	components: [],
	blocks: [],
	ranks: [],
	alphas: [],
	alphaSources: [],
	rules: [],
	families: [],
	strength: null,
	dora: 0,
	unresolved: 0,
};

function kindOf(input: LayoutInput, adapter: Adapter | undefined, errors: readonly InspectFinding[]): InspectReport['kind'] {
	if (adapter !== undefined) return adapter.modules.length > 0 ? 'lora' : 'not-lora';
	if (input.file.tensors.size === 0) return 'empty';
	const code = errors[0]?.code;
	if (code === 'E_NOT_A_LORA') return 'not-lora';
	return code === 'E_AMBIGUOUS' || code === 'E_MODULE_ORDER' ? 'ambiguous' : 'damaged';
}

function whatItIs(
	input: LayoutInput,
	kind: InspectReport['kind'],
	adapter: Adapter | undefined,
	detection: Detection,
	errors: readonly InspectFinding[],
): string {
	switch (kind) {
		case 'lora':
			return adapter === undefined ? '' : `${kindOfAdapter(adapter)} for ${baseOf(adapter)}, in the ${adapter.source.layout} layout.`;
		case 'empty':
			return 'Not a LoRA: the file holds no tensors.';
		case 'ambiguous':
			return detection.tied.length > 1
				? `A LoRA that can be read as ${detection.tied.map((r) => r.layout.id).join(' or as ')}, equally well.`
				: `Probably a LoRA, but its meaning is not decided: ${errors[0]?.message ?? ''}`;
		case 'damaged':
			return `Meant as a LoRA, but it would be refused: ${errors[0]?.message ?? ''}`;
		default: {
			if (adapter !== undefined && adapter.embeddings.length > 0)
				return 'Not a LoRA: learned embeddings (textual inversion) and no module weights.';
			const other = recogniseNonLora(input.file);
			return other === undefined
				? 'Not a LoRA that this version knows: no layout fits its tensor names.'
				: `Not a LoRA: ${other.what} (${other.why}).`;
		}
	}
}

/** "A LoRA" for everything that has one in it, else by the family's own name. */
function kindOfAdapter(adapter: Adapter): string {
	const families = new Set(adapter.modules.map((m) => m.family));
	if (families.has('lora') || families.has('locon'))
		return adapter.modules.some((m) => m.factors.magnitude !== undefined) ? 'A LoRA with DoRA' : 'A LoRA';
	const [only] = families;
	return only === undefined || families.size > 1 ? 'An adapter of mixed families' : `An adapter (${FAMILIES.get(only) ?? only})`;
}

function baseOf({ base }: Adapter): string {
	if (base.family === 'unknown') return 'a base model that its names do not give away';
	// Names of models are capitalised; kinds of models want an article.
	return /^[a-z]/.test(base.label) ? `a ${base.label}` : base.label;
}

/** What the header alone says of split_qkv; `validate` proves it from the data. */
function splitQkv(input: LayoutInput, adapter: Adapter | undefined): InspectFinding[] {
	if (!/split_qkv\W+true/i.test(input.file.metadata.get('ss_network_args') ?? '')) return [];
	const n = adapter?.modules.filter((m) => possibleSplit(m) !== undefined).length ?? 0;
	if (n === 0) return [];
	const message = `ss_network_args says split_qkv: ${n} fused projections were trained as 3 or 4 parts of lower rank, and every reader divides their alpha by the whole rank, so they work 3 or 4 times weaker than in training (sd-scripts #2204).`;
	return [{ code: 'W_SPLIT_QKV', message, at: 'ss_network_args' }];
}

function toReading({ layout, claim }: Reading): InspectReading {
	return { layout: layout.id, title: layout.title, names: claim.names.size, confidence: claim.confidence, evidence: [...claim.evidence] };
}

function forced({ layout }: Decoded): InspectReading {
	return { layout: layout.id, title: layout.title, names: 0, confidence: 0, evidence: ['chosen with --from'] };
}

function toFinding({ code, message, at }: Warning): InspectFinding {
	return { code, message, at: at ?? null };
}

function fileFacts(input: LayoutInput, bytes: number | undefined): InspectReport['file'] {
	const { file } = input;
	const dtypes = new Map<string, { readonly dtype: string; tensors: number; bytes: number }>();
	let entry: { readonly dtype: string; tensors: number; bytes: number } | undefined;
	let parameters = 0;
	let dataBytes = 0;
	let tensors = 0;
	const files: readonly StateDict[] =
		input.textEncoder === undefined ? [file, ...input.embeddings] : [file, input.textEncoder, ...input.embeddings];
	for (const part of files) {
		tensors += part.tensors.size;
		part.tensors.forEach(({ dtype, shape, nbytes }) => {
			parameters += numel(shape) ?? 0;
			dataBytes += nbytes;
			if (entry?.dtype !== dtype) {
				entry = dtypes.get(dtype) ?? { dtype, tensors: 0, bytes: 0 };
				dtypes.set(dtype, entry);
			}
			entry.tensors++;
			entry.bytes += nbytes;
		});
	}
	return {
		name: file.name,
		bytes: bytes ?? null,
		container: file.container,
		companions: [...files.slice(1).map((f) => f.name), ...(input.config === undefined ? [] : ['adapter_config.json'])],
		tensors,
		parameters,
		dataBytes,
		dtypes: [...dtypes.values()].sort((a, b) => b.bytes - a.bytes),
	};
}
