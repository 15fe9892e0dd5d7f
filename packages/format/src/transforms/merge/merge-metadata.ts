import type { Adapter, TargetModule } from '../../adapter.js';
import { recordedHashes } from '../../hashes/index.js';
import { asRecord, ssJson } from '../../metadata/ss-values.js';
import { trueNetworkMetadata } from '../resize/resize-metadata.js';
import type { AdapterUse } from '../strength/adapter-use.js';

/** Prefix of an entry that is one input's own: `lorakit.merged.NAME.KEY`. */
export const MERGED_PREFIX = 'lorakit.merged.';

/** Entries about one file's tensors: true of no merge. */
const OF_ONE_FILE: ReadonlySet<string> = new Set([
	'lora_adapter_metadata',
	'modelspec.merged_from',
	'modelspec.title',
	'modelspec.date',
	'modelspec.thumbnail',
]);
/** Form entries that hold more than spelling. */
const CONFIGURATIONS: readonly string[] = ['peft.config', 'diffusers.metadata'];

/**
 * The header of a merge. What all inputs say alike stays under its name; what they say differently, or one alone says, is kept for each
 * input under `lorakit.merged.NAME.KEY`. Trigger phrases are joined, kohya's tag counts added up folder by folder, its rank and alpha made true,
 * and `modelspec.merged_from` names the inputs. Hashes of the old files are not taken over.
 */
export function mergeMetadata(uses: readonly AdapterUse[], modules: readonly TargetModule[]): ReadonlyMap<string, string> {
	const names = uniqueNames(uses);
	const out = new Map<string, string>();
	const keys = new Set(uses.flatMap(({ adapter }) => [...adapter.metadata.keys()]));
	const hashes = new Set(uses.flatMap(({ adapter }) => recordedHashes(adapter.metadata).map(([key]) => key)));
	for (const key of keys) {
		if (key === 'format') {
			out.set(key, 'pt');
			continue;
		}
		const said = uses.map(({ adapter }) => adapter.metadata.get(key));
		const [first] = said;
		const alike = first !== undefined && said.every((value) => value === first);
		if (alike && !OF_ONE_FILE.has(key) && !hashes.has(key)) {
			out.set(key, first);
			continue;
		}
		for (const [i, value] of said.entries()) if (value !== undefined) out.set(`${MERGED_PREFIX}${names[i]}.${key}`, value);
	}
	for (const [i, { adapter }] of uses.entries()) {
		for (const key of CONFIGURATIONS) {
			const text = adapter.form.get(key);
			if (text !== undefined) out.set(`${MERGED_PREFIX}${names[i]}.${key}`, text);
		}
	}
	const adapters = uses.map(({ adapter }) => adapter);
	joinInto(out, 'modelspec.trigger_phrase', triggerPhrases(adapters));
	joinInto(out, 'ss_tag_frequency', tagFrequencies(adapters));
	if ([...keys].some((key) => key.startsWith('modelspec.'))) {
		out.set('modelspec.title', names.join(' + '));
		out.set('modelspec.merged_from', names.join(', '));
	}
	for (const key of ['ss_network_dim', 'ss_network_alpha']) if (keys.has(key)) out.set(key, '');
	return trueNetworkMetadata(out, modules);
}

/** Names without folders, told apart by a number. */
export function uniqueNames(uses: readonly AdapterUse[]): readonly string[] {
	const taken = new Set<string>();
	return uses.map(({ name }) => {
		const bare = name.slice(Math.max(name.lastIndexOf('/'), name.lastIndexOf('\\')) + 1) || 'adapter';
		let unique = bare;
		for (let n = 2; taken.has(unique); n++) unique = `${bare} (${n})`;
		taken.add(unique);
		return unique;
	});
}

function joinInto(out: Map<string, string>, key: string, value: string | undefined): void {
	if (value !== undefined) out.set(key, value);
}

function triggerPhrases(adapters: readonly Adapter[]): string | undefined {
	const phrases = new Set<string>();
	for (const { metadata } of adapters)
		for (const phrase of (metadata.get('modelspec.trigger_phrase') ?? '').split(',')) if (phrase.trim() !== '') phrases.add(phrase.trim());
	return phrases.size === 0 ? undefined : [...phrases].join(', ');
}

/** Folder -> tag -> count, added up. Undefined where nobody says any, or what is said is not of that form. */
function tagFrequencies(adapters: readonly Adapter[]): string | undefined {
	const folders = new Map<string, Map<string, number>>();
	for (const { metadata } of adapters) {
		for (const [folder, tags] of asRecord(ssJson(metadata.get('ss_tag_frequency')).value) ?? []) {
			const own = folders.get(folder) ?? new Map<string, number>();
			for (const [tag, count] of asRecord(tags) ?? []) if (typeof count === 'number') own.set(tag, (own.get(tag) ?? 0) + count);
			folders.set(folder, own);
		}
	}
	if (folders.size === 0) return undefined;
	return JSON.stringify(Object.fromEntries([...folders].map(([folder, tags]) => [folder, Object.fromEntries(tags)])));
}
