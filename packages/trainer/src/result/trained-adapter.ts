import { type Adapter, bytesTensor, type Embedding, FormatError, quote, type Role, type TargetModule, type Tensor } from '@lorakit/format';
import { type Architecture, countOf } from '@lorakit/runtime';
import type { TrainableTensor } from '../model/trainable-tensor.js';

/** A target module: what its factors alone do not say. */
export interface TrainedModule {
	/** `unet`, `text_encoder`, `text_encoder_2`. */
	readonly component: string;
	/** In diffusers' names, of CLIP always with `text_model.`. */
	readonly path: string;
	readonly rank: number;
	readonly alpha: number;
	/** rsLoRA: scaling alpha / sqrt(rank) instead of alpha / rank. */
	readonly rsLora?: boolean | undefined;
}

/** A learned token: the next `vectors` rows of `added_rows`. */
export interface TrainedToken {
	readonly token: string;
	readonly vectors: number;
}

/** What trained tensors are. */
export interface AdapterDescription {
	/** Of messages and of files that need a name. */
	readonly name: string;
	readonly architecture: Architecture;
	/** One for each module that has factors. */
	readonly modules: readonly TrainedModule[];
	/** In the order of their rows. */
	readonly tokens?: readonly TrainedToken[] | undefined;
	/** Header entries; see `adapterMetadata`. Default: `format` = `pt` alone. */
	readonly metadata?: ReadonlyMap<string, string> | undefined;
}

/** A tensor whose values may be left out: its size is known before it is trained. */
export type SizedTensor = Pick<TrainableTensor, 'name' | 'shape'>;

/** Rows of learned tokens: `added_rows` of the first text encoder, `text_encoder_2.added_rows` of the second. */
const ROWS = /^(?:(text_encoder(?:_\d)?)\.)?added_rows$/;
const FACTOR = /^(unet|text_encoder(?:_\d)?)\.(.+):(down|up|magnitude)$/;

/**
 * What was trained, as the canonical adapter: every layout of `@lorakit/format` writes it, every transform takes it. The
 * values are copied, so that training may go on.
 *
 * @param tensors names as `TrainableTensor` has them; factors are A and B themselves
 * @throws {FormatError} `E_LORA_UNPAIRED` (a factor without its other, a module without factors), `E_LORA_RANK`, `E_LORA_SHAPE`
 *   (factors that are not those of the description), `E_LORA_ALPHA`, `E_UNKNOWN_KEY` (a name that is none of ours), `E_SHAPE`,
 *   `E_EMPTY_ADAPTER`
 */
export function trainedAdapter(tensors: readonly TrainableTensor[], description: AdapterDescription): Adapter {
	return adapterOf(tensors, description, (tensor, shape, from, count) =>
		bytesTensor('F32', shape, floatBytes(tensor.values.subarray(from, from + count))),
	);
}

/** The same over anything that gives tensors of the right shapes. @throws as `trainedAdapter` */
export function adapterOf<T extends SizedTensor>(
	tensors: readonly T[],
	description: AdapterDescription,
	part: (tensor: T, shape: readonly number[], from: number, count: number) => Tensor,
): Adapter {
	const factors = new Map<string, Partial<Record<Role, Tensor>>>();
	const rows: { component: string; tensor: T }[] = [];
	for (const tensor of tensors) {
		const found = FACTOR.exec(tensor.name);
		const table = ROWS.exec(tensor.name);
		if (table !== null) rows.push({ component: table[1] ?? 'text_encoder', tensor });
		else if (found === null) {
			throw new FormatError(
				'E_UNKNOWN_KEY',
				`The trained tensor ${quote(tensor.name)} is no factor of a module (COMPONENT.PATH:down, :up, :magnitude) and no added_rows; it has no place in a file.`,
				{ at: tensor.name },
			);
		} else {
			const key = `${found[1]} ${found[2]}`;
			const own = factors.get(key) ?? {};
			factors.set(key, own);
			// The pattern allows these three alone.
			own[found[3] as 'down' | 'up' | 'magnitude'] = part(tensor, tensor.shape, 0, countOf(tensor.shape));
		}
	}
	const modules = description.modules.map((module) => {
		const key = `${module.component} ${module.path}`;
		const own = factors.get(key);
		factors.delete(key);
		return targetModule(module, own ?? {});
	});
	const [stray] = factors.keys();
	if (stray !== undefined) {
		throw new FormatError(
			'E_LORA_UNPAIRED',
			`${quote(stray)} was trained, but the description has no such module, so nothing says its alpha.`,
			{
				at: stray,
			},
		);
	}
	const embeddings = rows.flatMap(({ component, tensor }) => embeddingsOf(component, tensor, description.tokens ?? [], rows.length, part));
	if (modules.length === 0 && embeddings.length === 0) {
		throw new FormatError('E_EMPTY_ADAPTER', `${quote(description.name)}: nothing was trained, so there is nothing to write.`);
	}
	if (rows.length === 0 && (description.tokens ?? []).length > 0) {
		throw new FormatError('E_SHAPE', `The description names learned tokens, but there is no added_rows that holds their vectors.`);
	}
	return {
		naming: 'diffusers',
		modules,
		embeddings,
		metadata: description.metadata ?? new Map([['format', 'pt']]),
		consumed: [],
		form: new Map(),
		unknown: new Map(),
		dead: new Map(),
		base: {
			family: description.architecture,
			label: LABELS[description.architecture],
			confidence: 1,
			evidence: ['It was trained over such a base.'],
		},
		source: { layout: 'trainer', container: 'memory', name: description.name },
		warnings: [],
	};
}

const LABELS: Readonly<Record<Architecture, string>> = {
	sd1: 'Stable Diffusion 1.x',
	sd2: 'Stable Diffusion 2.x',
	sdxl: 'Stable Diffusion XL',
};

function targetModule(module: TrainedModule, factors: Partial<Record<Role, Tensor>>): TargetModule {
	const { component, path, rank, alpha, rsLora = false } = module;
	const where = `${component} ${path}`;
	const { down, up, magnitude } = factors;
	if (down === undefined || up === undefined) {
		throw new FormatError('E_LORA_UNPAIRED', `${where} has no ${down === undefined ? 'down' : 'up'} among the trained tensors.`, {
			at: path,
		});
	}
	if (!Number.isInteger(rank) || rank < 1 || down.shape[0] !== rank || up.shape[1] !== rank) {
		throw new FormatError(
			'E_LORA_RANK',
			`${where} is described with rank ${rank}, but its down is (${down.shape.join(', ')}) and its up (${up.shape.join(', ')}).`,
			{ at: path },
		);
	}
	const conv = down.shape.length === 4 && up.shape.length === 4 && up.shape[2] === 1 && up.shape[3] === 1;
	if (!conv && (down.shape.length !== 2 || up.shape.length !== 2)) {
		throw new FormatError(
			'E_LORA_SHAPE',
			`${where}: down (${down.shape.join(', ')}) and up (${up.shape.join(', ')}) are neither (r, in) and (out, r) nor (r, in, kh, kw) and (out, r, 1, 1).`,
			{ at: path },
		);
	}
	if (magnitude !== undefined && (magnitude.shape.length !== 1 || magnitude.shape[0] !== up.shape[0])) {
		throw new FormatError(
			'E_LORA_SHAPE',
			`${where}: its DoRA magnitude is (${magnitude.shape.join(', ')}), but the module has ${up.shape[0]} outputs.`,
			{ at: path },
		);
	}
	if (!Number.isFinite(alpha)) {
		throw new FormatError('E_LORA_ALPHA', `${where} has alpha ${alpha}, which is no number to scale by.`, { at: path });
	}
	return {
		component,
		path,
		resolved: true,
		family: 'lora',
		factors: magnitude === undefined ? { down, up } : { down, up, magnitude },
		rank,
		alpha,
		alphaSource: 'config',
		alphaTensor: undefined,
		scaleTensor: undefined,
		rule: rsLora ? 'alpha/sqrt(rank)' : 'alpha/rank',
		scaling: rsLora ? alpha / Math.sqrt(rank) : alpha / rank,
		magnitudeAxis: magnitude === undefined ? undefined : 'out',
	};
}

/** Leaves of a token that two text encoders learned: one file holds both (SDXL). */
const SLOTS: ReadonlyMap<string, string> = new Map([
	['text_encoder', 'clip_l'],
	['text_encoder_2', 'clip_g'],
]);

function embeddingsOf<T extends SizedTensor>(
	component: string,
	tensor: T,
	tokens: readonly TrainedToken[],
	encoders: number,
	part: (tensor: T, shape: readonly number[], from: number, count: number) => Tensor,
): readonly Embedding[] {
	const [count = 0, width = 0] = tensor.shape;
	const named = tokens.reduce((sum, { vectors }) => sum + vectors, 0);
	if (tensor.shape.length !== 2 || named !== count || tokens.some(({ vectors }) => !Number.isInteger(vectors) || vectors < 1)) {
		throw new FormatError(
			'E_SHAPE',
			`${quote(tensor.name)} is (${tensor.shape.join(', ')}), but the ${tokens.length} learned tokens have ${named} vectors together.`,
			{ at: tensor.name },
		);
	}
	let row = 0;
	return tokens.map(({ token, vectors }): Embedding => {
		// One vector alone is (width), as diffusers' script saves it; of two text encoders it stays a row, as its advanced script has it: A1111
		// counts the rows of clip_g.
		const shape = vectors === 1 && encoders === 1 ? [width] : [vectors, width];
		const own = part(tensor, shape, row * width, vectors * width);
		row += vectors;
		return { token, slot: encoders > 1 ? (SLOTS.get(component) ?? '') : '', component, vectors: own };
	});
}

/** Little-endian bytes of a copy. */
function floatBytes(values: Float32Array): Uint8Array {
	const bytes = new Uint8Array(values.length * 4);
	const view = new DataView(bytes.buffer);
	if (LITTLE) new Float32Array(bytes.buffer).set(values);
	else for (const [i, value] of values.entries()) view.setFloat32(4 * i, value, true);
	return bytes;
}

const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
