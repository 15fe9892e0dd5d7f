import type { Objective, RunConfig } from './config/run-config.js';

/** What a checkpoint belongs to. */
export interface RunIdentity {
	readonly objective: Objective;
	readonly config: RunConfig;
	/** `datasetDigest` of what is trained on, class and held-out pictures by their own names. */
	readonly data: Readonly<Record<string, string>>;
	/** SHA-256 of the base's weight files, by path. */
	readonly base: Readonly<Record<string, string>>;
	/** Who computes. */
	readonly engine: { readonly id: string; readonly device: string; readonly threads: number };
	/** `lorakit`, `node`, the engine's library. */
	readonly versions: Readonly<Record<string, string>>;
}

/** Something in which a checkpoint and this run differ. */
export interface RunDifference {
	/** Key path, such as `train.learning_rate`, `data digest`, `engine.threads`. */
	readonly path: string;
	readonly saved: string;
	readonly now: string;
	/** `refuse`: it would be another run. `bits`: it goes on, but the last bits may be others. */
	readonly kind: 'refuse' | 'bits';
}

/** Keys that decide no number of the training: logs, outputs, places (what lies there has a digest), pictures to look at. */
const FREE: readonly string[] = [
	'logs',
	'output',
	'checkpoints',
	'cache',
	'base',
	'base_variant',
	'base_config',
	'tokenizer',
	'data.path',
	'data.kind',
	'data.revision',
	'data.on_bad',
	'prior.class_data_dir',
	'prior.sample_steps',
	'prior.sample_guidance',
	'adapter.init',
	'validation.every',
	'validation.prompts',
	'validation.num_validation_images',
	'validation.sample_steps',
	'validation.guidance_scale',
	'validation.held_out_folder',
	'validation.draws',
	'validation.keep_best',
	'validation.patience',
];

/** Keys that may change the last bits, not what is trained. */
const BITS: readonly string[] = ['engine'];

/** Everything that differs and matters, the configuration's keys first. */
export function compareRuns(saved: RunIdentity, now: RunIdentity): readonly RunDifference[] {
	const out: RunDifference[] = [];
	const add = (path: string, a: unknown, b: unknown, kind: RunDifference['kind']): void => {
		if (JSON.stringify(a) !== JSON.stringify(b)) out.push({ path, saved: shown(a), now: shown(b), kind });
	};
	add('objective', saved.objective, now.objective, 'refuse');
	const [a, b] = [leavesOf(saved.config), leavesOf(now.config)];
	for (const path of new Set([...a.keys(), ...b.keys()])) {
		if (isUnder(path, FREE) || isFreeLength(path, now.config)) continue;
		add(path, a.get(path), b.get(path), isUnder(path, BITS) ? 'bits' : 'refuse');
	}
	for (const [what, x, y] of [
		['data', saved.data, now.data],
		['base', saved.base, now.base],
	] as const) {
		for (const name of new Set([...Object.keys(x), ...Object.keys(y)])) add(`${what} digest (${name})`, x[name], y[name], 'refuse');
	}
	for (const key of ['id', 'device', 'threads'] as const) add(`engine ${key}`, saved.engine[key], now.engine[key], 'bits');
	for (const name of new Set([...Object.keys(saved.versions), ...Object.keys(now.versions)])) {
		add(`version of ${name}`, saved.versions[name], now.versions[name], 'bits');
	}
	return out;
}

/** A constant rate does not know how long the run is, so it may be made longer. */
function isFreeLength(path: string, { train }: RunConfig): boolean {
	const length = path === 'train.max_train_steps' || path === 'train.num_train_epochs';
	return length && (train.lr_scheduler === 'constant' || train.lr_scheduler === 'constant_with_warmup');
}

function isUnder(path: string, prefixes: readonly string[]): boolean {
	return prefixes.some((prefix) => path === prefix || path.startsWith(`${prefix}.`));
}

/** Values by key path; lists are values. */
function leavesOf(value: unknown, path = '', out: Map<string, unknown> = new Map()): ReadonlyMap<string, unknown> {
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return out.set(path, value);
	for (const [key, child] of Object.entries(value)) leavesOf(child, path === '' ? key : `${path}.${key}`, out);
	return out;
}

function shown(value: unknown): string {
	return value === undefined ? 'not there' : (JSON.stringify(value) ?? 'not there').slice(0, 100);
}
