import type { Family, TargetModule } from '../adapter.js';
import { FormatError } from '../errors.js';
import { buildAdapterConfig, type PeftType, parseAdapterConfig } from '../metadata/adapter-config.js';
import { type FitModule, fitModule, fitPeftScaling, peftResolver, scalingAgrees } from '../metadata/peft-scaling.js';
import type { Json } from '../metadata/python-json.js';
import { absorbScalars } from './diffusers-losses.js';
import type { Absorbed } from './layout.js';
import { fitLokr } from './peft-lokr.js';

/** The PEFT method that holds a family; undefined for families that PEFT has no file for. */
export const METHOD_OF: ReadonlyMap<Family, PeftType> = new Map<Family, PeftType>([
	['lora', 'LORA'],
	['embedding', 'LORA'],
	['loha', 'LOHA'],
	['lokr', 'LOKR'],
	['peft-oft', 'OFT'],
	['peft-boft', 'BOFT'],
	['peft-ia3', 'IA3'],
]);

/** A generated adapter_config.json. */
export interface GeneratedConfig {
	readonly text: string;
	readonly absorbed: readonly Absorbed[];
	/** Modules whose shapes the configuration cannot make, with the reason. */
	readonly misfits: ReadonlyMap<TargetModule, string>;
}

/** The configuration for modules of one method (whole tensors among them become modules_to_save). `nameOf`: name inside the model. */
export function peftConfigOf(modules: readonly TargetModule[], nameOf: (module: TargetModule) => string): GeneratedConfig {
	const adapted = modules.filter((m) => METHOD_OF.has(m.family));
	const type = methodOf(adapted);
	const own = adapted.filter((m) => METHOD_OF.get(m.family) === type);
	const rslora = own.length > 0 && own.every((m) => m.rule === 'alpha/sqrt(rank)');
	const fits = new Map<TargetModule, FitModule>();
	const absorbed: Absorbed[] = [];
	for (const m of own) {
		const fit = fitModule(m, nameOf(m), rslora);
		if (fit === undefined) continue;
		fits.set(m, fit);
		absorbed.push(...absorbScalars(m, 'adapter_config.json', fit.bound));
	}
	const { extra, misfits } = methodFields(type, own, nameOf, (m) => fits.get(m)?.rank ?? m.rank ?? 1);
	const scaled = type === 'LORA' || type === 'LOHA' || type === 'LOKR';
	return {
		text: buildAdapterConfig({
			type,
			scaling: scaled ? fitPeftScaling([...fits.values()], rslora) : undefined,
			targets: own.map(nameOf),
			useDora: own.some((m) => m.factors.magnitude !== undefined),
			loraBias: own.some((m) => m.factors.up_bias !== undefined),
			modulesToSave: modules.filter((m) => m.family === 'whole' && !m.path.endsWith('.base_layer')).map(nameOf),
			extra,
		}),
		absorbed,
		misfits,
	};
}

/** The method with the most modules. */
export function methodOf(modules: readonly TargetModule[]): PeftType {
	const counts = new Map<PeftType, number>();
	for (const m of modules) {
		const type = METHOD_OF.get(m.family);
		if (type !== undefined) counts.set(type, (counts.get(type) ?? 0) + 1);
	}
	let best: PeftType = 'LORA';
	for (const [type, n] of counts) if (n > (counts.get(best) ?? 0)) best = type;
	return best;
}

function methodFields(
	type: PeftType,
	modules: readonly TargetModule[],
	nameOf: (module: TargetModule) => string,
	rankOf: (module: TargetModule) => number,
): { readonly extra: ReadonlyMap<string, Json>; readonly misfits: ReadonlyMap<TargetModule, string> } {
	const extra = new Map<string, Json>();
	const misfits = new Map<TargetModule, string>();
	const [first] = modules;
	switch (type) {
		case 'LOKR': {
			const fit = fitLokr(modules, rankOf);
			for (const [key, value] of fit.fields) extra.set(key, value);
			for (const m of fit.misfits) misfits.set(m, 'no rank and decompose_factor of PEFT makes these LoKr shapes');
			break;
		}
		case 'LOHA':
			extra.set(
				'use_effective_conv2d',
				modules.some((m) => m.factors.hada_t1 !== undefined),
			);
			break;
		case 'OFT': {
			// oft_R is (blocks, b (b - 1) / 2).
			const n = first?.factors.oft_R?.shape[1] ?? 0;
			extra.set('oft_block_size', Math.round((1 + Math.sqrt(1 + 8 * n)) / 2)).set('r', 0);
			break;
		}
		case 'BOFT': {
			const shape = first?.factors.boft_R?.shape ?? [];
			extra.set('boft_n_butterfly_factor', shape[0] ?? 1).set('boft_block_size', shape[3] ?? 4);
			break;
		}
		case 'IA3':
			extra.set(
				'feedforward_modules',
				modules
					.filter((m) => m.factors.ia3_l?.shape[0] === 1)
					.map(nameOf)
					.sort(),
			);
			break;
		default:
	}
	return { extra, misfits };
}

/** Whether the source's adapter_config.json still says method, rank and scaling of every module. */
export function configAgrees(text: string, modules: readonly TargetModule[], nameOf: (module: TargetModule) => string): boolean {
	try {
		const config = parseAdapterConfig(text);
		const adapted = modules.filter((m) => METHOD_OF.has(m.family));
		if (adapted.length > 0 && methodOf(adapted) !== config.type) return false;
		if (config.type !== 'LORA' && config.type !== 'LOHA' && config.type !== 'LOKR') return true;
		const resolve = peftResolver(config.scaling);
		return adapted.every((m) => {
			const { rank, alpha } = resolve(nameOf(m));
			return scalingAgrees(m, rank, alpha, config.scaling.rslora);
		});
	} catch (error) {
		if (error instanceof FormatError) return false;
		throw error;
	}
}
