import type { Adapter, TargetModule } from '../adapter.js';
import type { Warning } from '../errors.js';
import { packMetadata } from '../metadata/carry.js';
import type { Tensor } from '../tensor.js';
import {
	familyWhy,
	groupInto,
	headerLosses,
	headerWarnings,
	lostModule,
	lostTensor,
	unknownLosses,
	writeFormat,
} from './diffusers-losses.js';
import { factorsOf, take } from './diffusers-names.js';
import type { Encoded, EncodeOptions, Loss } from './layout.js';
import { configAgrees, METHOD_OF, methodOf, peftConfigOf } from './peft-config.js';
import { componentOf } from './peft-decode.js';
import { peftMagnitude } from './peft-magnitude.js';
import { PEFT_PREFIX, peftSuffix } from './peft-names.js';

/** Write a PEFT file and its adapter_config.json. Doc: `peft.ts`. */
export function encodePeft(adapter: Adapter, options: EncodeOptions): Encoded {
	const form = new Map(adapter.form);
	const prefix = take(form, 'peft.prefix') ?? PEFT_PREFIX;
	const adapterName = take(form, 'peft.adapter');
	const magnitudeLeaf = take(form, 'peft.magnitude') ?? '.lora_magnitude_vector';
	const flattened = take(form, 'peft.text_model') === 'none';
	const sourceConfig = take(form, 'peft.config');
	const losses: Loss[] = [...unknownLosses(adapter)];
	const warnings: Warning[] = [];

	const component = mainComponent(adapter.modules);
	const method = methodOf(adapter.modules.filter((m) => m.component === component));
	const kept: TargetModule[] = [];
	const elsewhere = new Map<string, TargetModule[]>();
	const families = new Map<string, TargetModule[]>();
	for (const m of adapter.modules) {
		if (m.component !== component) groupInto(elsewhere, m.component, m);
		else if (m.family !== 'whole' && METHOD_OF.get(m.family) !== method) groupInto(families, m.family, m);
		else kept.push(m);
	}
	for (const [other, modules] of elsewhere) {
		const why = `A PEFT file holds one component: this one gets ${component}, and ${modules.length} modules of ${other} need a file of their own (convert them apart, or use --to diffusers, which holds both).`;
		for (const m of modules) losses.push(...lostModule(m, why));
	}
	for (const [family, modules] of families) {
		const why = familyWhy(
			'peft',
			family,
			modules.length,
			METHOD_OF.has(modules[0]?.family ?? 'full') ? `PEFT beside ${method}, one method per file` : 'PEFT',
		);
		for (const m of modules) losses.push(...lostModule(m, why));
	}

	const nameOf = (m: TargetModule): string => (flattened && m.path.startsWith('text_model.') ? m.path.slice('text_model.'.length) : m.path);
	const config = peftConfigOf(kept, nameOf);
	const text = sourceConfig !== undefined && configAgrees(sourceConfig, kept, nameOf) ? sourceConfig : config.text;
	const dora = kept.some((m) => m.factors.magnitude !== undefined);
	const tensors = new Map<string, Tensor>();
	for (const m of kept) {
		const misfit = text === sourceConfig ? undefined : config.misfits.get(m);
		if (misfit !== undefined) {
			losses.push(...lostModule(m, `${m.path}: ${misfit}; LoKr of these shapes is not supported by PEFT.`));
			continue;
		}
		if (dora && m.family === 'lora' && m.factors.magnitude === undefined && adapter.source.layout !== 'peft') {
			losses.push(
				...lostModule(m, `PEFT turns DoRA on for a whole file, and ${m.path} has no magnitude; PEFT would give it one of the base.`),
			);
			continue;
		}
		for (const [role, tensor] of factorsOf(m)) {
			const suffix = peftSuffix(role, magnitudeLeaf, adapterName);
			const value = role === 'magnitude' ? peftMagnitude(m) : tensor;
			if (suffix === undefined) losses.push(lostTensor(m, tensor, familyWhy('peft', role, 1, 'PEFT')));
			else if (value === undefined)
				losses.push(
					lostTensor(
						m,
						tensor,
						`${m.path} has a DoRA magnitude per input column, family not supported by PEFT, which knows one per output row.`,
					),
				);
			else tensors.set(prefix + nameOf(m) + suffix, value);
		}
	}

	// What the names and the configuration say again on reading need not travel.
	const derived = componentOf(
		kept.map((m) => ({ component: /^(\w+)\.base_model/.exec(prefix)?.[1], path: nameOf(m) })),
		undefined,
	);
	if (derived !== component) form.set('peft.component', component);
	const metadata = writeFormat(adapter, form, 'peft');
	const torch = options.container === 'torch-zip';
	if (torch) {
		losses.push(...headerLosses({ ...adapter, form }));
		warnings.push(...headerWarnings({ ...adapter, form }, ['peft.component']));
	}
	return {
		files: [{ suffix: '', tensors, metadata: torch ? new Map() : packMetadata(metadata, form, () => false), top: 'dict' }],
		sideFiles: new Map([['adapter_config.json', text]]),
		absorbed: config.absorbed,
		losses,
		embeddingsBeside: adapter.embeddings.length > 0,
		warnings,
	};
}

/** The component a PEFT file is made for: the image model where there is one, else the first. */
function mainComponent(modules: readonly TargetModule[]): string {
	for (const wanted of ['unet', 'transformer']) if (modules.some((m) => m.component === wanted)) return wanted;
	return modules[0]?.component ?? 'model';
}
