import { FormatError, openStateDict } from '@lorakit/format';
import { openFileSource } from '@lorakit/format/node';
import type { BaseClue } from './find-base.js';
import type { HubModel } from './hub-api.js';
import type { ModelCard } from './model-card.js';

/** The names of the base in the card, in what the Hub's API says, and in the text of older cards. */
export function cardClues(card: ModelCard, model: HubModel | undefined): { readonly first: readonly BaseClue[]; readonly last: BaseClue } {
	const tags = model?.tags ?? card.tags;
	const tagged = (start: string): string[] => tags.filter((tag) => tag.startsWith(start)).map((tag) => tag.slice(start.length));
	return {
		first: [
			{ source: 'The card', names: card.baseModels },
			{ source: "The Hub's reading of the card", names: model?.baseModels ?? [] },
			{ source: 'A tag', names: tagged('base_model:adapter:') },
			{ source: 'A tag', names: tagged('base_model:').filter((name) => !name.includes(':')) },
		],
		last: { source: 'The text of the card', names: card.baseInText === undefined ? [] : [card.baseInText] },
	};
}

/** Keys of a header that name the base outright: kohya's, then what exporters of PEFT write. */
const NAME_KEYS: readonly string[] = ['ss_sd_model_name', 'base_model_name_or_path', 'base_model', 'modelspec.base_model'];

/**
 * The names of the base in an adapter's own header. The file is read by format's checked readers, a torch file too;
 * nothing in it is run. A file that cannot be read gives no clue here: loading it says what is wrong.
 * Source of `lora_adapter_metadata`: diffusers src/diffusers/loaders/lora_base.py `_save_lora_weights`.
 */
export async function headerClue(file: string): Promise<BaseClue> {
	const names: string[] = [];
	try {
		const source = await openFileSource(file);
		try {
			const { metadata } = await openStateDict(source);
			for (const key of NAME_KEYS) {
				const value = metadata.get(key);
				if (value !== undefined && value !== '' && value !== 'None') names.push(value);
			}
			names.push(...peftNames(metadata.get('lora_adapter_metadata')));
		} finally {
			await source.close();
		}
	} catch (error) {
		if (!(error instanceof FormatError)) throw error;
	}
	return { source: 'The header of the file', names };
}

/** `base_model_name_or_path` and `revision` of PEFT's adapter_config.json. */
export function configClue(text: string): BaseClue {
	const source = 'The adapter_config.json';
	const value = parse(text);
	if (typeof value !== 'object' || value === null) return { source, names: [] };
	const name = 'base_model_name_or_path' in value ? value.base_model_name_or_path : undefined;
	const revision = 'revision' in value && typeof value.revision === 'string' && value.revision !== '' ? value.revision : undefined;
	return { source, names: typeof name === 'string' && name !== '' ? [name] : [], revision };
}

/** Values of all `*.base_model_name_or_path`, one for each component. */
function peftNames(text: string | undefined): string[] {
	const value = text === undefined ? undefined : parse(text);
	if (typeof value !== 'object' || value === null) return [];
	const names: string[] = [];
	for (const [key, entry] of Object.entries(value)) {
		if (key.endsWith('base_model_name_or_path') && typeof entry === 'string' && entry !== '') names.push(entry);
	}
	return names;
}

function parse(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch {
		return undefined;
	}
}
