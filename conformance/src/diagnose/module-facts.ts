import fs from 'node:fs';
import {
	type Adapter,
	type BaseInventory,
	baseInventoryFromTensors,
	decodeAdapter,
	deltaOf,
	loadInput,
	needsBase,
	type TargetModule,
} from '@lorakit/format';
import { openFileSource } from '@lorakit/format/node';
import { openTensorFile, valuesOf } from '../judge/tensor-file.js';
import type { AdapterRef, BaseRef } from '../suite/case.js';

/** What one module of an adapter says, for building hypotheses; never an expectation. */
export interface ModuleFacts {
	/** `component.path`. */
	readonly key: string;
	readonly component: string;
	readonly path: string;
	readonly rank: number | undefined;
	readonly alpha: number | null;
	readonly rule: string;
	readonly scaling: number;
	readonly dora: boolean;
	/** Shape of the weight, or of the delta where the weight is not known. */
	readonly shape: readonly number[];
	/** The delta at scaling 1, in the weight's shape. */
	readonly delta: Float64Array;
	/** DoRA: the delta without the magnitude, at scaling 1. */
	readonly plain: Float64Array | undefined;
}

/** An adapter as hypotheses see it. */
export interface AdapterFacts {
	/** In the adapter's order. */
	readonly modules: readonly ModuleFacts[];
	readonly byKey: ReadonlyMap<string, ModuleFacts>;
}

/** Deltas of an adapter are all held: no case is larger. */
const MAX_ELEMENTS = 30_000_000;

/** Shape and values of the weight of a module, where there is a base. */
export type WeightLookup = (key: string) => Promise<{ readonly shape: readonly number[]; readonly values: Float64Array } | undefined>;

/**
 * @param wanted modules whose delta is made; the others have an empty one. Left out: all
 * @returns undefined when the file cannot be read as an adapter: there are no hypotheses then.
 */
export async function readAdapterFacts(
	ref: AdapterRef,
	base: BaseRef | undefined,
	file: (ref: string) => string,
	shapes: ReadonlyMap<string, readonly number[]>,
	weight: WeightLookup,
	wanted: (key: string) => boolean = () => true,
): Promise<AdapterFacts | undefined> {
	const main = await openFileSource(file(ref.file));
	const textEncoder = ref.textEncoder === undefined ? undefined : await openFileSource(file(ref.textEncoder));
	try {
		const config = ref.config === undefined ? undefined : fs.readFileSync(file(ref.config), 'utf8');
		const input = await loadInput({ main, textEncoder, config, base: await inventoryOf(base, file) });
		const { adapter } = decodeAdapter(input);
		return await factsOf(adapter, shapes, weight, wanted);
	} catch {
		return undefined;
	} finally {
		await main.close();
		await textEncoder?.close();
	}
}

async function factsOf(
	adapter: Adapter,
	shapes: ReadonlyMap<string, readonly number[]>,
	weight: WeightLookup,
	wanted: (key: string) => boolean,
): Promise<AdapterFacts> {
	const modules: ModuleFacts[] = [];
	let elements = 0;
	for (const module of adapter.modules) {
		const { component, path, rank, alpha, rule, scaling } = module;
		const key = `${component}.${path}`;
		if (!wanted(key)) {
			const empty = { dora: false, shape: [], delta: new Float64Array(), plain: undefined };
			modules.push({ key, component, path, rank, alpha, rule, scaling, ...empty });
			continue;
		}
		const held = needsBase(module) ? await weight(key) : undefined;
		const dora = module.factors.magnitude !== undefined;
		const shape = held?.shape ?? shapes.get(key);
		// DoRA and the like are no multiple of their scaling: it stays in.
		const unit: TargetModule = needsBase(module) ? module : { ...module, scaling: 1 };
		const made = await deltaOf(unit, {
			...(shape === undefined ? {} : { shape }),
			...(held === undefined ? {} : { base: { weight: held.values, shape: held.shape } }),
		}).catch(() => undefined);
		if (made?.weight === undefined) continue;
		elements += made.weight.data.length;
		if (elements > MAX_ELEMENTS) break;
		const plain = dora ? await plainDelta(module, shape) : undefined;
		const own = needsBase(module) ? 1 : scaling;
		modules.push({ key, component, path, rank, alpha, rule, scaling: own, dora, shape: made.weight.shape, delta: made.weight.data, plain });
	}
	return { modules, byKey: new Map(modules.map((m) => [m.key, m])) };
}

async function plainDelta(module: TargetModule, shape: readonly number[] | undefined): Promise<Float64Array | undefined> {
	const { magnitude: _, ...factors } = module.factors;
	const made = await deltaOf({ ...module, factors }, shape === undefined ? {} : { shape }).catch(() => undefined);
	return made?.weight?.data;
}

/** The modules of a base, for files whose names mean nothing without one. */
async function inventoryOf(base: BaseRef | undefined, file: (ref: string) => string): Promise<BaseInventory | undefined> {
	if (base === undefined) return undefined;
	const parts: { component: string; names: (readonly [string, readonly number[]])[]; config?: unknown }[] = [];
	for (const [component, ref] of Object.entries(base.components ?? {})) {
		const opened = await openTensorFile(file(ref));
		const names = Array.from(opened.tensors, ([name, { shape }]) => [name, shape] as const);
		await opened.close();
		const config = base.configs?.[component];
		parts.push({
			component,
			names,
			...(config === undefined ? {} : { config: JSON.parse(fs.readFileSync(file(config), 'utf8')) as unknown }),
		});
	}
	if (base.names !== undefined) {
		const listed = JSON.parse(fs.readFileSync(file(base.names), 'utf8')) as Readonly<
			Record<string, readonly (readonly [string, readonly number[]])[]>
		>;
		for (const [component, modules] of Object.entries(listed)) {
			parts.push({ component, names: modules.map(([path, shape]) => [`${path}.weight`, shape] as const) });
		}
	}
	try {
		return parts.length === 0 ? undefined : baseInventoryFromTensors(parts, 'the base of the case');
	} catch {
		return undefined;
	}
}

/** Reads weights of a base for `readAdapterFacts`. */
export async function weightLookup(base: BaseRef | undefined, file: (ref: string) => string): Promise<WeightLookup> {
	return async (key) => {
		for (const [component, ref] of Object.entries(base?.components ?? {})) {
			if (!key.startsWith(`${component}.`)) continue;
			const opened = await openTensorFile(file(ref));
			try {
				const tensor = opened.tensors.get(`${key.slice(component.length + 1)}.weight`);
				return tensor === undefined ? undefined : { shape: tensor.shape, values: await valuesOf(tensor) };
			} finally {
				await opened.close();
			}
		}
		return undefined;
	};
}
