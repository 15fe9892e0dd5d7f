import { FormatError, type WarningSink } from '../errors.js';
import { checkVariant, parseObject, scalingFields } from './adapter-config.js';
import type { PeftScaling } from './peft-scaling.js';
import { type Json, pythonJson } from './python-json.js';

/** The header entry in which diffusers keeps PEFT's configuration. */
export const ADAPTER_METADATA_KEY: string = 'lora_adapter_metadata';

/**
 * Read diffusers' `lora_adapter_metadata`: component -> what its `LoraConfig` says. The text is one flat JSON object,
 * `"{component}.{field}"`; `save_lora_adapter` writes bare fields, which come back under the component ''.
 * Source: huggingface/diffusers@58eb52c src/diffusers/loaders/lora_base.py `write_lora_layers`.
 *
 * A text that cannot be used gives `W_METADATA_PARSE` and no component: the alpha is then unknown, as without it.
 *
 * @throws {FormatError} `E_UNSUPPORTED_ADAPTER` for LoRA variants that mean something else.
 */
export function parseAdapterMetadata(text: string, warn: WarningSink): ReadonlyMap<string, PeftScaling> {
	const out = new Map<string, PeftScaling>();
	const fields = parseObject(text);
	if (fields === undefined) {
		warn({
			code: 'W_METADATA_PARSE',
			message: `${ADAPTER_METADATA_KEY} is not a JSON object, so nothing in this file says alpha.`,
			at: ADAPTER_METADATA_KEY,
		});
		return out;
	}
	const components = new Map<string, Map<string, unknown>>();
	for (const [key, value] of fields) {
		const at = key.lastIndexOf('.');
		const component = at < 0 ? '' : key.slice(0, at);
		let own = components.get(component);
		if (own === undefined) {
			own = new Map();
			components.set(component, own);
		}
		own.set(key.slice(at + 1), value);
	}
	for (const [component, own] of components) {
		if (!own.has('r') && !own.has('lora_alpha')) continue;
		const where = `${ADAPTER_METADATA_KEY} of ${component === '' ? 'this file' : component}`;
		checkVariant(own, where, warn);
		try {
			out.set(component, scalingFields(own, 'LORA', where));
		} catch (error) {
			if (!(error instanceof FormatError)) throw error;
			warn({ code: 'W_METADATA_PARSE', message: `${error.message} Its alpha is taken as unknown.`, at: ADAPTER_METADATA_KEY });
		}
	}
	return out;
}

/** The text for the given components, as diffusers writes it. */
export function buildAdapterMetadata(components: ReadonlyMap<string, ReadonlyMap<string, Json>>): string {
	const flat = new Map<string, Json>();
	for (const [component, fields] of components) {
		for (const [field, value] of fields) flat.set(component === '' ? field : `${component}.${field}`, value);
	}
	return pythonJson(Object.fromEntries(flat));
}
