import type { Adapter, Embedding, Role, TargetModule } from './adapter.js';
import { type ConversionPlan, type ConvertOptions, planDecoded } from './convert.js';
import type { Detection } from './detect.js';
import { findLayout } from './layouts/index.js';
import type { Layout } from './layouts/layout.js';
import { soloInput } from './load.js';
import type { StateDict } from './state-dict.js';
import { originsOf, type Tensor } from './tensor.js';

/** How an adapter that is in memory is to be written: as for a conversion, without what is about reading. */
export type PlanAdapterOptions = Omit<ConvertOptions, 'from' | 'repair' | 'order' | 'adapterName' | 'without'> &
	Pick<ConvertOptions, 'order'>;

/**
 * Plan the files of an adapter that no file says as it is: merged, scaled, a part of one. The same way as a conversion, with the same
 * account: every tensor of the adapter is found in the output or named as lost.
 *
 * @throws {FormatError} as `planConversion`.
 */
export function planAdapter(adapter: Adapter, options: PlanAdapterOptions): ConversionPlan {
	const { named, tensors } = withOrigins(sayingAlpha(adapter, options.to));
	const file: StateDict = {
		container: 'memory',
		name: adapter.source.name,
		tensors,
		metadata: adapter.metadata,
		top: 'dict',
		wrapper: undefined,
		nonTensors: [],
		small: new Map(),
		smallComplete: true,
		warnings: [],
	};
	const input = soloInput(file);
	const detection: Detection = { readings: [], chosen: undefined, tied: [], leftovers: [], mixedWith: undefined };
	return planDecoded({ adapter: named, layout: memoryLayout(adapter.source.layout), detection, input }, options);
}

/** An alpha that we know is written where a diffusers file could leave it out (diffusers-encode.ts). */
function sayingAlpha(adapter: Adapter, to: string): Adapter {
	const known = adapter.modules.some((m) => m.alpha !== null);
	if (!known || to === 'keep' || findLayout(to).id !== 'diffusers' || adapter.form.has('diffusers.alpha')) return adapter;
	return { ...adapter, form: new Map([...adapter.form, ['diffusers.alpha', 'metadata']]) };
}

/** Stands for where the adapter comes from; nothing is read with it. */
function memoryLayout(id: string): Layout {
	return {
		id,
		title: 'an adapter in memory',
		aliases: [],
		namings: [],
		readers: '',
		claim: () => ({ names: new Set(), confidence: 0, evidence: [] }),
		decode: () => {
			throw new TypeError('an adapter in memory is not decoded');
		},
		encode: undefined,
	};
}

/** Give every tensor that comes from no file a name, and list the names that the account is about. */
function withOrigins(adapter: Adapter): { readonly named: Adapter; readonly tensors: ReadonlyMap<string, Tensor> } {
	const tensors = new Map<string, Tensor>();
	const take = (tensor: Tensor, name: string): Tensor => {
		// What was made is called by what it is now: messages about it would else name one of the tensors it was made from.
		const own: Tensor = tensor.origin === undefined ? { ...tensor, origin: name, read: () => tensor.read() } : tensor;
		for (const origin of originsOf(own)) tensors.set(origin, own);
		return own;
	};
	const modules = adapter.modules.map((module): TargetModule => {
		const where = `${module.component} ${module.path}`;
		const factors: Partial<Record<Role, Tensor>> = {};
		for (const [role, tensor] of Object.entries(module.factors) as [Role, Tensor][]) factors[role] = take(tensor, `${where} ${role}`);
		const { alphaTensor, scaleTensor } = module;
		return {
			...module,
			factors,
			alphaTensor: alphaTensor === undefined ? undefined : take(alphaTensor, `${where} alpha`),
			scaleTensor: scaleTensor === undefined ? undefined : take(scaleTensor, `${where} scale`),
		};
	});
	const embeddings = adapter.embeddings.map((e): Embedding => ({ ...e, vectors: take(e.vectors, `${e.component} ${e.token} ${e.slot}`) }));
	for (const [name, tensor] of adapter.unknown) tensors.set(name, tensor);
	return { named: { ...adapter, modules, embeddings }, tensors };
}
