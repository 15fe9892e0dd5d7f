import { readKohyaSs } from './kohya-ss.js';
import { readModelSpec } from './modelspec.js';
import { ssText } from './ss-values.js';

/** What a header says for a model card: title, author, license, base, whoever wrote it. */
export interface CardFacts {
	readonly title: string | undefined;
	readonly author: string | undefined;
	readonly license: string | undefined;
	readonly description: string | undefined;
	/** Name of the base as the header has it; may be a path on the trainer's machine. */
	readonly baseModel: string | undefined;
	/** Tool that wrote the file: sd-scripts, ai-toolkit, OneTrainer, ... */
	readonly software: string | undefined;
	readonly tags: readonly string[];
}

/** Facts for people from every metadata convention of the field, modelspec first. Never throws. */
export function cardFacts(metadata: ReadonlyMap<string, string>): CardFacts {
	const { fields } = readModelSpec(metadata);
	const ss = readKohyaSs(metadata);
	return {
		title: ssText(fields.get('title')) ?? ss.outputName ?? ssText(metadata.get('name')),
		author: ssText(fields.get('author')),
		license: ssText(fields.get('license')),
		description: ssText(fields.get('description')) ?? ss.comment,
		baseModel: ss.sdModelName ?? peftBase(metadata),
		software: software(metadata, ss.networkModule),
		tags: (ssText(fields.get('tags')) ?? '')
			.split(',')
			.map((tag) => tag.trim())
			.filter((tag) => tag !== ''),
	};
}

function software(metadata: ReadonlyMap<string, string>, networkModule: string | undefined): string | undefined {
	const said = ssText(metadata.get('software'));
	if (said !== undefined) {
		try {
			const value: unknown = JSON.parse(said);
			if (typeof value === 'object' && value !== null && 'name' in value && typeof value.name === 'string') return value.name;
		} catch {
			return said;
		}
	}
	if (networkModule?.startsWith('lycoris') === true) return 'LyCORIS in sd-scripts';
	if (networkModule?.startsWith('networks.') === true) return 'sd-scripts';
	if (metadata.has('lora_adapter_metadata')) return 'diffusers with PEFT';
	return undefined;
}

function peftBase(metadata: ReadonlyMap<string, string>): string | undefined {
	const text = metadata.get('lora_adapter_metadata');
	if (text === undefined) return undefined;
	try {
		const value: unknown = JSON.parse(text);
		if (typeof value !== 'object' || value === null) return undefined;
		for (const [key, entry] of Object.entries(value)) {
			if (key.endsWith('base_model_name_or_path') && typeof entry === 'string' && entry !== '') return entry;
		}
	} catch {
		return undefined;
	}
	return undefined;
}
