import { FormatError, type ModuleTerms, quote, type TermPlan } from '@lorakit/format';
import type { Graph } from '../graph/index.js';
import { countOf, f32Tensor, type HostTensor } from '../host-tensor.js';
import { type FormOf, inputName, lowRankEverywhere, type ModuleForm } from './module-form.js';

/** Adapters as a runtime wants them: which form each module needs, and the numbers that go in. */
export interface AdapterFeeds {
	/** Modules that need another form than `low-rank`, by `component path`. A graph with other forms needs a new session. */
	readonly forms: ReadonlyMap<string, ModuleForm>;
	/** Values of the graph inputs that the adapters set, by input name; every other one is neutral (`neutralFeed`). */
	readonly feeds: ReadonlyMap<string, HostTensor>;
}

/** No adapter at all. */
export const NO_ADAPTERS: AdapterFeeds = { forms: new Map(), feeds: new Map() };

/** Reads a weight of the base in diffusers' shape. */
export type ReadBase = (name: string) => Promise<Float32Array>;

/**
 * Terms of the format package as inputs of the graph. Doubles are rounded to float32 once, here.
 * @throws {FormatError} `E_UNSUPPORTED_ADAPTER` for a part of a module that no graph has (Wan's modulation table), and
 *   those of reading the base and the factors.
 */
export async function adapterFeeds(plan: TermPlan, components: ReadonlySet<string>): Promise<AdapterFeeds> {
	const forms = new Map<string, ModuleForm>();
	const feeds = new Map<string, HostTensor>();
	for (const terms of plan.modules) {
		if (terms.leaf !== 'weight' || !components.has(terms.component)) {
			throw new FormatError(
				'E_UNSUPPORTED_ADAPTER',
				`The adapter changes ${quote(`${terms.component}.${terms.path}`)}, which this runtime does not run; it runs ${[...components].join(', ')}.`,
				{ at: terms.path },
			);
		}
		const form = formFor(terms);
		if (form !== 'low-rank') forms.set(`${terms.component} ${terms.path}`, form);
		const put = (part: Parameters<typeof inputName>[2], shape: readonly number[], values: Float64Array): void => {
			feeds.set(inputName(terms.component, terms.path, part), f32Tensor(shape, Float32Array.from(values)));
		};
		const { shape, lowRank } = terms;
		const [out = 0, ...inner] = shape;
		if (form === 'dense') {
			// Where only the bias is changed, the base's own weight is fed (`feedsOf`).
			const weight = await denseOf(terms);
			if (weight !== undefined) put('weight', shape, weight);
		} else if (lowRank !== undefined) {
			put('down', [lowRank.rank, ...inner], lowRank.down);
			put('up', [out, lowRank.rank, ...inner.slice(1).map(() => 1)], lowRank.up);
		}
		if (terms.rowScale !== undefined) put('row', [terms.rowScale.length], terms.rowScale);
		if (terms.columnScale !== undefined) put('column', [terms.columnScale.length], terms.columnScale);
		if (terms.bias !== undefined) put('bias', [terms.bias.length], terms.bias);
	}
	return { forms, feeds };
}

/** The forms of a graph that these adapters can be fed to. */
export function formsFor({ forms }: AdapterFeeds): FormOf {
	return (component, path) => forms.get(`${component} ${path}`) ?? lowRankEverywhere(component, path);
}

/** Two sets of adapters with the same key can share a graph. */
export function formsKey({ forms }: AdapterFeeds, component: string): string {
	return [...forms]
		.filter(([name]) => name.startsWith(`${component} `))
		.map(([name, form]) => `${name}=${form}`)
		.sort()
		.join('\n');
}

/**
 * All adapter inputs of a graph: what is set, and neutral values for the rest: rank 0, scale 1, bias 0. A module whose
 * form is `dense` while no weight is set for it (only its bias is changed; or the adapter was taken off and the session
 * stayed) gets its base weight.
 */
export async function feedsOf(graph: Graph, { feeds }: AdapterFeeds, readBase: ReadBase): Promise<Record<string, HostTensor>> {
	const out: Record<string, HostTensor> = {};
	for (const { name, value } of graph.inputs) {
		const colon = name.lastIndexOf(':');
		if (colon < 0) continue;
		const shape = (graph.values[value]?.shape ?? []).map((d) => (typeof d === 'number' ? d : 0));
		out[name] = feeds.get(name) ?? (await neutralFeed(name.slice(0, colon), name.slice(colon + 1), shape, readBase));
	}
	return out;
}

async function neutralFeed(path: string, part: string, shape: readonly number[], readBase: ReadBase): Promise<HostTensor> {
	if (part === 'weight') return f32Tensor(shape, await readBase(`${path}.weight`));
	const values = new Float32Array(countOf(shape));
	return f32Tensor(shape, part === 'row' || part === 'column' ? values.fill(1) : values);
}

function formFor(terms: ModuleTerms): ModuleForm {
	if (terms.dense !== undefined || terms.shape.length === 1) return 'dense';
	// An embedding table is no product that the graph could add to.
	if (/embedding$/.test(terms.path)) return 'dense';
	return terms.rowScale !== undefined || terms.columnScale !== undefined || terms.bias !== undefined ? 'scaled' : 'low-rank';
}

/** undefined: the weight stays what it is. @throws {FormatError} `E_UNSUPPORTED_ADAPTER`. */
async function denseOf(terms: ModuleTerms): Promise<Float64Array | undefined> {
	if (terms.dense !== undefined) return terms.dense();
	if (terms.lowRank === undefined && terms.rowScale === undefined && terms.columnScale === undefined) return undefined;
	throw new FormatError(
		'E_UNSUPPORTED_ADAPTER',
		`${terms.component} ${quote(terms.path)}: low-rank factors and scales on a norm or an embedding cannot be applied over the base; fuse the adapter first ("lora fuse").`,
		{ at: terms.path },
	);
}
