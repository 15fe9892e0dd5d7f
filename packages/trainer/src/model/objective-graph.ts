import {
	createGraphBuilder,
	type FormOf,
	type Graph,
	type GraphBuilder,
	type RankOf,
	recordTextEncoder,
	recordUNet,
	type TextEncoderConfig,
	type UNetShape,
	type UnetConfig,
	type Value,
} from '@lorakit/runtime';
import { concat, mul, reshape, scaleBy, sizeOf, sub, sum } from '@lorakit/runtime/ops';

/** Inputs of the objective, beside those of the models. */
export const OBJECTIVE_INPUTS = {
	/** (b, c, h, w) what the model should predict */
	target: 'target',
	/** (b) factor of each sample's mean squared error in the loss */
	weights: 'loss_weights',
	/** (b, 1, h, w) factor of each squared error, where there is a mask */
	mask: 'loss_mask',
	/** SDXL with text encoders in the graph: (b, 6 * addition_time_embed_dim) `timestepFeatures` of the time ids */
	timeIds: 'time_id_features',
} as const;

/** Outputs: the loss (1), (b) errors of the samples before weights, (b, c, h, w) the prediction. */
export const OBJECTIVE_OUTPUTS = { loss: 'loss', errors: 'errors', prediction: 'prediction' } as const;

export interface ObjectiveGraphOptions {
	readonly unet: UnetConfig;
	/** Where it or a token is trained: text states are then computed in the same graph, from token ids. */
	readonly textEncoder?: TextEncoderConfig | undefined;
	/** SDXL's second one, beside the first: its pooled state goes into the UNet too. */
	readonly textEncoder2?: TextEncoderConfig | undefined;
	/** Layers of the text encoder that are left out at the end, as at inference. */
	readonly clipSkip?: number | undefined;
	/** Learned tokens. */
	readonly tokens?: number | undefined;
	readonly shape: UNetShape;
	readonly masked: boolean;
	readonly forms: FormOf;
	readonly ranks: RankOf;
}

/**
 * Noisy latents to the loss, as a graph: loss = sum over samples of weight * mean((prediction - target)^2 * mask).
 * Every objective is this with other targets and weights (diffusers' examples/text_to_image/train_text_to_image_lora.py
 * and examples/dreambooth/train_dreambooth_lora.py; the mask as sd-scripts' library/custom_train_functions.py has it).
 */
export function objectiveGraph(options: ObjectiveGraphOptions): Graph {
	const { unet, textEncoder, shape, masked, forms, ranks } = options;
	const { batch, height, width } = shape;
	const ops = createGraphBuilder();
	const text = textEncoder === undefined ? {} : recordText(ops, textEncoder, options);
	const prediction = ops.scope('unet', () => recordUNet(ops, unet, shape, { forms, ranks, ...text }));
	ops.scope('loss', () => {
		const channels = sizeOf(prediction, 1);
		const difference = sub(ops, prediction, ops.input(OBJECTIVE_INPUTS.target, prediction.shape));
		let squares = mul(ops, difference, difference);
		if (masked) squares = mul(ops, squares, ops.input(OBJECTIVE_INPUTS.mask, [batch, 1, height, width]));
		const errors = scaleBy(ops, reshape(ops, sum(ops, squares, 1, 2, 3), [batch]), 1 / (channels * height * width));
		ops.output(OBJECTIVE_OUTPUTS.loss, sum(ops, mul(ops, errors, ops.input(OBJECTIVE_INPUTS.weights, [batch])), 0));
		ops.output(OBJECTIVE_OUTPUTS.errors, errors);
		ops.output(OBJECTIVE_OUTPUTS.prediction, prediction);
	});
	return ops.graph();
}

/**
 * What the text encoders tell the UNet. One: its states after the final norm. SDXL's two: states before the last layer without the norm, side by
 * side, and the second's pooled state beside the features of the time ids (diffusers' examples/text_to_image/train_text_to_image_lora_sdxl.py
 * `encode_prompt`). So nothing of the first one's last layer reaches the loss (`unreachedFactors`).
 */
function recordText(
	ops: GraphBuilder,
	first: TextEncoderConfig,
	{ unet, textEncoder2: second, clipSkip = 0, tokens = 0, shape, forms, ranks }: ObjectiveGraphOptions,
): { readonly states: Value | undefined; readonly added?: Value } {
	const { batch } = shape;
	const record = (config: TextEncoderConfig, prefix: string): ReturnType<typeof recordTextEncoder> =>
		ops.scope(config.component, () =>
			recordTextEncoder(ops, config.component, config, { batch, tokens: shape.tokens }, { forms, ranks, added: tokens, prefix }),
		);
	const one = record(first, '');
	if (second === undefined) return { states: one.normed[first.layers - clipSkip] };
	const two = record(second, SECOND_PREFIX);
	const [a, b] = [one.hidden[first.layers - 1 - clipSkip], two.hidden[second.layers - 1 - clipSkip]];
	if (a === undefined || b === undefined) throw new TypeError('a clip skip that leaves no layer');
	const width = (unet.projectionClassEmbeddingsInputDim ?? 0) - sizeOf(two.pooled, 1);
	const times = ops.input(OBJECTIVE_INPUTS.timeIds, [batch, width]);
	return { states: concat(ops, 2, a, b), added: concat(ops, 1, two.pooled, times) };
}

/** Before the names of the second text encoder's inputs. */
export const SECOND_PREFIX = 'text_encoder_2.';
