import { FormatError, nearestName, quote } from '@lorakit/format';
import { RUN_CONFIG_SCHEMA } from './run-config-schema.js';
import { childOf, innermost, keysOf, type SchemaNode } from './schema-walk.js';

/** A flag of `lora train` that stands for a key. */
export interface ConfigFlag {
	/** Without the dashes: `learning-rate`. */
	readonly flag: string;
	/** Key path: `train.learning_rate`. */
	readonly key: string;
	/** `value` takes one argument, `switch` none, `list` one that may be given several times. */
	readonly kind: 'value' | 'switch' | 'list';
	/** What a switch says; left out: true. */
	readonly value?: string;
}

/** Flags of their own; every other key is reached by `--set KEY=VALUE`. */
export const CONFIG_FLAGS: readonly ConfigFlag[] = [
	{ flag: 'base', key: 'base', kind: 'value' },
	{ flag: 'data', key: 'data.path', kind: 'value' },
	{ flag: 'out', key: 'output.folder', kind: 'value' },
	{ flag: 'layout', key: 'output.layout', kind: 'value' },
	{ flag: 'dtype', key: 'output.dtype', kind: 'value' },
	{ flag: 'seed', key: 'seed', kind: 'value' },
	{ flag: 'resolution', key: 'images.resolution', kind: 'value' },
	{ flag: 'center-crop', key: 'images.center_crop', kind: 'switch' },
	{ flag: 'random-flip', key: 'images.random_flip', kind: 'switch' },
	{ flag: 'buckets', key: 'images.buckets.enabled', kind: 'switch' },
	{ flag: 'steps', key: 'train.max_train_steps', kind: 'value' },
	{ flag: 'epochs', key: 'train.num_train_epochs', kind: 'value' },
	{ flag: 'batch-size', key: 'train.train_batch_size', kind: 'value' },
	{ flag: 'accumulate', key: 'train.gradient_accumulation_steps', kind: 'value' },
	{ flag: 'lr', key: 'train.learning_rate', kind: 'value' },
	{ flag: 'text-encoder-lr', key: 'train.text_encoder_learning_rate', kind: 'value' },
	{ flag: 'token-lr', key: 'train.token_learning_rate', kind: 'value' },
	{ flag: 'lr-scheduler', key: 'train.lr_scheduler', kind: 'value' },
	{ flag: 'lr-warmup-steps', key: 'train.lr_warmup_steps', kind: 'value' },
	{ flag: 'optimizer', key: 'optimizer.kind', kind: 'value' },
	{ flag: 'snr-gamma', key: 'loss.snr_gamma', kind: 'value' },
	{ flag: 'noise-offset', key: 'loss.noise_offset', kind: 'value' },
	{ flag: 'prediction-type', key: 'loss.prediction_type', kind: 'value' },
	{ flag: 'rank', key: 'adapter.rank', kind: 'value' },
	{ flag: 'alpha', key: 'adapter.alpha', kind: 'value' },
	{ flag: 'targets', key: 'adapter.targets', kind: 'value' },
	{ flag: 'train-text-encoder', key: 'adapter.text_encoder', kind: 'switch', value: 'attention' },
	{ flag: 'dora', key: 'adapter.use_dora', kind: 'switch' },
	{ flag: 'rslora', key: 'adapter.use_rslora', kind: 'switch' },
	{ flag: 'init-adapter', key: 'adapter.init', kind: 'value' },
	{ flag: 'instance-prompt', key: 'data.instance_prompt', kind: 'value' },
	{ flag: 'class-prompt', key: 'prior.class_prompt', kind: 'value' },
	{ flag: 'class-data', key: 'prior.class_data_dir', kind: 'value' },
	{ flag: 'class-images', key: 'prior.num_class_images', kind: 'value' },
	{ flag: 'prior-weight', key: 'prior.prior_loss_weight', kind: 'value' },
	{ flag: 'placeholder-token', key: 'token.placeholder_token', kind: 'value' },
	{ flag: 'initializer-token', key: 'token.initializer_token', kind: 'value' },
	{ flag: 'engine', key: 'engine.engine', kind: 'value' },
	{ flag: 'device', key: 'engine.device', kind: 'value' },
	{ flag: 'threads', key: 'engine.threads', kind: 'value' },
	{ flag: 'memory', key: 'engine.memory', kind: 'value' },
	{ flag: 'mixed-precision', key: 'engine.mixed_precision', kind: 'value' },
	{ flag: 'validation-every', key: 'validation.every', kind: 'value' },
	{ flag: 'validation-prompt', key: 'validation.prompts', kind: 'list' },
	{ flag: 'keep-best', key: 'validation.keep_best', kind: 'switch' },
	{ flag: 'checkpoint-every', key: 'checkpoints.every', kind: 'value' },
	{ flag: 'keep-checkpoints', key: 'checkpoints.keep', kind: 'value' },
	{ flag: 'dashboard', key: 'logs.dashboard', kind: 'switch' },
];

/** One value that stands over the document's. */
export interface ConfigOverride {
	/** As the user wrote it, for messages: `--learning-rate`. */
	readonly flag: string;
	readonly key: string;
	readonly value: string | boolean | readonly string[];
}

type Document = Readonly<Record<string, unknown>>;

/** `a.b=c` of `--set`. @throws {FormatError} `E_USAGE` */
export function parseSet(given: string): ConfigOverride {
	const cut = given.indexOf('=');
	if (cut < 1) throw new FormatError('E_USAGE', `--set ${quote(given)} is no KEY=VALUE, such as train.learning_rate=1e-4.`);
	const key = given.slice(0, cut).trim();
	return { flag: `--set ${key}`, key, value: given.slice(cut + 1) };
}

/**
 * A document with values set over it. A text becomes what the key takes: number, true or false, `null`, a list for a list's key
 * (JSON, or one item). The document is not changed.
 * @throws {FormatError} `E_USAGE` for a key that there is not, with the nearest one; `E_CONFIG` where the document's parent is no table
 */
export function applyOverrides(
	document: Document,
	overrides: readonly ConfigOverride[],
): { readonly document: Document; readonly flagOf: ReadonlyMap<string, string> } {
	const flagOf = new Map<string, string>();
	let out = document;
	for (const override of overrides) {
		const node = nodeOf(override);
		out = setAt(out, override.key.split('.'), readValue(override.value, node), override);
		flagOf.set(override.key, override.flag);
	}
	return { document: out, flagOf };
}

function nodeOf({ flag, key }: ConfigOverride): SchemaNode {
	let node = RUN_CONFIG_SCHEMA as unknown as SchemaNode;
	const done: string[] = [];
	for (const part of key.split('.')) {
		const child = childOf(node, part);
		if (child === undefined) {
			const known = keysOf(node) ?? [];
			const near = nearestName(part, known);
			const place = done.length === 0 ? '' : `${done.join('.')}.`;
			throw new FormatError(
				'E_USAGE',
				`${flag}: there is no key ${quote(`${place}${part}`)}; ${near === undefined ? (known.length === 0 ? `${quote(done.join('.'))} is no table` : `known are ${known.map((k) => `${place}${k}`).join(', ')}`) : `did you mean ${quote(`${place}${near}`)}?`}${near === undefined ? '.' : ''}`,
			);
		}
		node = child;
		done.push(part);
	}
	return node;
}

function setAt(document: Document, path: readonly string[], value: unknown, override: ConfigOverride): Document {
	const [key = '', ...rest] = path;
	if (rest.length === 0) return { ...document, [key]: value };
	const below = Object.hasOwn(document, key) ? document[key] : undefined;
	if (below !== undefined && below !== null && (typeof below !== 'object' || Array.isArray(below))) {
		throw new FormatError(
			'E_CONFIG',
			`${override.flag}: ${quote(override.key)} cannot be set, for ${quote(key)} in the file is no table of keys.`,
		);
	}
	return { ...document, [key]: setAt((below ?? {}) as Document, rest, value, override) };
}

function readValue(given: ConfigOverride['value'], node: SchemaNode): unknown {
	if (typeof given === 'boolean') return given;
	if (typeof given !== 'string') return [...given];
	const inner = innermost(node);
	const nullable = isNullable(node);
	if (nullable && given === 'null') return null;
	switch (inner.type) {
		case 'number':
			// What is no number stays a text, so that the schema says what is expected.
			return given.trim() !== '' && Number.isFinite(Number(given)) ? Number(given) : given;
		case 'boolean':
			return given === 'true' ? true : given === 'false' ? false : given;
		case 'array':
			return given.trimStart().startsWith('[') ? jsonOr(given) : [given];
		case 'strict_tuple':
		case 'strict_object':
		case 'variant':
			return jsonOr(given);
		default:
			return given;
	}
}

function jsonOr(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch {
		return text;
	}
}

function isNullable(node: SchemaNode): boolean {
	return node.type === 'nullable' || (node.wrapped !== undefined && isNullable(node.wrapped));
}
