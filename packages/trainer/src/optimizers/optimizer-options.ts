import { FormatError, quote } from '@lorakit/format';
import * as v from 'valibot';

/** Names of the optimizers there are. */
export const OPTIMIZER_KINDS = ['adamw', 'adamw8bit', 'prodigy'] as const;
export type OptimizerKind = (typeof OPTIMIZER_KINDS)[number];

/** torch's AdamW. Keys are those of a run's YAML file. */
export interface AdamWOptions {
	readonly kind: 'adamw';
	/** Decay of the running means of the gradient and of its square. */
	readonly betas: readonly [number, number];
	/** Added to the divisor. */
	readonly eps: number;
	/** Part of a value that is taken off for each step and unit of learning rate. */
	readonly weight_decay: number;
}

/** bitsandbytes' AdamW8bit. */
export interface AdamW8bitOptions {
	readonly kind: 'adamw8bit';
	readonly betas: readonly [number, number];
	readonly eps: number;
	readonly weight_decay: number;
	/** Tensors with fewer values keep float32 moments. */
	readonly min_8bit_size: number;
}

/** Prodigy. The learning rate that goes with it is 1. */
export interface ProdigyOptions {
	readonly kind: 'prodigy';
	readonly betas: readonly [number, number];
	/** Decay of the running sums that the step size is estimated from; null: the root of the second beta. */
	readonly beta3: number | null;
	readonly eps: number;
	readonly weight_decay: number;
	/** Decay as AdamW's; otherwise it is added to the gradient. */
	readonly decouple: boolean;
	readonly use_bias_correction: boolean;
	/** Keeps the learning rate out of the estimate's divisor, so that warm-up does not blow it up. */
	readonly safeguard_warmup: boolean;
	/** First step size. */
	readonly d0: number;
	/** The estimate is multiplied by it: below 1 is more cautious. */
	readonly d_coef: number;
	/** The step size grows by at most this factor each step; null: no limit. */
	readonly growth_rate: number | null;
}

/** How tensors are changed by their gradients, every key with its value. */
export type OptimizerOptions = AdamWOptions | AdamW8bitOptions | ProdigyOptions;

/** The same where everything but the kind may be left out. */
export type OptimizerOptionsInput =
	| (Pick<AdamWOptions, 'kind'> & Partial<AdamWOptions>)
	| (Pick<AdamW8bitOptions, 'kind'> & Partial<AdamW8bitOptions>)
	| (Pick<ProdigyOptions, 'kind'> & Partial<ProdigyOptions>);

const beta = v.pipe(v.number(), v.minValue(0), v.ltValue(1));
const atLeast0 = v.pipe(v.number(), v.finite(), v.minValue(0));
const above0 = v.pipe(v.number(), v.finite(), v.gtValue(0));

/** Keys that all kinds have; defaults, Prodigy's too, are those of diffusers' training scripts (examples/text_to_image, examples/dreambooth). */
const shared = {
	betas: v.optional(
		v.pipe(
			v.strictTuple([beta, beta]),
			v.readonly(),
			v.description("decay of the running means of the gradient and of its square; diffusers' adam_beta1 and adam_beta2"),
		),
		() => [0.9, 0.999] as [number, number],
	),
	eps: v.optional(v.pipe(above0, v.description("added to the divisor; diffusers' adam_epsilon")), 1e-8),
	weight_decay: v.optional(
		v.pipe(atLeast0, v.description("part of a value taken off for each step and unit of learning rate; diffusers' adam_weight_decay")),
		1e-2,
	),
};

const adamw = v.strictObject({ kind: v.literal('adamw'), ...shared });
const adamw8bit = v.strictObject({
	kind: v.literal('adamw8bit'),
	...shared,
	min_8bit_size: v.optional(
		v.pipe(v.number(), v.integer(), v.minValue(0), v.description('tensors with fewer values keep float32 moments')),
		4096,
	),
});
const prodigy = v.strictObject({
	kind: v.literal('prodigy'),
	...shared,
	beta3: v.optional(
		v.nullable(v.pipe(beta, v.description('decay of the sums that the step size is estimated from; null: the root of the second beta'))),
		null,
	),
	decouple: v.optional(v.pipe(v.boolean(), v.description("weight decay as AdamW's; otherwise it is added to the gradient")), true),
	use_bias_correction: v.optional(v.pipe(v.boolean(), v.description("Adam's bias correction")), true),
	safeguard_warmup: v.optional(v.pipe(v.boolean(), v.description("keeps the learning rate out of the estimate's divisor")), true),
	d0: v.optional(v.pipe(above0, v.description('first step size')), 1e-6),
	d_coef: v.optional(v.pipe(above0, v.description('the estimate is multiplied by it')), 1),
	growth_rate: v.optional(
		v.nullable(
			v.pipe(v.number(), v.finite(), v.minValue(1), v.description('the step size grows by at most this factor each step; null: no limit')),
		),
		null,
	),
});

/** Checks options and fills in what is left out; unknown keys are refused. A run's configuration uses it as it is. */
export const optimizerOptionsSchema: v.GenericSchema<OptimizerOptionsInput, OptimizerOptions> = v.variant('kind', [
	adamw,
	adamw8bit,
	prodigy,
]) as unknown as v.GenericSchema<OptimizerOptionsInput, OptimizerOptions>;

/**
 * Options, checked and filled in.
 *
 * @throws {FormatError} `E_CONFIG` naming the key
 */
export function parseOptimizerOptions(input: unknown): OptimizerOptions {
	const result = v.safeParse(optimizerOptionsSchema, input);
	if (result.success) return result.output;
	const [issue] = result.issues;
	const key = v.getDotPath(issue) ?? 'kind';
	throw new FormatError('E_CONFIG', `The optimizer's option ${quote(key)} has ${issue.received}; expected ${expectedOf(key, issue)}.`, {
		at: key,
	});
}

function expectedOf(key: string, issue: v.BaseIssue<unknown>): string {
	if (key === 'kind') return `one of ${OPTIMIZER_KINDS.join(', ')}`;
	if (issue.expected === 'never') return 'no such key';
	return issue.expected ?? 'a finite number';
}
