import type { TargetModule } from '../adapter.js';
import { FormatError } from '../errors.js';
import { configFields } from '../metadata/adapter-config.js';
import { ADAPTER_METADATA_KEY, buildAdapterMetadata, parseAdapterMetadata } from '../metadata/adapter-metadata.js';
import { type FitModule, fitModule, fitPeftScaling, peftResolver, scalingAgrees } from '../metadata/peft-scaling.js';
import type { Json } from '../metadata/python-json.js';
import { absorbScalars, groupInto } from './diffusers-losses.js';
import type { Absorbed } from './layout.js';

/** Where a module stands in the file: prefix and the name that PEFT sees. */
export type WrittenName = (module: TargetModule) => { readonly prefix: string; readonly name: string };

/** A `lora_adapter_metadata` for plain LoRA modules, with what went into it. */
export interface WrittenMetadata {
	readonly text: string;
	readonly absorbed: readonly Absorbed[];
}

/** The entry generated from nothing but the modules. */
export function generateMetadata(modules: readonly TargetModule[], written: WrittenName): WrittenMetadata {
	const components = new Map<string, ReadonlyMap<string, Json>>();
	const absorbed: Absorbed[] = [];
	for (const [prefix, own] of byPrefix(modules, written)) {
		const rslora = own.length > 0 && own.every((m) => m.rule === 'alpha/sqrt(rank)');
		const fits: FitModule[] = [];
		for (const m of own) {
			const fit = fitModule(m, matchedName(m, written), rslora);
			if (fit === undefined) continue;
			fits.push(fit);
			absorbed.push(...absorbScalars(m, `metadata:${ADAPTER_METADATA_KEY}`, fit.bound));
		}
		components.set(
			prefix,
			configFields({
				type: 'LORA',
				scaling: fitPeftScaling(fits, rslora),
				targets: own.map((m) => matchedName(m, written)),
				useDora: own.some((m) => m.factors.magnitude !== undefined),
				loraBias: own.some((m) => m.factors.up_bias !== undefined),
				modulesToSave: [],
				extra: new Map(),
			}),
		);
	}
	return { text: buildAdapterMetadata(components), absorbed };
}

/**
 * The name by which PEFT is told of a module. It matches by suffix, so for text encoders the name without `text_model.`
 * fits both the classes that have this level and `CLIPTextModel` of transformers >= 5.6, which lacks it (measured:
 * diffusers 0.40-dev with transformers 5.18 finds no module otherwise).
 */
function matchedName(module: TargetModule, written: WrittenName): string {
	const { name } = written(module);
	return module.component.startsWith('text_encoder') && name.startsWith('text_model.') ? name.slice('text_model.'.length) : name;
}

/** Whether the text of the source still says the rank and scaling of every module. */
export function metadataAgrees(text: string, modules: readonly TargetModule[], written: WrittenName): boolean {
	try {
		const scalings = parseAdapterMetadata(text, () => {});
		for (const [prefix, own] of byPrefix(modules, written)) {
			const scaling = scalings.get(prefix);
			if (scaling === undefined) {
				if (own.some((m) => m.scaling !== 1)) return false;
				continue;
			}
			const resolve = peftResolver(scaling);
			for (const m of own) {
				const { rank, alpha } = resolve(written(m).name);
				if (!scalingAgrees(m, rank, alpha, scaling.rslora)) return false;
			}
		}
		return true;
	} catch (error) {
		if (error instanceof FormatError) return false;
		throw error;
	}
}

function byPrefix(modules: readonly TargetModule[], written: WrittenName): ReadonlyMap<string, readonly TargetModule[]> {
	const out = new Map<string, TargetModule[]>();
	for (const m of modules) {
		const { prefix } = written(m);
		groupInto(out, prefix, m);
	}
	return out;
}
