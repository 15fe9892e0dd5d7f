import type { Adapter, TargetModule } from '../../adapter.js';
import { FormatError, quote } from '../../errors.js';
import { recordedHashes } from '../../hashes/index.js';
import type { LayoutInput } from '../../layouts/layout.js';
import { guessBaseOf } from '../../layouts/shared.js';
import { embeddingsBeside, looksLikeEmbeddings, readEmbeddings } from '../../layouts/textual-inversion.js';
import type { Tensor } from '../../tensor.js';
import { alignAdapters } from '../merge/merge-align.js';
import { mergeEmbeddings } from '../merge/merge-embeddings.js';
import { mergeMetadata } from '../merge/merge-metadata.js';
import type { AdapterUse } from '../strength/adapter-use.js';

/**
 * Adapters that touch different modules as one, tensors as they are: what `splitAdapter` took apart, put together. Headers that say the
 * same stay; else as in a merge.
 *
 * @param uses strengths must be 1: joining changes no number
 * @throws {FormatError} `E_LORA_DUPLICATE_MODULE` for a module that two have (that is a merge), `E_NAME_COLLISION` for such a token,
 *   `E_BASE_MISMATCH`, and of renaming.
 */
export async function joinAdapters(uses: readonly AdapterUse[]): Promise<Adapter> {
	const [first] = uses;
	if (first === undefined) throw new FormatError('E_USAGE', 'Name at least one adapter to join.');
	const { adapters, groups, naming } = alignAdapters(uses, undefined);
	for (const { component, path, parts } of groups) {
		const [one, two] = parts;
		if (one === undefined || two === undefined) continue;
		throw new FormatError(
			'E_LORA_DUPLICATE_MODULE',
			`${quote(one.name)} and ${quote(two.name)} both have ${component} ${path}; join puts together what touches different modules, "lora merge" adds.`,
			{ at: path },
		);
	}
	const modules: TargetModule[] = adapters.flatMap((a) => [...a.modules]);
	const { embeddings } = await mergeEmbeddings(uses, 'refuse');
	const metadata = joinedMetadata(uses, modules);
	const unknown = new Map<string, Tensor>();
	for (const { adapter } of uses) for (const [name, tensor] of adapter.unknown) unknown.set(name, tensor);
	return {
		naming,
		modules,
		embeddings,
		metadata,
		consumed: adapters.flatMap((a) => [...a.consumed]),
		form: joinedForm(adapters),
		unknown,
		dead: new Map(),
		base: guessBaseOf(modules, naming, metadata),
		source: first.adapter.source,
		warnings: uses.flatMap(({ adapter }) => [...adapter.warnings]),
	};
}

function joinedMetadata(uses: readonly AdapterUse[], modules: readonly TargetModule[]): ReadonlyMap<string, string> {
	const filled = uses.filter(({ adapter }) => adapter.metadata.size > 0);
	const [first, ...rest] = filled;
	if (first === undefined) return new Map();
	const hashes = new Set(filled.flatMap(({ adapter }) => recordedHashes(adapter.metadata).map(([key]) => key)));
	// Hashes are of one file each, and made true when the whole is written.
	const same = (a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean =>
		a.size === b.size && [...a].every(([key, value]) => b.get(key) === value || (hashes.has(key) && b.has(key)));
	return rest.every(({ adapter }) => same(first.adapter.metadata, adapter.metadata))
		? first.adapter.metadata
		: mergeMetadata(filled, modules);
}

/** Entries that no two adapters say differently. */
function joinedForm(adapters: readonly Adapter[]): ReadonlyMap<string, string> {
	const out = new Map<string, string>();
	const against = new Set<string>();
	for (const { form } of adapters) {
		for (const [key, value] of form) {
			if ((out.get(key) ?? value) !== value) against.add(key);
			out.set(key, value);
		}
	}
	for (const key of against) out.delete(key);
	return out;
}

/** A file of embeddings alone (and those beside it) as an adapter without modules; undefined when it is none. */
export function embeddingsAsAdapter({ file, embeddings: beside }: LayoutInput): Adapter | undefined {
	if (!looksLikeEmbeddings(file)) return undefined;
	const embeddings = [...readEmbeddings(file), ...embeddingsBeside(beside)];
	return {
		naming: 'diffusers',
		modules: [],
		embeddings,
		metadata: new Map(),
		consumed: [],
		form: new Map(),
		unknown: new Map(),
		dead: new Map(),
		base: guessBaseOf([], 'diffusers', new Map()),
		source: { layout: 'textual-inversion', container: file.container, name: file.name },
		warnings: file.warnings,
	};
}
