import type { Objective } from './run-config.js';

type Document = Readonly<Record<string, unknown>>;

/**
 * What differs from the general defaults by objective. Sources: examples/text_to_image/train_text_to_image_lora.py,
 * examples/dreambooth/train_dreambooth_lora.py, examples/textual_inversion/textual_inversion.py of huggingface/diffusers;
 * lora_diffusion/cli_lora_pti.py of cloneofsimo/lora.
 */
const DEFAULTS: Readonly<Record<Objective, Document>> = {
	'text-to-image': {},
	dreambooth: { train: { train_batch_size: 4, num_train_epochs: 1, learning_rate: 5e-4 } },
	'textual-inversion': { train: { max_train_steps: 5000, max_grad_norm: null } },
	pivotal: {
		train: {
			max_train_steps: 1000,
			train_batch_size: 1,
			text_encoder_learning_rate: 1e-5,
			lr_scheduler: 'linear',
			step_rule: 'cloneofsimo',
		},
		adapter: { text_encoder: 'attention' },
		token: { norm_prior: true },
		optimizer: { weight_decay: 1e-3 },
		inversion: {},
	},
};

/** A document with the defaults of an objective under what it says itself. The document is not changed. */
export function withObjectiveDefaults(document: Document, objective: Objective): Document {
	return under(under(document, DEFAULTS[objective], objective), { optimizer: { kind: 'adamw' } }, objective);
}

function under(document: Document, defaults: Document, objective: Objective): Document {
	const out: Record<string, unknown> = { ...document };
	for (const [key, value] of Object.entries(defaults)) {
		const given = Object.hasOwn(document, key) ? document[key] : undefined;
		if (isTable(value)) {
			// A token without its words is said to be missing, not to have wrong ones.
			if (given === undefined && key === 'token') continue;
			if (given === undefined || isTable(given)) out[key] = under(given ?? {}, value, objective);
		} else if (given === undefined) {
			// Epochs that the user names win over the steps of the defaults.
			if (key === 'max_train_steps' && Object.hasOwn(document, 'num_train_epochs')) continue;
			out[key] = value;
		}
	}
	return out;
}

function isTable(value: unknown): value is Document {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}
