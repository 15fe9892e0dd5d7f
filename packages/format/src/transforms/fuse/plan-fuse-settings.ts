import type { Adapter } from '../../adapter.js';
import type { PeftOftConfig } from '../../families/index.js';
import { parseObject } from '../../metadata/adapter-config.js';

/** What of a PEFT configuration decides arithmetic and is no scaling. */
export interface PeftSettings {
	/** `fan_in_fan_out`: GPT-2's Conv1D stores (in, out). */
	readonly fanIn: boolean;
	/** For OFT; undefined without a configuration. */
	readonly oft: PeftOftConfig | undefined;
}

const NONE: PeftSettings = { fanIn: false, oft: undefined };
/** PEFT's defaults. huggingface/peft@5d602fd tuners/oft/config.py. */
const DEFAULT_TERMS = 5;

/** The settings in the configuration that an adapter kept (form `peft.config`: kept where our own would say something else). */
export function peftSettings(adapter: Adapter): PeftSettings {
	const text = adapter.form.get('peft.config');
	const fields = text === undefined ? undefined : parseObject(text);
	if (fields === undefined) return NONE;
	const terms = fields.get('num_cayley_neumann_terms');
	return {
		fanIn: fields.get('fan_in_fan_out') === true,
		oft: {
			cayleyNeumann: fields.get('use_cayley_neumann') !== false,
			terms: typeof terms === 'number' && Number.isInteger(terms) && terms > 0 ? terms : DEFAULT_TERMS,
		},
	};
}
