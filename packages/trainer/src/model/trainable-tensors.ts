import { countOf, createTorchGenerator, inputName, type ParameterSource, type TorchGenerator } from '@lorakit/runtime';
import type { TargetModule } from './target-modules.js';
import type { ParameterGroup, TrainableTensor } from './trainable-tensor.js';

/** The input of a graph that holds learned tokens' rows; of SDXL's second text encoder those. */
export const TOKEN_ROWS = 'added_rows';
export const TOKEN_ROWS_2 = 'text_encoder_2.added_rows';

export interface InitialFactors {
	readonly seed: number;
	/** Standard deviation of the first factor by rank r: `gaussian` 1 / r (diffusers and cloneofsimo), `kaiming` (PEFT's default). */
	readonly init?: 'gaussian' | 'kaiming' | undefined;
}

/**
 * Factors before the first step: A (down) is random, B (up) zero, so that the model is the base; a DoRA magnitude is the
 * norm of its row. In the order of the modules.
 * @throws {FormatError} those of reading a weight (DoRA)
 */
export async function initialTensors(
	modules: readonly TargetModule[],
	{ seed, init = 'gaussian' }: InitialFactors,
	parameters: ParameterSource,
): Promise<readonly TrainableTensor[]> {
	const generator = createTorchGenerator(seed);
	const tensors: TrainableTensor[] = [];
	for (const module of modules) {
		const { component, path, rank, inner, out } = module;
		const group = groupOf(component);
		const add = (part: 'down' | 'up' | 'magnitude', shape: readonly number[], values: Float32Array): void => {
			tensors.push({ name: inputName(component, path, part), group, shape, values });
		};
		const downShape = [rank, ...inner];
		add('down', downShape, randomFactor(generator, countOf(downShape), rank, countOf(inner), init));
		const upShape = [out, rank, ...inner.slice(1).map(() => 1)];
		add('up', upShape, new Float32Array(countOf(upShape)));
		if (module.dora) add('magnitude', [out], rowNorms(await parameters.read(`${component}.${path}.weight`), out));
	}
	return tensors;
}

/** Rows of learned tokens as something to train. @param values (count, width), kept @param name of the second text encoder's: `TOKEN_ROWS_2` */
export function tokenRows(
	values: Float32Array,
	count: number,
	name: typeof TOKEN_ROWS | typeof TOKEN_ROWS_2 = TOKEN_ROWS,
): TrainableTensor {
	return { name, group: 'tokens', shape: [count, values.length / count], values };
}

function groupOf(component: string): ParameterGroup {
	return component === 'unet' ? 'unet' : 'text_encoder';
}

function randomFactor(generator: TorchGenerator, count: number, rank: number, fanIn: number, init: 'gaussian' | 'kaiming'): Float32Array {
	if (init === 'gaussian') return generator.randn(count).map((x) => x / rank);
	// torch.nn.init.kaiming_uniform_ with a = sqrt(5): uniform within 1 / sqrt(fan in).
	const bound = 1 / Math.sqrt(fanIn);
	return generator.rand(count).map((x) => (2 * x - 1) * bound);
}

function rowNorms(weight: Float32Array, rows: number): Float32Array {
	const columns = weight.length / rows;
	return Float32Array.from({ length: rows }, (_, i) => {
		let sum = 0;
		for (let j = i * columns; j < (i + 1) * columns; j++) sum += (weight[j] ?? 0) ** 2;
		return Math.sqrt(sum);
	});
}
