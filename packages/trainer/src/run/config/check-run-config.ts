import { FormatError, quote } from '@lorakit/format';
import { idleKeys } from './idle-keys.js';
import type { ConfigOrigin } from './parse-run-config.js';
import type { Objective, RunConfig } from './run-config.js';

/** Rules between keys. @throws {FormatError} `E_CONFIG`, the first one that is broken */
export function checkRunConfig(config: RunConfig, objective: Objective, origin: ConfigOrigin): void {
	const { images, loss, train, validation, prior, token, inversion, data } = config;
	const fail = (path: string, what: string): never => {
		throw new FormatError('E_CONFIG', `${origin.flagOf?.get(path) ?? origin.name}: ${quote(path)} ${what}`, { at: path });
	};
	const tokens = objective === 'textual-inversion' || objective === 'pivotal';
	if (tokens && token === null) fail('token', `is missing; ${objective} needs token.placeholder_token and token.initializer_token.`);
	if (!tokens && token !== null)
		fail('token', `is there, but ${objective} learns no token; take pivotal or textual-inversion, or leave it out.`);
	if (objective !== 'pivotal' && inversion !== null)
		fail('inversion', `is there, but it is a part of pivotal tuning, not of ${objective}; leave it out.`);
	if (prior !== null && objective !== 'dreambooth')
		fail('prior', `is there, but only dreambooth preserves a prior; leave it out of ${objective}.`);
	if (objective === 'dreambooth' && data.instance_prompt === null) {
		fail('data.instance_prompt', 'is missing; dreambooth has one prompt for all pictures, such as "a photo of a zqx dog".');
	}
	if (tokens && data.instance_prompt !== null) {
		fail('data.instance_prompt', `is there, but ${objective} takes captions with the token or token.templates; leave it out.`);
	}
	if (objective === 'textual-inversion' && config.adapter.text_encoder !== null) {
		fail('adapter.text_encoder', 'is there, but textual inversion trains the token alone; take pivotal for both.');
	}
	const { targets, text_encoder: textTargets, include } = config.adapter;
	if (objective !== 'textual-inversion' && targets === null && textTargets === null && include.length === 0) {
		fail('adapter.targets', 'is null, and neither adapter.text_encoder nor adapter.include names a module: nothing would be trained.');
	}
	if (images.resolution % 8 !== 0)
		fail('images.resolution', `is ${images.resolution}, but a multiple of 8 is expected: a latent is 8 pixels wide.`);
	if (images.buckets.step % 8 !== 0) fail('images.buckets.step', `is ${images.buckets.step}, but a multiple of 8 is expected.`);
	const { min, max } = images.buckets;
	for (const [side, value] of [
		['min', min],
		['max', max],
	] as const) {
		if (value !== null && value % 8 !== 0) fail(`images.buckets.${side}`, `is ${value}, but a multiple of 8 is expected.`);
	}
	if (min !== null && max !== null && min > max) fail('images.buckets.min', `is ${min}, which is above images.buckets.max (${max}).`);
	if (loss.max_timestep !== null && loss.max_timestep <= loss.min_timestep) {
		fail(
			'loss.max_timestep',
			`is ${loss.max_timestep}, but it must be above loss.min_timestep (${loss.min_timestep}); it is not drawn itself.`,
		);
	}
	if (train.max_train_steps !== null && train.lr_scheduler !== 'constant' && train.lr_warmup_steps >= train.max_train_steps) {
		fail(
			'train.lr_warmup_steps',
			`is ${train.lr_warmup_steps}, but the run has only ${train.max_train_steps} steps: it would end before the rate is reached.`,
		);
	}
	if (config.optimizer.kind === 'prodigy') {
		for (const key of ['text_encoder_learning_rate', 'token_learning_rate'] as const) {
			const rate = train[key];
			if (rate !== null && rate !== train.learning_rate)
				fail(`train.${key}`, `is ${rate}, but Prodigy finds one step size for all: make it null, so that it is learning_rate.`);
		}
		// Left out, the token's rate in the second phase is that of the inversion.
		const token = inversion?.continue_inversion === true ? (train.token_learning_rate ?? inversion.learning_rate) : train.learning_rate;
		if (token !== train.learning_rate) {
			fail(
				'train.token_learning_rate',
				`is left out, so that the token goes on at inversion.learning_rate (${token}), but Prodigy finds one step size for all: make it learning_rate (${train.learning_rate}).`,
			);
		}
	}
	const ema = config.ema;
	if (ema !== null && ema.min_decay > ema.decay) fail('ema.min_decay', `is ${ema.min_decay}, which is above ema.decay (${ema.decay}).`);
	const measured = validation.held_out_fraction > 0 || validation.held_out_folder !== null;
	if (validation.held_out_fraction > 0 && validation.held_out_folder !== null) {
		fail('validation.held_out_folder', 'and validation.held_out_fraction both say what is held out; give one.');
	}
	if (validation.every === null) {
		for (const [key, wanted] of [
			['keep_best', validation.keep_best],
			['patience', validation.patience !== null],
			['held_out_fraction', validation.held_out_fraction > 0],
			['held_out_folder', validation.held_out_folder !== null],
		] as const) {
			if (wanted) fail(`validation.${key}`, 'needs validation.every: nothing is measured without it.');
		}
	}
	if (!measured && (validation.keep_best || validation.patience !== null)) {
		fail(
			validation.keep_best ? 'validation.keep_best' : 'validation.patience',
			'needs pictures to measure: give validation.held_out_fraction or validation.held_out_folder.',
		);
	}
	const [idle] = idleKeys(config, objective);
	if (idle !== undefined) fail(idle.path, idle.why);
}
