import { bytesTensor } from '@lorakit/format';
import { type CheckpointStoreOptions, createCheckpointStore } from '../../../src/io/run/checkpoint-store.js';
import { parseRunConfig } from '../../../src/run/config/parse-run-config.js';
import type { RunIdentity } from '../../../src/run/run-identity.js';

/** An identity with keys of the config set over `base: sd, data: {path: p}`. */
export function fakeIdentity(document: Readonly<Record<string, unknown>> = {}, rest: Partial<RunIdentity> = {}): RunIdentity {
	return {
		objective: 'text-to-image',
		config: parseRunConfig({ base: 'sd', data: { path: 'p' }, ...document }, 'text-to-image', { name: 'run.yaml' }),
		data: { train: 'd1' },
		base: { 'unet.safetensors': 'b1' },
		engine: { id: 'float64', device: 'cpu', threads: 1 },
		versions: { lorakit: '0.1.0' },
		...rest,
	};
}

/** A store whose adapter file holds the values under their own names. */
export function fakeStore(folder: string, options: Partial<CheckpointStoreOptions> = {}): ReturnType<typeof createCheckpointStore> {
	return createCheckpointStore({
		folder,
		run: fakeIdentity(),
		adapter: (values) => {
			const tensors = new Map(
				[...values].map(([name, v]) => [name, bytesTensor('F32', [v.length], new Uint8Array(v.buffer, v.byteOffset, v.byteLength), name)]),
			);
			const content = {
				suffix: '',
				tensors,
				metadata: new Map<string, string>(),
				top: 'dict' as const,
				container: 'safetensors' as const,
				beside: false,
			};
			return { files: [{ name: 'pytorch_lora_weights.safetensors', what: 'adapter', bytes: 1000, content, tokens: [] }] };
		},
		...options,
	});
}
