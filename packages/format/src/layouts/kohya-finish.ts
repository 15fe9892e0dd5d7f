import type { Adapter, TargetModule } from '../adapter.js';
import { packMetadata } from '../metadata/carry.js';
import type { Tensor } from '../tensor.js';
import { BUNDLE_FORM_KEY, formatBundles } from './bundle-embeddings.js';
import { ALPHA_FORM_KEYS } from './kohya-alpha.js';
import type { LeafOptions, LeafOutput } from './kohya-factors.js';
import type { Absorbed, Encoded, EncodeOptions, Loss } from './layout.js';
import { isUnscaled } from './shared.js';

/**
 * The common end of `encode` for layouts with kohya's leaves: embeddings as `bundle_emb.*`, unknown tensors as losses,
 * header entries. `form` holds the entries of other layouts only: a file says its own things itself.
 */
export function finishEncode(
	adapter: Adapter,
	out: LeafOutput,
	leaves: LeafOptions,
	form: ReadonlyMap<string, string>,
	options: EncodeOptions,
): Encoded {
	refuseMetadataAlpha(out, adapter.modules, leaves);
	const bundles = formatBundles(adapter.embeddings);
	for (const [key, tensor] of bundles.tensors) out.tensors.set(key, tensor);
	for (const loss of bundles.losses) out.losses.push(loss);
	loseUnknown(out, adapter.unknown, leaves.target);
	const metadata = packMetadata(adapter.metadata, new Map([...form, ...bundles.form]), isReservedByKohya);
	const torch = options.container !== 'safetensors';
	if (torch) metadataLosses(metadata, out.losses);
	return {
		files: [{ suffix: '', tensors: out.tensors, metadata: torch ? new Map() : metadata, top: 'dict' }],
		sideFiles: new Map(),
		absorbed: [...out.absorbed, ...consumedInto(adapter, out.alphaBound)],
		losses: out.losses,
		embeddingsBeside: false,
		warnings: [],
	};
}

/** The form without what a file of the layout `id` says itself. */
export function foreignForm(id: string, form: ReadonlyMap<string, string>): Map<string, string> {
	return new Map([...form].filter(([key]) => !key.startsWith(`${id}.`) && !ALPHA_FORM_KEYS.includes(key) && key !== BUNDLE_FORM_KEY));
}

/**
 * Entries that the readers would obey although they come from elsewhere: diffusers refuses a file that has both
 * alpha tensors and `lora_adapter_metadata`.
 */
function isReservedByKohya(key: string): boolean {
	return key === 'lora_adapter_metadata';
}

/** These layouts state alpha in tensors only: asked for metadata, they say so. */
function refuseMetadataAlpha(out: LeafOutput, modules: readonly TargetModule[], options: LeafOptions): void {
	if (options.alpha !== 'metadata' || modules.every(isUnscaled)) return;
	out.losses.push({
		what: 'alpha',
		why: `${options.target} has no place for alpha in metadata; use --alpha keep (tensors) or --alpha fold.`,
	});
}

/** Tensors of unknown meaning are named as lost, one by one. */
function loseUnknown(out: LeafOutput, unknown: ReadonlyMap<string, Tensor>, target: string): void {
	for (const [name, tensor] of unknown) {
		out.losses.push({ what: tensor.origin ?? name, why: `unknown tensor: nothing says what it is, so ${target} has no name for it.` });
	}
}

/** Header entries whose meaning the alpha tensors and names now have. */
function consumedInto(adapter: Adapter, errorBound: number): Absorbed[] {
	return adapter.consumed.map(({ key }) => ({
		from: key.startsWith('config:') || key.startsWith('metadata:') ? key : `metadata:${key}`,
		into: 'alpha tensors and names',
		errorBound,
	}));
}

/**
 * A torch file has no header: each entry is a loss, except the trivial ones: `format` = `pt` (which says only that
 * torch wrote it), `lorakit.form` (how another file was spelled) and kohya's `sshs_*` hashes (of the other file).
 */
function metadataLosses(metadata: ReadonlyMap<string, string>, losses: Loss[]): void {
	for (const [key, value] of metadata) {
		if ((key === 'format' && value === 'pt') || key === 'lorakit.form' || key.startsWith('sshs_')) continue;
		losses.push({ what: `metadata:${key}`, why: 'a torch file has no place for header entries.' });
	}
}
