import { CARRIED_PREFIX } from './carry.js';

/** Which entries `stripMetadata` takes away. A list holds exact names. */
export type StripWhich = 'all' | 'private' | readonly string[];

/** Entries that tell about the trainer's pictures, machine or person: captions, tags, folders, comments. LAYOUTS §7.1. */
const PRIVATE: ReadonlySet<string> = new Set([
	'ss_tag_frequency',
	'ss_dataset_dirs',
	'ss_reg_dataset_dirs',
	'ss_datasets',
	'ss_bucket_info',
	'ss_training_comment',
	'ss_session_id',
	'ss_training_started_at',
	'ss_training_finished_at',
	'ss_sd_model_name',
	'ss_vae_name',
	'training_info',
	'training_config',
	'modelspec.author',
	'modelspec.thumbnail',
	'modelspec.date',
]);

/**
 * Entries that say what the tensors mean, which no strip takes away: without them the strength or the module
 * order would be lost.
 */
const MEANING: ReadonlySet<string> = new Set(['lora_adapter_metadata', 'lorakit.form', 'format', 'lycoris_config']);

/** A header after an edit. Tensor bytes are not touched; the caller refreshes the hashes (`refreshHashes`). */
export interface MetadataEdit {
	readonly metadata: ReadonlyMap<string, string>;
	readonly removed: readonly string[];
	readonly set: readonly string[];
	/** Entries that were asked to go and stayed, because the tensors mean something else without them. */
	readonly kept: readonly string[];
}

/** Set entries; new ones are added at the end in the order given. */
export function setMetadata(metadata: ReadonlyMap<string, string>, entries: Iterable<readonly [string, string]>): MetadataEdit {
	const out = new Map(metadata);
	const set: string[] = [];
	for (const [key, value] of entries) {
		if (out.get(key) !== value) set.push(key);
		out.set(key, value);
	}
	return { metadata: out, removed: [], set, kept: [] };
}

/**
 * Take entries away. `private`: captions, tag frequencies, data set folders, comments, names, dates and every
 * value that looks like a path. `all`: everything except what the tensors' meaning hangs on. Named keys go
 * whatever they are.
 *
 * @param meaningful - names beside the built-in ones that must stay (cloneofsimo: `unet`, `unet:0:rank`, `<s1>`).
 */
export function stripMetadata(
	metadata: ReadonlyMap<string, string>,
	which: StripWhich,
	meaningful: (key: string, value: string) => boolean = () => false,
): MetadataEdit {
	const out = new Map<string, string>();
	const removed: string[] = [];
	const kept: string[] = [];
	const named = typeof which === 'string' ? undefined : new Set(which);
	for (const [key, value] of metadata) {
		const means = MEANING.has(key) || isPositional(key, value) || meaningful(key, value);
		const asked = named !== undefined ? named.has(key) : which === 'all' || isPrivate(key, value);
		if (asked && means && named === undefined) {
			// `all` asks for everything: only say so where something private stays.
			if (isPrivate(key, value)) kept.push(key);
			out.set(key, value);
		} else if (asked) removed.push(key);
		else out.set(key, value);
	}
	return { metadata: out, removed, set: [], kept };
}

/** True for an entry that tells about the person, the pictures or the machine. */
export function isPrivate(key: string, value: string): boolean {
	const name = key.startsWith(CARRIED_PREFIX) ? key.slice(CARRIED_PREFIX.length) : key;
	if (PRIVATE.has(name)) return true;
	if (MEANING.has(name)) return false;
	return /(^|[\s"'=:,([])(\/(home|Users|mnt|root|workspace|content|data)\/|[A-Za-z]:\\)/.test(value.slice(0, 100_000));
}

/** cloneofsimo's header: target classes, ranks and embedding flags decide what its tensors are. */
function isPositional(key: string, value: string): boolean {
	return value === '<embed>' || /:\d+:rank$/.test(key) || ((key === 'unet' || key.startsWith('text_encoder')) && value.startsWith('['));
}
