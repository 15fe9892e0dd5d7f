import {
	createGraphBuilder,
	type FormOf,
	type Graph,
	type RankOf,
	recordTextEncoder,
	recordUNet,
	type TextEncoderConfig,
	type UNetShape,
	type UnetConfig,
	type Value,
} from '@lorakit/runtime';
import { mul, reshape, scaleBy, sizeOf, sub, sum } from '@lorakit/runtime/ops';

/** Inputs of the objective, beside those of the models. */
export const OBJECTIVE_INPUTS = {
	/** (b, c, h, w) what the model should predict */
	target: 'target',
	/** (b) factor of each sample's mean squared error in the loss */
	weights: 'loss_weights',
	/** (b, 1, h, w) factor of each squared error, where there is a mask */
	mask: 'loss_mask',
} as const;

/** Outputs: the loss (1), (b) errors of the samples before weights, (b, c, h, w) the prediction. */
export const OBJECTIVE_OUTPUTS = { loss: 'loss', errors: 'errors', prediction: 'prediction' } as const;

export interface ObjectiveGraphOptions {
	readonly unet: UnetConfig;
	/** Where it or a token is trained: text states are then computed in the same graph, from token ids. */
	readonly textEncoder?: TextEncoderConfig | undefined;
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
	const { unet, textEncoder, clipSkip = 0, tokens, shape, masked, forms, ranks } = options;
	const { batch, height, width } = shape;
	const ops = createGraphBuilder();
	let states: Value | undefined;
	if (textEncoder !== undefined) {
		const { normed } = ops.scope(textEncoder.component, () =>
			recordTextEncoder(ops, textEncoder.component, textEncoder, { batch, tokens: shape.tokens }, { forms, ranks, added: tokens ?? 0 }),
		);
		states = normed[textEncoder.layers - clipSkip];
	}
	const prediction = ops.scope('unet', () => recordUNet(ops, unet, shape, { forms, ranks, states }));
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
