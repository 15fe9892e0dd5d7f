import type { Adapter, MetadataNote, TargetModule } from '../adapter.js';
import type { Warning } from '../errors.js';
import { ADAPTER_METADATA_KEY, parseAdapterMetadata } from '../metadata/adapter-metadata.js';
import { unpackMetadata } from '../metadata/carry.js';
import { configuredBy, type PeftScaling } from '../metadata/peft-scaling.js';
import type { Tensor } from '../tensor.js';
import { assembleModules, type ConfiguredAlpha, type Part } from './assemble.js';
import { type DiffusersKey, readDiffusersKeys } from './diffusers-key.js';
import { readFormat } from './diffusers-losses.js';
import { moduleKey } from './diffusers-spelling.js';
import type { DecodeOptions, LayoutInput } from './layout.js';
import { namingOfPaths } from './peft-component.js';
import { chooseAdapter } from './peft-leaf.js';
import { makeAdapter } from './shared.js';
import { embeddingsBeside } from './textual-inversion.js';

/** One of diffusers' layouts: which spellings it reads, and whether its files can say alpha. */
export interface DiffusersDialect {
	readonly id: string;
	readonly accepts: (key: DiffusersKey) => boolean;
	/** True for today's layout: alpha from `lora_adapter_metadata` or alpha tensors, and a warning where neither says it. */
	readonly saysAlpha: boolean;
	/** Notes what the file spelled in its own way. */
	readonly remember: (found: DiffusersFound, form: Map<string, string>) => void;
}

/** What a decode found, for the form. */
export interface DiffusersFound {
	readonly modules: readonly TargetModule[];
	/** One key per module that has factors in a spelling of its own: the one of its `down`, else the first. */
	readonly keys: ReadonlyMap<string, DiffusersKey>;
	/** Every live key. */
	readonly all: readonly DiffusersKey[];
	/** `lora_adapter_metadata` as it stands, when it was understood. */
	readonly metadataText: string | undefined;
	readonly adapterName: string | undefined;
}

/** Prefixes of components that `lora_adapter_metadata` names; '' for bare fields. Empty without the entry. */
export function metadataPrefixes(metadata: ReadonlyMap<string, string>): ReadonlySet<string> {
	const text = metadata.get(ADAPTER_METADATA_KEY);
	const out = new Set<string>();
	if (text === undefined) return out;
	for (const match of text.matchAll(/"((?:[a-z][a-z0-9_]*\.)?)(?:r|lora_alpha)"\s*:/g)) out.add((match[1] ?? '').replace('.', ''));
	return out;
}

/** Decode a file of any of diffusers' layouts. @throws {FormatError} `E_LORA_*`, `E_CONFIG`. */
export function decodeDiffusers(input: LayoutInput, options: DecodeOptions, dialect: DiffusersDialect): Adapter {
	const warnings: Warning[] = [];
	const warn = (w: Warning): void => {
		warnings.push(w);
	};
	const { file } = input;
	const unpacked = unpackMetadata(file.metadata);
	const form = new Map(unpacked.form);
	const metadata = readFormat(unpacked.metadata, form, dialect.id, file.container);
	const consumed: MetadataNote[] = [];
	const text = dialect.saysAlpha ? file.metadata.get(ADAPTER_METADATA_KEY) : undefined;
	const scalings = text === undefined ? new Map<string, PeftScaling>() : parseAdapterMetadata(text, warn);
	if (scalings.size > 0) {
		metadata.delete(ADAPTER_METADATA_KEY);
		consumed.push({ key: ADAPTER_METADATA_KEY, how: 'consumed', note: 'rank, alpha and rsLoRA of every module' });
	}

	const known = metadataPrefixes(file.metadata);
	const unknown = new Map<string, Tensor>();
	const dead = new Map<string, string>();
	const live: { readonly key: DiffusersKey; readonly name: string; readonly tensor: Tensor }[] = [];
	for (const { name, tensor, key } of readDiffusersKeys(file, known)) {
		if (key === undefined || !dialect.accepts(key)) unknown.set(name, tensor);
		else if (key.dead !== undefined) dead.set(name, key.dead);
		else live.push({ key, name, tensor });
	}
	const adapterName = chooseAdapter(
		new Set(live.filter(({ key }) => key.spelling !== 'any' || key.adapterName !== undefined).map(({ key }) => key.adapterName)),
		options.adapterName,
	);
	const parts: Part[] = [];
	const keys = new Map<string, DiffusersKey>();
	const all: DiffusersKey[] = [];
	for (const { key, name, tensor } of live) {
		if (key.adapterName !== adapterName && key.role !== 'alpha') {
			unknown.set(name, tensor);
			continue;
		}
		const id = moduleKey(key);
		if (key.role === 'down' || !keys.has(id)) keys.set(id, key);
		all.push(key);
		parts.push({ key: name, component: key.component, path: key.path, resolved: true, role: key.role, tensor });
	}

	const configured = configuredAlphas(scalings, keys);
	const modules = assembleModules(parts, { file, warn, configured, magnitude: 'peft', expectAlpha: false });
	if (dialect.saysAlpha) reportAlpha(modules, configured, warn);
	if (dead.size > 0) {
		const [first] = dead;
		warn({ code: 'W_DEAD_TENSOR', message: `${dead.size} tensors have no effect in any reader: ${first?.[1] ?? ''}.`, at: first?.[0] });
	}
	dialect.remember({ modules, keys, all, metadataText: scalings.size > 0 ? text : undefined, adapterName }, form);
	return makeAdapter({
		layout: dialect.id,
		input,
		naming: namingOfPaths(
			modules.find((m) => m.component.startsWith('transformer'))?.component ?? 'unet',
			modules.map((m) => m.path),
		),
		modules,
		embeddings: embeddingsBeside(input.embeddings),
		metadata,
		warnings,
		consumed,
		form,
		unknown,
		dead,
	});
}

type Configured = (component: string, path: string) => ConfiguredAlpha;

const UNSAID: ConfiguredAlpha = { alpha: null, source: 'none', rslora: false, rank: undefined };

function configuredAlphas(scalings: ReadonlyMap<string, PeftScaling>, keys: ReadonlyMap<string, DiffusersKey>): Configured {
	const resolvers = new Map<string, (path: string) => ConfiguredAlpha>();
	return (component, path) => {
		const key = keys.get(moduleKey({ component, path }));
		if (key === undefined) return UNSAID;
		let resolve = resolvers.get(key.prefix);
		if (resolve === undefined) {
			const scaling = scalings.get(key.prefix) ?? scalings.get(key.component);
			if (scaling === undefined) return UNSAID;
			resolve = configuredBy(scaling, 'metadata', (written) => written);
			resolvers.set(key.prefix, resolve);
		}
		return resolve(key.written);
	};
}

function reportAlpha(modules: readonly TargetModule[], configured: Configured, warn: (w: Warning) => void): void {
	const silent = new Set<string>();
	let contradicted = 0;
	let example: string | undefined;
	for (const m of modules) {
		if (m.rank === undefined) continue;
		if (m.alphaSource === 'none' && m.rule === 'one') silent.add(m.component);
		const { rank } = m.alphaSource === 'metadata' ? configured(m.component, m.path) : UNSAID;
		if (rank !== undefined && rank !== m.rank) {
			contradicted++;
			example ??= `${m.component} ${m.path} has rank ${m.rank}, the entry says ${rank}`;
		}
	}
	if (contradicted > 0) {
		warn({
			code: 'W_METADATA_CONTRADICTS',
			message: `${ADAPTER_METADATA_KEY} contradicts the tensors in ${contradicted} modules (${example ?? ''}); the tensors' rank is used.`,
			at: ADAPTER_METADATA_KEY,
		});
	}
	if (silent.size > 0) {
		warn({
			code: 'W_ALPHA_UNKNOWN',
			message: `Nothing in this file says alpha of ${[...silent].join(', ')}; every reader takes alpha = rank, so an adapter trained with another alpha has lost its strength.`,
		});
	}
}
