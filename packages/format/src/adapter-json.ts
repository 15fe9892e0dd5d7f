import type { Adapter, TargetModule } from './adapter.js';
import type { Tensor } from './tensor.js';

/** A tensor without its data. */
export interface TensorJson {
	readonly dtype: string;
	readonly shape: readonly number[];
	readonly bytes: number;
	/** Name in the input file; null for a tensor that was made. */
	readonly origin: string | null;
}

/** `TargetModule` as plain data: null stands for undefined, and for a scaling that was not read. */
export interface ModuleJson {
	readonly component: string;
	readonly path: string;
	readonly resolved: boolean;
	readonly family: string;
	readonly factors: Readonly<Record<string, TensorJson>>;
	readonly rank: number | null;
	readonly alpha: number | null;
	readonly alphaSource: string;
	readonly alphaTensor: TensorJson | null;
	readonly scaleTensor: TensorJson | null;
	readonly rule: string;
	readonly scaling: number | null;
	readonly magnitudeAxis: 'out' | 'in' | null;
}

/** The canonical adapter as JSON. Schema: adapter.schema.json; page: docs/adapter.md. */
export interface AdapterJson {
	readonly schema: 'lora.adapter/1';
	readonly naming: string;
	readonly source: { readonly layout: string; readonly container: string; readonly name: string };
	readonly base: { readonly family: string; readonly label: string; readonly confidence: number; readonly evidence: readonly string[] };
	readonly modules: readonly ModuleJson[];
	readonly embeddings: readonly {
		readonly token: string;
		readonly slot: string;
		readonly component: string;
		readonly vectors: TensorJson;
	}[];
	readonly metadata: Readonly<Record<string, string>>;
	readonly consumed: readonly { readonly key: string; readonly how: string; readonly note: string }[];
	readonly form: Readonly<Record<string, string>>;
	readonly unknown: Readonly<Record<string, TensorJson>>;
	readonly dead: Readonly<Record<string, string>>;
	readonly warnings: readonly { readonly code: string; readonly message: string; readonly at: string | null }[];
}

/** An adapter as plain JSON data, without tensor data. Names of the file become own properties only (`__proto__` too). */
export function adapterToJson(adapter: Adapter): AdapterJson {
	return {
		schema: 'lora.adapter/1',
		naming: adapter.naming,
		source: { ...adapter.source },
		base: { ...adapter.base, evidence: [...adapter.base.evidence] },
		modules: adapter.modules.map(moduleToJson),
		embeddings: adapter.embeddings.map((e) => ({ token: e.token, slot: e.slot, component: e.component, vectors: tensorToJson(e.vectors) })),
		metadata: Object.fromEntries(adapter.metadata),
		consumed: adapter.consumed.map((note) => ({ ...note })),
		form: Object.fromEntries(adapter.form),
		unknown: Object.fromEntries([...adapter.unknown].map(([name, tensor]) => [name, tensorToJson(tensor)])),
		dead: Object.fromEntries(adapter.dead),
		warnings: adapter.warnings.map((w) => ({ code: w.code, message: w.message, at: w.at ?? null })),
	};
}

function moduleToJson(module: TargetModule): ModuleJson {
	const factors: [string, TensorJson][] = [];
	for (const [role, tensor] of Object.entries(module.factors)) factors.push([role, tensorToJson(tensor)]);
	return {
		component: module.component,
		path: module.path,
		resolved: module.resolved,
		family: module.family,
		factors: Object.fromEntries(factors),
		rank: module.rank ?? null,
		alpha: module.alpha,
		alphaSource: module.alphaSource,
		alphaTensor: module.alphaTensor === undefined ? null : tensorToJson(module.alphaTensor),
		scaleTensor: module.scaleTensor === undefined ? null : tensorToJson(module.scaleTensor),
		rule: module.rule,
		scaling: Number.isFinite(module.scaling) ? module.scaling : null,
		magnitudeAxis: module.magnitudeAxis ?? null,
	};
}

function tensorToJson(tensor: Tensor): TensorJson {
	return { dtype: tensor.dtype, shape: [...tensor.shape], bytes: tensor.nbytes, origin: tensor.origin ?? null };
}
