import { type AdapterUse, FormatError, fileHashes, openStateDict, parseAdapterSpec, quote } from '@lorakit/format';
import { createNodeSha256, type InputRef } from '@lorakit/format/node';
import type { Base, ClipTokenizer } from '@lorakit/runtime';
import { openBase, openTokenizers } from '@lorakit/runtime/node';
import { closeAdapters, type OpenedAdapter, openAdapterSpecs } from '../adapter-specs.js';
import type { GenerateRequest } from './generate-request.js';
import { type OpenedEmbedding, openEmbeddings } from './open-embeddings.js';
import type { PictureRecord } from './picture-record.js';
import { promptsOf, type ReadPrompts, specOfPromptLora } from './prompt-language.js';
import { type InitPicture, readInitPicture } from './read-init-picture.js';

/** An adapter of a run: what is computed with, and what the record says of it. */
export interface KnownAdapter {
	/** As written. */
	readonly spec: string;
	readonly use: AdapterUse;
	readonly record: PictureRecord['adapters'][number];
}

/** Everything that a run reads, open. */
export interface GenerationInputs {
	readonly base: Base;
	readonly tokenizers: readonly ClipTokenizer[];
	readonly adapters: readonly KnownAdapter[];
	readonly embeddings: readonly OpenedEmbedding[];
	readonly init: InitPicture | undefined;
	/** Of all cells, each once. */
	readonly prompts: readonly ReadPrompts[];
	/** Files that may not be written over. */
	readonly files: readonly InputRef[];
	close(): Promise<void>;
}

/**
 * Open all inputs of a request. Everything is closed again when it throws.
 * @param check told the base and the picture to start from before adapters are read: it may refuse
 * @throws {FormatError} of the prompt's language, of specs, opening and reading.
 */
export async function openInputs(
	request: GenerateRequest,
	check: (base: Base, init: InitPicture | undefined) => void,
	note: (text: string) => void,
): Promise<GenerationInputs> {
	const prompts = promptsOf(request);
	const specs = specsOf(request, prompts);
	for (const { spec } of specs) parseAdapterSpec(spec);
	if (specs.length === 0 && request.grid?.axes.some(({ name }) => name === 'scale') === true) {
		throw new FormatError('E_USAGE', 'An axis "scale" is of adapters, and there is none; name one with --lora.');
	}
	const { variant, config, path } = request.base;
	const base = await openBase(path, { variant, config });
	let opened: readonly OpenedAdapter[] = [];
	let embeddings: readonly OpenedEmbedding[] = [];
	const close = async (): Promise<void> => {
		await closeAdapters(opened);
		for (const embedding of embeddings) await embedding.close();
		await base.close();
	};
	try {
		const init = request.init === undefined ? undefined : await readInitPicture(request.init);
		check(base, init);
		const tokenizers = await openTokenizers(base, request.base.tokenizer, '--tokenizer DIR');
		opened = await openAdapterSpecs(
			specs.map(({ spec }) => spec),
			{ ...request.reading, base: base.model.inventory, distinct: true, embeddingsAlone: true, note },
		);
		embeddings = await openEmbeddings(request.embeddings);
		const adapters: KnownAdapter[] = [];
		for (const [i, { spec, origin }] of specs.entries()) {
			const adapter = opened[i];
			if (adapter !== undefined) adapters.push({ spec, use: adapter.use, record: await adapterRecord(adapter, origin) });
		}
		const files = [...opened.flatMap((adapter) => adapter.opened.sources), ...(init === undefined ? [] : [init.path])];
		return { base, tokenizers, adapters, embeddings, init, prompts, files, close };
	} catch (error) {
		await close();
		throw error;
	}
}

interface NamedSpec {
	readonly spec: string;
	readonly origin: PictureRecord['adapters'][number]['origin'];
}

function specsOf({ adapters, loraDir, grid }: GenerateRequest, [first]: readonly ReadPrompts[]): readonly NamedSpec[] {
	const ofPrompt = loraDir === undefined || first === undefined ? [] : first.loras.map((lora) => specOfPromptLora(lora, loraDir));
	const ofGrid = new Set(grid?.axes.flatMap(({ values }) => values.flatMap(({ change }) => change.lora ?? [])));
	return [
		...adapters,
		...ofPrompt.map((spec): NamedSpec => ({ spec, origin: 'prompt' })),
		...[...ofGrid].map((spec): NamedSpec => ({ spec, origin: 'grid' })),
	];
}

async function adapterRecord({ use, opened, sha256, blocks }: OpenedAdapter, origin: NamedSpec['origin']): Promise<KnownAdapter['record']> {
	const [main] = opened.sources;
	if (main === undefined) throw new FormatError('E_INTERNAL', `${quote(opened.main)} has no file.`);
	const state = await openStateDict(main, { values: false });
	const { autoV3Short } = await fileHashes(main, state, createNodeSha256);
	const { scale, components } = use.strength;
	return {
		path: opened.main,
		sha256,
		hash: autoV3Short,
		scale,
		components: Object.fromEntries(components),
		blocks: blocks ?? null,
		origin,
	};
}
