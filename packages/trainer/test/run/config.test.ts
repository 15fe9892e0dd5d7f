import fs from 'node:fs';
import path from 'node:path';
import { FormatError } from '@lorakit/format';
import Ajv2020 from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { applyOverrides, CONFIG_FLAGS, parseSet } from '../../src/run/config/config-overrides.js';
import { parseRunConfig } from '../../src/run/config/parse-run-config.js';
import { readRunYaml } from '../../src/run/config/read-run-yaml.js';
import type { Objective } from '../../src/run/config/run-config.js';
import { runConfigJsonSchema } from '../../src/run/config/run-config-json-schema.js';

const origin = { name: 'run.yaml' };
const parse = (text: string, objective: Objective = 'text-to-image') => parseRunConfig(readRunYaml(text, 'run.yaml'), objective, origin);

function refusal(make: () => unknown): { code: string; message: string; at: string | undefined } {
	try {
		make();
	} catch (error) {
		if (error instanceof FormatError) return { code: error.code, message: error.message, at: error.at };
		throw error;
	}
	throw new Error('not refused');
}

const TOKEN = 'token: {placeholder_token: <x>, initializer_token: dog}';

describe('a run config', () => {
	it('has the defaults of the scripts of diffusers and cloneofsimo', () => {
		const t2i = parse('base: sd\ndata: {path: pictures}');
		expect(t2i.train).toMatchObject({
			learning_rate: 1e-4,
			train_batch_size: 16,
			num_train_epochs: 100,
			max_grad_norm: 1,
			max_train_steps: null,
		});
		expect(t2i.adapter).toMatchObject({ rank: 4, alpha: null, targets: 'attention' });
		expect(t2i.optimizer).toEqual({ kind: 'adamw', betas: [0.9, 0.999], weight_decay: 0.01, eps: 1e-8 });
		expect(t2i.checkpoints.every).toBe(500);
		const db = parse('base: sd\ndata: {path: p, instance_prompt: a zqx dog}', 'dreambooth');
		expect(db.train).toMatchObject({ learning_rate: 5e-4, train_batch_size: 4, num_train_epochs: 1 });
		const ti = parse('base: sd\ndata: {path: p}\ntoken: {placeholder_token: <x>, initializer_token: dog}', 'textual-inversion');
		expect(ti.train).toMatchObject({ max_train_steps: 5000, max_grad_norm: null });
		const pti = parse('base: sd\ndata: {path: p}\ntoken: {placeholder_token: <x>, initializer_token: dog}', 'pivotal');
		expect(pti.inversion).toMatchObject({ steps: 1000, learning_rate: 5e-4, continue_inversion: true });
		expect(pti.optimizer).toMatchObject({ kind: 'adamw', weight_decay: 1e-3 });
		expect(pti.train.step_rule).toBe('cloneofsimo');
		expect(pti.token?.norm_prior).toBe(true);
	});

	it('lets named epochs win over the steps of an objective', () => {
		const text = 'base: sd\ndata: {path: p}\ntoken: {placeholder_token: <x>, initializer_token: dog}\ntrain: {num_train_epochs: 3}';
		expect(parse(text, 'textual-inversion').train).toMatchObject({ max_train_steps: null, num_train_epochs: 3 });
	});

	it('reads 1e-4 as a number, as PyYAML does not', () => {
		expect(parse('base: sd\ndata: {path: p}\ntrain: {learning_rate: 1e-4}').train.learning_rate).toBe(1e-4);
	});

	it('names the key, what is there, what is expected, and the nearest name', () => {
		expect(refusal(() => parse('base: sd\ndata: {path: p}\ntrain: {learning_rat: 1}'))).toEqual({
			code: 'E_CONFIG',
			message: 'run.yaml: "train.learning_rat" is no key of "train"; did you mean "learning_rate"?',
			at: 'train.learning_rat',
		});
		expect(refusal(() => parse('base: sd\ndata: {path: p}\ntrain: {learning_rate: fast}')).message).toBe(
			'run.yaml: "train.learning_rate" is "fast", but a number is expected.',
		);
		expect(refusal(() => parse('base: sd\ndata: {path: p}\nimages: {buckets: {step: 1.5}}')).message).toContain(
			'"images.buckets.step" is 1.5',
		);
		expect(refusal(() => parse('base: sd\ndata: {path: p}\nadapter: {targets: conf}')).message).toBe(
			'run.yaml: "adapter.targets" is "conf", but one of "attention", "attention+ff", "conv" is expected.',
		);
		expect(refusal(() => parse('data: {path: p}')).message).toContain('"base" is missing; give it: A base model');
		expect(refusal(() => parse('base: sd')).message).toContain('"data.path" is missing');
		expect(refusal(() => parse('base: sd\ndata: {path: p}\nvalidation: {prompts: [a, 3]}')).message).toContain(
			'"validation.prompts[1]" is 3, but a text',
		);
		expect(refusal(() => parse('base: sd\ndata: {path: p}\noptimizer: {kind: sgd}')).message).toContain(
			'one of "adamw", "adamw8bit", "prodigy"',
		);
		expect(refusal(() => parse('base: sd\ndata: {path: p}\noptimizer: {kind: adamw, beta: 0.9}')).message).toContain(
			'did you mean "betas"',
		);
		expect(refusal(() => parse('- a')).message).toContain('a list where a table of keys is expected');
	});

	it.each([
		['text-to-image', 'prior: {class_prompt: a dog}', 'prior'],
		['text-to-image', 'token: {placeholder_token: <x>, initializer_token: dog}', 'token'],
		['dreambooth', '', 'data.instance_prompt'],
		['pivotal', '', 'token'],
		['text-to-image', 'inversion: {}', 'inversion'],
		['text-to-image', 'images: {resolution: 500}', 'images.resolution'],
		['text-to-image', 'loss: {min_timestep: 500, max_timestep: 500}', 'loss.max_timestep'],
		['text-to-image', 'validation: {keep_best: true}', 'validation.keep_best'],
		['text-to-image', 'validation: {every: 10, patience: 2}', 'validation.patience'],
		['text-to-image', 'validation: {every: 10, held_out_fraction: 0.1, held_out_folder: x}', 'validation.held_out_folder'],
		['text-to-image', 'train: {max_train_steps: 10, lr_scheduler: cosine, lr_warmup_steps: 10}', 'train.lr_warmup_steps'],
		['text-to-image', 'optimizer: {kind: prodigy}\ntrain: {text_encoder_learning_rate: 0.5}', 'train.text_encoder_learning_rate'],
		['text-to-image', 'adapter: {targets: null}', 'adapter.targets'],
		['text-to-image', 'ema: {decay: 0.5, min_decay: 0.6}', 'ema.min_decay'],
		['text-to-image', 'images: {buckets: {enabled: true, min: 100}}', 'images.buckets.min'],
		['text-to-image', 'images: {buckets: {enabled: true, max: 1001}}', 'images.buckets.max'],
		// Prodigy has one step size, and pivotal tuning's defaults have three rates.
		['pivotal', `${TOKEN}\noptimizer: {kind: prodigy}\ntrain: {learning_rate: 1}`, 'train.text_encoder_learning_rate'],
		[
			'pivotal',
			`${TOKEN}\noptimizer: {kind: prodigy}\ntrain: {learning_rate: 1, text_encoder_learning_rate: null}`,
			'train.token_learning_rate',
		],
		// Nothing would heed these.
		['text-to-image', 'train: {lr_warmup_steps: 5}', 'train.lr_warmup_steps'],
		['text-to-image', 'train: {lr_num_cycles: 2}', 'train.lr_num_cycles'],
		['text-to-image', 'train: {lr_power: 2}', 'train.lr_power'],
		['text-to-image', 'train: {text_encoder_learning_rate: 1e-5}', 'train.text_encoder_learning_rate'],
		['text-to-image', 'train: {token_learning_rate: 1e-5}', 'train.token_learning_rate'],
		['pivotal', `${TOKEN}\ninversion: {continue_inversion: false}\ntrain: {token_learning_rate: 1e-5}`, 'train.token_learning_rate'],
		['pivotal', `${TOKEN}\ninversion: {lr_scheduler: constant, lr_warmup_steps: 5}`, 'inversion.lr_warmup_steps'],
		['pivotal', `${TOKEN}\ninversion: {max_timestep_after: 500}\nloss: {max_timestep: 600}`, 'inversion.max_timestep_after'],
		['pivotal', TOKEN.replace('dog', 'dog, norm_prior: false, norm_prior_target: 1'), 'token.norm_prior_target'],
		['textual-inversion', `${TOKEN}\nadapter: {rank: 8}`, 'adapter.rank'],
		['textual-inversion', `${TOKEN}\nadapter: {use_dora: true}`, 'adapter.use_dora'],
		['text-to-image', 'images: {buckets: {max: 1024}}', 'images.buckets.max'],
		['text-to-image', 'images: {buckets: {enabled: true, upscale: false, max: 1024}}', 'images.buckets.max'],
		['text-to-image', 'images: {buckets: {upscale: false}}', 'images.buckets.upscale'],
		['text-to-image', 'captions: {keep_tags: 1}', 'captions.keep_tags'],
		['text-to-image', 'captions: {separator: ";"}', 'captions.separator'],
		['text-to-image', 'loss: {unmasked_weight: 0.1}', 'loss.unmasked_weight'],
		['text-to-image', 'cache: {latents: false, text: false, folder: c}', 'cache.folder'],
		['text-to-image', 'output: {embeddings: inside}', 'output.embeddings'],
		['text-to-image', 'logs: {wandb_project: mine}', 'logs.wandb_project'],
		['text-to-image', 'logs: {dashboard_port: 8000}', 'logs.dashboard_port'],
		['text-to-image', 'engine: {engine: tfjs, threads: 2}', 'engine.threads'],
	] as const)('refuses what does not go together: %s, %s', (objective, text, at) => {
		expect(refusal(() => parse(`base: sd\ndata: {path: p}\n${text}`, objective))).toMatchObject({ code: 'E_CONFIG', at });
	});

	it('refuses the revision of what is no data set on the Hub', () => {
		const text = (kind: string): string => `base: sd\ndata: {path: p, kind: ${kind}, revision: main}`;
		expect(refusal(() => parse(text('folder')))).toMatchObject({ code: 'E_CONFIG', at: 'data.revision' });
		expect(parse(text('hub')).data.revision).toBe('main');
	});

	it('takes what is heeded: the same keys in other company', () => {
		for (const [objective, text] of [
			['text-to-image', 'train: {lr_scheduler: constant_with_warmup, lr_warmup_steps: 5}'],
			['text-to-image', 'train: {lr_scheduler: cosine_with_restarts, lr_num_cycles: 2}'],
			['text-to-image', 'adapter: {text_encoder: attention}\ntrain: {text_encoder_learning_rate: 1e-5}'],
			['pivotal', `${TOKEN}\nadapter: {text_encoder: null}`],
			[
				'pivotal',
				`${TOKEN}\noptimizer: {kind: prodigy}\ntrain: {learning_rate: 1, text_encoder_learning_rate: null, token_learning_rate: 1}`,
			],
			['textual-inversion', `${TOKEN}\ntrain: {token_learning_rate: 1e-3}`],
			['text-to-image', 'images: {buckets: {enabled: true, min: 256, max: 1024}}'],
			['text-to-image', 'captions: {shuffle_tags: true, keep_tags: 1}'],
		] as const) {
			expect(() => parse(`base: sd\ndata: {path: p}\n${text}`, objective), text).not.toThrow();
		}
	});

	it('reads YAML under limits', () => {
		expect(refusal(() => readRunYaml('a: [1', 'run.yaml'))).toMatchObject({
			code: 'E_CONFIG',
			message: expect.stringContaining('line 1, column'),
		});
		expect(refusal(() => readRunYaml('a: 1\na: 2', 'run.yaml')).code).toBe('E_CONFIG');
		const bomb = `a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n${Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(10).fill(`*a${i}`).join(',')}]`).join('\n')}`;
		expect(refusal(() => readRunYaml(bomb, 'run.yaml')).code).toBe('E_LIMIT');
		expect(refusal(() => readRunYaml('['.repeat(20_000), 'run.yaml')).code).toMatch(/E_LIMIT|E_CONFIG/);
		expect(refusal(() => readRunYaml(`${'['.repeat(40)}${']'.repeat(40)}`, 'run.yaml')).code).toBe('E_LIMIT');
		expect(refusal(() => readRunYaml(' '.repeat(1_100_000), 'run.yaml')).code).toBe('E_LIMIT');
	});
});

describe('overrides', () => {
	const set = (...given: readonly string[]) => applyOverrides({ base: 'sd', data: { path: 'p' } }, given.map(parseSet));

	it('set keys by path, as the type that the key takes', () => {
		const { document, flagOf } = set(
			'train.learning_rate=1e-3',
			'images.center_crop=true',
			'token.placeholder_token=007',
			'validation.every=null',
			'validation.prompts=["a","b"]',
			'adapter.patterns=[{"pattern":"mid_block","rank":8}]',
			'optimizer.kind=prodigy',
		);
		expect(document).toEqual({
			base: 'sd',
			data: { path: 'p' },
			train: { learning_rate: 0.001 },
			images: { center_crop: true },
			token: { placeholder_token: '007' },
			validation: { every: null, prompts: ['a', 'b'] },
			adapter: { patterns: [{ pattern: 'mid_block', rank: 8 }] },
			optimizer: { kind: 'prodigy' },
		});
		expect(flagOf.get('train.learning_rate')).toBe('--set train.learning_rate');
	});

	it('name the flag where the value is wrong, and the nearest key', () => {
		const { document, flagOf } = set('train.learning_rate=fast');
		expect(refusal(() => parseRunConfig(document, 'text-to-image', { name: 'run.yaml', flagOf })).message).toBe(
			'--set train.learning_rate: "train.learning_rate" is "fast", but a number is expected.',
		);
		expect(refusal(() => set('train.lr=1')).code).toBe('E_USAGE');
		expect(refusal(() => set('trai.learning_rate=1')).message).toContain('did you mean "train"?');
		expect(refusal(() => set('seed.x=1')).message).toContain('"seed" is no table');
		expect(refusal(() => parseSet('seed')).code).toBe('E_USAGE');
		expect(refusal(() => set('__proto__.x=1')).code).toBe('E_USAGE');
	});

	it('has flags for keys that there are, each once', () => {
		for (const { key, kind } of CONFIG_FLAGS) {
			expect(() => applyOverrides({}, [{ flag: '--x', key, value: kind === 'switch' ? true : '1' }])).not.toThrow();
		}
		expect(new Set(CONFIG_FLAGS.map(({ flag }) => flag)).size).toBe(CONFIG_FLAGS.length);
	});
});

describe('the JSON schema', () => {
	const file = path.resolve(import.meta.dirname, '../../schema/run-config.schema.json');

	it('is the one published', () => {
		expect(JSON.parse(fs.readFileSync(file, 'utf8'))).toEqual(JSON.parse(JSON.stringify(runConfigJsonSchema())));
	});

	it('accepts and refuses as the program does', () => {
		const check = new Ajv2020.Ajv2020({ strict: false }).compile(runConfigJsonSchema());
		for (const text of [
			'base: sd\ndata: {path: p}',
			'base: sd\ndata: {path: p}\nema: {}\nvalidation: {every: null}\noptimizer: {kind: prodigy}\nadapter: {patterns: [{pattern: mid_block, alpha: 2}], targets: null, text_encoder: attention}',
		]) {
			expect(check(readRunYaml(text, 'x'))).toBe(true);
		}
		for (const text of [
			'base: sd',
			'base: sd\ndata: {path: p}\ntrain: {learning_rate: 0}',
			'base: sd\ndata: {path: p}\nx: 1',
			'base: sd\ndata: {path: p}\nseed: 1.5',
			'base: sd\ndata: {path: p}\noptimizer: {kind: sgd}',
		]) {
			expect(check(readRunYaml(text, 'x'))).toBe(false);
		}
	});
});
