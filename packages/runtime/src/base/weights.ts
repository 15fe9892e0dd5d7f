import { FormatError, quote, type Tensor } from '@lorakit/format';

/** Where one weight lies, and what has to be done to have it in diffusers' shape. */
export interface WeightPlace {
	/** The file, relative to the model's folder, and the name in it: for messages. */
	readonly file: string;
	readonly name: string;
	readonly tensor: Tensor;
	/** diffusers' shape; as many elements as the rows (or the whole tensor) have. */
	readonly shape: readonly number[];
	/** First row and number of rows in the stored tensor, when the weight is a part of it (OpenCLIP's q, k and v). */
	readonly rows?: readonly [from: number, count: number];
	/** True when the file holds (in, out); `shape` is (out, in). Never together with `rows`. */
	readonly transposed?: boolean;
}

/** Every weight by its diffusers/transformers name inside a component (`unet`, `vae`, `text_encoder`, `text_encoder_2`). */
export interface Weights {
	/** In diffusers' form; undefined when the base has none of that name. */
	shape(component: string, name: string): readonly number[] | undefined;
	/** Text encoders: always with their `text_model.` level, whatever the file has; `text_projection.weight` at the top. */
	names(component: string): Iterable<string>;
	locate(component: string, name: string): WeightPlace | undefined;
}

/** Weights over the places of each component. */
export function weightsOf(places: ReadonlyMap<string, ReadonlyMap<string, WeightPlace>>): Weights {
	return {
		shape: (component, name) => places.get(component)?.get(name)?.shape,
		names: (component) => places.get(component)?.keys() ?? [],
		locate: (component, name) => places.get(component)?.get(name),
	};
}

/**
 * The weight that a model needs.
 *
 * @param shape what the configuration says it must be
 * @throws {FormatError} `E_BASE_MISMATCH` when the base has none of that name, `E_SHAPE` when it has another shape.
 */
export function requireWeight(weights: Weights, component: string, name: string, shape: readonly number[]): WeightPlace {
	const place = weights.locate(component, name);
	if (place === undefined) {
		throw new FormatError(
			'E_BASE_MISMATCH',
			`The base has no ${quote(name)} in its ${component}, which its configuration asks for with shape (${shape.join(', ')}); weights and config.json belong to different models.`,
			{ at: `${component}:${name}` },
		);
	}
	if (place.shape.length !== shape.length || place.shape.some((d, i) => d !== shape[i])) {
		throw new FormatError(
			'E_SHAPE',
			`${quote(`${place.file}:${place.name}`)} is (${place.shape.join(', ')}), but the configuration of ${component} asks for (${shape.join(', ')}); weights and config.json belong to different models.`,
			{ at: place.name },
		);
	}
	return place;
}
