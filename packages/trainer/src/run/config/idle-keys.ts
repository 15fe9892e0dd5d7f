import type { Objective, RunConfig } from './run-config.js';

/** A key that says something which nothing would heed. */
export interface IdleKey {
	readonly path: string;
	/** The rest of a sentence that begins with the key. */
	readonly why: string;
}

/**
 * Keys that are given, but whose section or neighbours make them mean nothing: a warm-up of a constant rate, the rate of a text
 * encoder that is not trained. A key that has its default cannot be told from one that was left out, so it is none of them.
 */
export function idleKeys(config: RunConfig, objective: Objective): readonly IdleKey[] {
	const found: IdleKey[] = [];
	const check = (path: string, given: boolean, heeded: boolean, why: string): void => {
		if (given && !heeded) found.push({ path, why });
	};
	rates(config, objective, check);
	pictures(config, check);
	adapter(config, objective, check);
	outputs(config, check);
	return found;
}

type Check = (path: string, given: boolean, heeded: boolean, why: string) => void;

function rates({ train, inversion, adapter: { text_encoder, include } }: RunConfig, objective: Objective, check: Check): void {
	const schedules = [train.lr_scheduler, ...(inversion === null ? [] : [inversion.lr_scheduler])];
	check(
		'train.lr_warmup_steps',
		train.lr_warmup_steps > 0,
		train.lr_scheduler !== 'constant',
		'is there, but a constant rate has no warm-up; take lr_scheduler constant_with_warmup.',
	);
	check(
		'train.lr_num_cycles',
		train.lr_num_cycles !== 1,
		schedules.includes('cosine_with_restarts'),
		'is there, but only cosine_with_restarts has cycles; set lr_scheduler, or leave it out.',
	);
	check(
		'train.lr_power',
		train.lr_power !== 1,
		schedules.includes('polynomial'),
		'is there, but only polynomial has a power; set lr_scheduler, or leave it out.',
	);
	// Pivotal tuning has a default for it, which does not show whether a text encoder is trained.
	check(
		'train.text_encoder_learning_rate',
		train.text_encoder_learning_rate !== null,
		objective === 'pivotal' || text_encoder !== null || include.length > 0,
		'is there, but no text encoder is trained; set adapter.text_encoder (--train-text-encoder), or leave it out.',
	);
	const learnsToken = objective === 'textual-inversion' || (objective === 'pivotal' && inversion?.continue_inversion === true);
	check(
		'train.token_learning_rate',
		train.token_learning_rate !== null,
		learnsToken,
		`is there, but ${objective} ${objective === 'pivotal' ? 'without inversion.continue_inversion ' : ''}has no token to train with it; leave it out.`,
	);
	check(
		'inversion.lr_warmup_steps',
		(inversion?.lr_warmup_steps ?? 0) > 0,
		inversion?.lr_scheduler !== 'constant',
		'is there, but a constant rate has no warm-up; take lr_scheduler constant_with_warmup.',
	);
}

function pictures({ images: { buckets }, captions, loss, inversion, cache, data }: RunConfig, check: Check): void {
	for (const side of ['min', 'max'] as const) {
		const path = `images.buckets.${side}`;
		check(path, buckets[side] !== null, buckets.enabled, 'is there, but images.buckets.enabled is false; set it, or leave this out.');
		const fixed = !buckets.enabled || buckets.upscale;
		check(
			path,
			buckets[side] !== null,
			fixed,
			'is there, but without images.buckets.upscale buckets are made to fit the pictures; leave it out.',
		);
	}
	check(
		'images.buckets.upscale',
		!buckets.upscale,
		buckets.enabled,
		'is false, but images.buckets.enabled is false too; set it, or leave this out.',
	);
	const tags = captions.shuffle_tags || captions.tag_dropout > 0;
	check(
		'captions.keep_tags',
		captions.keep_tags > 0,
		tags,
		'is there, but no tags are shuffled or dropped; set captions.shuffle_tags or tag_dropout.',
	);
	check(
		'captions.separator',
		captions.separator !== ',',
		tags,
		'is there, but no tags are shuffled or dropped; set captions.shuffle_tags or tag_dropout.',
	);
	check('loss.unmasked_weight', loss.unmasked_weight > 0, loss.masked, 'is there, but loss.masked is false; set it, or leave this out.');
	check(
		'inversion.max_timestep_after',
		inversion !== null && inversion.max_timestep_after !== null,
		loss.max_timestep === null,
		'is there, but loss.max_timestep says it for both phases; give one.',
	);
	check(
		'cache.folder',
		cache.folder !== null,
		cache.latents || cache.text,
		'is there, but cache.latents and cache.text are both false; leave it out.',
	);
	check(
		'data.revision',
		data.revision !== null,
		data.kind === 'hub' || data.kind === 'auto',
		`is there, but data.kind is ${data.kind}, and only a data set on the Hub has revisions; leave it out.`,
	);
}

function adapter({ adapter: given, token }: RunConfig, objective: Objective, check: Check): void {
	const trains = objective !== 'textual-inversion';
	const why = 'is there, but textual inversion trains the token alone; leave it out, or take pivotal for both.';
	check('adapter.rank', given.rank !== 4, trains, why);
	check('adapter.alpha', given.alpha !== null, trains, why);
	check('adapter.include', given.include.length > 0, trains, why);
	check('adapter.exclude', given.exclude.length > 0, trains, why);
	check('adapter.patterns', given.patterns.length > 0, trains, why);
	check('adapter.use_dora', given.use_dora, trains, why);
	check('adapter.use_rslora', given.use_rslora, trains, why);
	check(
		'token.norm_prior_target',
		token !== null && token.norm_prior_target !== 0.4,
		token?.norm_prior === true,
		'is there, but token.norm_prior is false; set it, or leave this out.',
	);
}

function outputs({ output, token, logs, engine }: RunConfig, check: Check): void {
	check('output.embeddings', output.embeddings !== null, token !== null, 'is there, but no token is learned; leave it out.');
	check(
		'logs.wandb_project',
		logs.wandb_project !== 'lorakit',
		logs.wandb,
		'is there, but logs.wandb is false; set it, or leave this out.',
	);
	check(
		'logs.dashboard_port',
		logs.dashboard_port !== 0,
		logs.dashboard,
		'is there, but logs.dashboard is false; set it (--dashboard), or leave this out.',
	);
	check(
		'engine.threads',
		engine.threads !== null,
		engine.engine === 'onnx' || engine.threads === 1,
		`is ${engine.threads}, but ${engine.engine} decides that itself; leave it out, or take the engine onnx.`,
	);
}
