import { escapeControls, type Warning } from '@lorakit/format';
import { parseDocument } from 'yaml';
import { MAX_CARD_BYTES, MAX_CARD_LIST, MAX_FRONT_MATTER_CHARS, MAX_YAML_ALIASES } from './hub-limits.js';

/** An example of a card: a prompt and the picture made from it. */
export interface CardExample {
	readonly text: string;
	/** Path in the repository or address, as the card has it. */
	readonly picture: string | undefined;
}

/** What the README.md of a model says, as far as inference has a use for it. Text as it stands in the file: quote it before printing. */
export interface ModelCard {
	/** `base_model`, a string or a list there: names of repositories, or whatever the author wrote. */
	readonly baseModels: readonly string[];
	/** `adapter`, `finetune`, `merge`, `quantized`. */
	readonly baseModelRelation: string | undefined;
	/** The base that the text names where diffusers' training scripts put it. */
	readonly baseInText: string | undefined;
	readonly tags: readonly string[];
	/** The words that call what was trained. */
	readonly instancePrompt: string | undefined;
	readonly license: string | undefined;
	readonly libraryName: string | undefined;
	readonly pipelineTag: string | undefined;
	readonly examples: readonly CardExample[];
	readonly warnings: readonly Warning[];
}

/**
 * Read a model card: YAML front matter between two lines `---`, then Markdown. A card that cannot be read is an empty
 * one with a warning: it is an adapter's label, not the adapter. Never throws.
 *
 * Source of the fields: huggingface_hub@1.33.0 repocard_data.py `ModelCardData`. The Hub's own cards begin with a line end
 * or a BOM now and then (sayakpaul/sd-model-finetuned-lora-t4, the card of the post), so white space before is passed over.
 */
export function readModelCard(text: string): ModelCard {
	if (text.length > MAX_CARD_BYTES) {
		return cardOf(new Map(), '', [unreadable(`it has ${text.length} characters, and ${MAX_CARD_BYTES} are read at most`)]);
	}
	const cut = /^\s*---[ \t]*\r?\n((?:[\s\S]*?\r?\n)?)---[ \t]*(?:\r?\n|$)/.exec(text);
	if (cut === null) return cardOf(new Map(), text, []);
	const body = text.slice(cut[0].length);
	const yaml = cut[1] ?? '';
	if (yaml.length > MAX_FRONT_MATTER_CHARS) {
		return cardOf(new Map(), body, [unreadable(`it has ${yaml.length} characters, and ${MAX_FRONT_MATTER_CHARS} are read at most`)]);
	}
	try {
		return cardOf(parseFields(yaml), body, []);
	} catch (error) {
		const [reason = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
		return cardOf(new Map(), body, [unreadable(escapeControls(reason.slice(0, 160)).replace(/[.:]$/, ''))]);
	}
}

/** Maps as `Map`, so that no key means anything to JavaScript; plain YAML 1.2 values, no tags that make objects. */
function parseFields(yaml: string): ReadonlyMap<unknown, unknown> {
	const document = parseDocument(yaml, { schema: 'core', version: '1.2', strict: false, uniqueKeys: false, logLevel: 'silent' });
	const [first] = document.errors;
	if (first !== undefined) throw first;
	const value: unknown = document.toJS({ mapAsMap: true, maxAliasCount: MAX_YAML_ALIASES });
	if (value === null || value === undefined) return new Map();
	if (!(value instanceof Map)) throw new Error('it is no list of names and values');
	return value;
}

function cardOf(fields: ReadonlyMap<unknown, unknown>, body: string, warnings: readonly Warning[]): ModelCard {
	return {
		baseModels: texts(fields.get('base_model')),
		baseModelRelation: textOf(fields.get('base_model_relation')),
		baseInText: baseInText(body),
		tags: texts(fields.get('tags')),
		instancePrompt: textOf(fields.get('instance_prompt')),
		license: textOf(fields.get('license')),
		libraryName: textOf(fields.get('library_name')),
		pipelineTag: textOf(fields.get('pipeline_tag')),
		examples: examplesOf(fields.get('widget')),
		warnings,
	};
}

/**
 * "These are LoRA adaption weights for NAME. The weights were ...": the sentence of diffusers' training scripts, in all of
 * its spellings (examples/text_to_image/train_text_to_image_lora.py, examples/dreambooth/train_dreambooth_lora*.py
 * `save_model_card`). NAME may hold dots and be a Markdown link.
 */
function baseInText(body: string): string | undefined {
	const match =
		/\bLoRA\s+(?:adaption|adaptation|adapter)\s+weights\s+for\s+(?:\[([^\][\n]{1,200})\]\([^)\n]{0,300}\)|([^\s\][()]{1,300}))/.exec(body);
	const name = (match?.[1] ?? match?.[2] ?? '').replace(/[.,;:]+$/, '');
	return name === '' ? undefined : name;
}

function examplesOf(value: unknown): CardExample[] {
	const examples: CardExample[] = [];
	for (const entry of listOf(value)) {
		if (!(entry instanceof Map)) continue;
		const text = textOf(entry.get('text'));
		const output: unknown = entry.get('output');
		if (text !== undefined) examples.push({ text, picture: output instanceof Map ? textOf(output.get('url')) : undefined });
	}
	return examples;
}

/** The texts of a text or a list of them. */
function texts(value: unknown): string[] {
	const list = Array.isArray(value) ? listOf(value) : [value];
	return list.map(textOf).filter((text) => text !== undefined);
}

function listOf(value: unknown): unknown[] {
	return Array.isArray(value) ? value.slice(0, MAX_CARD_LIST) : [];
}

function textOf(value: unknown): string | undefined {
	const text = typeof value === 'string' ? value.trim() : typeof value === 'number' ? String(value) : '';
	return text === '' ? undefined : text;
}

function unreadable(reason: string): Warning {
	return { code: 'W_METADATA_PARSE', message: `The front matter of README.md cannot be read: ${reason}.`, at: 'README.md' };
}
