import fs from 'node:fs';
import path from 'node:path';
import {
	type ByteSink,
	bytesSource,
	decodeAdapter,
	decodeFloats,
	type LayoutInput,
	loadInput,
	type PlannedFile,
	parseUnetConfig,
	readSafetensors,
	type StateDict,
	unetModulesInOrder,
	writePlannedFile,
} from '@lorakit/format';
import type { TrainableTensor } from '../../src/model/trainable-tensor.js';
import type { ResultPlan } from '../../src/result/plan-result.js';
import type { TrainedModule } from '../../src/result/trained-adapter.js';
import type { TrainingFacts } from '../../src/result/training-facts.js';

export const FIXTURES = path.resolve(import.meta.dirname, '../../../../fixtures/training/result');

export function fixture(name: string): Uint8Array {
	return new Uint8Array(fs.readFileSync(path.join(FIXTURES, name)));
}

export function fixtureJson<T>(name: string): T {
	return JSON.parse(fs.readFileSync(path.join(FIXTURES, name), 'utf8')) as T;
}

export function stateDict(bytes: Uint8Array): Promise<StateDict> {
	return readSafetensors(bytesSource(bytes));
}

/** Tensors of a file of factors as the trainer has them. */
export async function trainables(bytes: Uint8Array): Promise<readonly TrainableTensor[]> {
	const out: TrainableTensor[] = [];
	for (const [name, tensor] of (await stateDict(bytes)).tensors) {
		const group = name.startsWith('unet.') ? 'unet' : name.endsWith('added_rows') ? 'tokens' : 'text_encoder';
		out.push({ name, group, shape: tensor.shape, values: Float32Array.from(decodeFloats('F32', await tensor.read())) });
	}
	return out;
}

export interface CaseModule extends TrainedModule {
	/** PEFT's own. */
	readonly scaling: number;
}

/** Bytes of a planned file. */
export async function bytesOf(content: PlannedFile | string, name: string): Promise<Uint8Array> {
	if (typeof content === 'string') return new TextEncoder().encode(content);
	const parts: Uint8Array[] = [];
	const sink: ByteSink = {
		async write(bytes) {
			parts.push(bytes.slice());
		},
	};
	await writePlannedFile(content, sink, { rootName: path.basename(name, path.extname(name)) });
	return new Uint8Array(Buffer.concat(parts));
}

/** Bytes of every file of a plan. */
export async function written(plan: ResultPlan): Promise<ReadonlyMap<string, Uint8Array>> {
	const out = new Map<string, Uint8Array>();
	for (const { name, content } of plan.files) out.set(name, await bytesOf(content, name));
	return out;
}

/** A file and its configuration, open as format reads it. */
export async function open(bytes: Uint8Array, config?: string): Promise<LayoutInput> {
	return loadInput({ main: bytesSource(bytes), config });
}

/** Component and path -> scaling and factors of a file. */
export async function meaning(bytes: Uint8Array, config?: string) {
	const { adapter } = decodeAdapter(await open(bytes, config), { order: 'new' });
	const modules = new Map<string, { readonly scaling: number; readonly factors: Readonly<Record<string, readonly number[]>> }>();
	for (const { component, path: name, scaling, factors } of adapter.modules) {
		const values: Record<string, readonly number[]> = {};
		for (const [role, tensor] of Object.entries(factors)) values[role] = [...decodeFloats(tensor.dtype, await tensor.read())];
		modules.set(`${component} ${name}`, { scaling, factors: values });
	}
	return { modules, adapter };
}

/** A training to describe. */
export function someFacts(changes: Partial<TrainingFacts> = {}): TrainingFacts {
	return {
		title: 'Striped shapes',
		objective: 'text-to-image',
		base: {
			name: 'tiny-shapes',
			repo: 'somebody/tiny-shapes',
			architecture: 'sd1',
			predictionType: 'epsilon',
			files: [{ path: 'unet/diffusion_pytorch_model.safetensors', bytes: 1234, sha256: 'ab'.repeat(32) }],
			autoV1: undefined,
		},
		data: {
			digest: 'cd'.repeat(32),
			folders: [{ name: 'striped', pictures: 10, repeats: 1, captions: ['a striped circle, red', 'a striped square, Red'] }],
			validationPictures: 2,
			buckets: [{ width: 64, height: 64, pictures: 10 }],
		},
		run: {
			seed: 7,
			steps: 400,
			maxSteps: 400,
			epochs: 320,
			batchSize: 8,
			accumulation: 1,
			width: 64,
			height: 64,
			learningRates: { unet: 0.003 },
			rateSchedule: 'cosine',
			warmupSteps: 10,
			optimizer: 'AdamW',
			optimizerArguments: { weight_decay: 0.01 },
			maxGradNorm: 1,
			mixedPrecision: 'no',
			gradientCheckpointing: false,
			minSnrGamma: 5,
			loss: 0.0703,
			validationLoss: 0.08,
			startedAt: Date.UTC(2026, 0, 2, 3, 4, 5),
			finishedAt: Date.UTC(2026, 0, 2, 3, 5, 5, 250),
			engine: 'onnx',
			device: 'cpu',
		},
		version: '0.1.0',
		license: 'cc0-1.0',
		author: 'somebody',
		description: 'Shapes with stripes.',
		tags: ['shapes'],
		triggerPhrase: 'striped',
		...changes,
	};
}

/** Modules of the attentions of an SD1-shaped UNet, in order, with tensors that the trainer would have for them. */
export function attentionOf(config: Readonly<Record<string, unknown>>, rank: number, alpha = rank) {
	const parsed = parseUnetConfig(config);
	const modules: TrainedModule[] = [];
	const tensors: TrainableTensor[] = [];
	for (const { path: name, shape } of unetModulesInOrder(parsed, 'new')) {
		if (!/\.attn[12]\.(?:to_q|to_k|to_v|to_out\.0)$/.test(name)) continue;
		const [out = 0, inner = 0] = shape;
		modules.push({ component: 'unet', path: name, rank, alpha });
		const add = (part: string, own: readonly [number, number]): void => {
			// Small halves are exact in every type.
			const values = Float32Array.from({ length: own[0] * own[1] }, (_, i) => ((i % 31) - 15) / 16);
			tensors.push({ name: `unet.${name}:${part}`, group: 'unet', shape: own, values });
		};
		add('down', [rank, inner]);
		add('up', [out, rank]);
	}
	return { modules, tensors };
}

const BLOCKS = {
	layers_per_block: 2,
	down_block_types: ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
	up_block_types: ['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
	in_channels: 4,
	out_channels: 4,
};

/** unet/config.json of Stable Diffusion 1.5, as far as it decides modules. */
export const SD15 = { ...BLOCKS, block_out_channels: [320, 640, 1280, 1280], cross_attention_dim: 768 };
/** The same blocks, narrow. */
export const NARROW = { ...BLOCKS, block_out_channels: [4, 8, 8, 8], cross_attention_dim: 12 };
