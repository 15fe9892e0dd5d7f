import type { Adapter, Role, TargetModule } from '../adapter.js';
import type { Warning } from '../errors.js';
import { FormatError } from '../errors.js';
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
	withoutAlpha,
	writeFormat,
} from './diffusers-losses.js';
import { factorsOf } from './diffusers-names.js';
import type { Encoded, EncodeOptions, Loss } from './layout.js';

/** How one of the layouts without alpha names a factor. */
export interface OldDialect {
	readonly id: string;
	readonly readers: string;
	/** Full tensor name; undefined for a module or role that the layout has no name for. */
	readonly name: (module: TargetModule, role: Role) => string | undefined;
	/** Form entries that these names say again. */
	readonly rederived: readonly string[];
}

/**
 * Write plain LoRA in one of diffusers' layouts before PEFT: no alpha, no DoRA, no bias. `lora_adapter_metadata` is
 * carried under our own name: today's diffusers would obey it.
 */
export function encodeOldDiffusers(adapter: Adapter, options: EncodeOptions, dialect: OldDialect): Encoded {
	const form = new Map(adapter.form);
	for (const key of dialect.rederived) form.delete(key);
	const losses: Loss[] = [...unknownLosses(adapter)];
	const warnings: Warning[] = [];
	const tensors = new Map<string, Tensor>();
	const kept: TargetModule[] = [];
	const families = new Map<string, TargetModule[]>();
	for (const module of adapter.modules) {
		if (module.family !== 'lora') {
			groupInto(families, module.family, module);
			continue;
		}
		if (dialect.name(module, 'down') === undefined) {
			losses.push(
				...lostModule(module, `${dialect.id} has no name for ${module.component} ${module.path}; ${dialect.readers} would not read it.`),
			);
			continue;
		}
		kept.push(module);
		for (const [role, tensor] of factorsOf(module)) {
			const name = role === 'down' || role === 'up' ? dialect.name(module, role) : undefined;
			if (name === undefined)
				losses.push(lostTensor(module, tensor, familyWhy(dialect.id, role === 'magnitude' ? 'DoRA' : role, 1, dialect.readers)));
			else if (tensors.has(name)) throw new FormatError('E_NAME_COLLISION', `Two tensors would both be named ${name}.`);
			else tensors.set(name, tensor);
		}
	}
	for (const [family, modules] of families) {
		const why = familyWhy(dialect.id, family, modules.length, dialect.readers);
		for (const module of modules) losses.push(...lostModule(module, why));
	}
	const alpha = withoutAlpha(kept, dialect.id);
	losses.push(...alpha.losses);
	const metadata = writeFormat(adapter, form, dialect.id);
	const torch = options.container === 'torch-zip';
	if (torch) {
		losses.push(...headerLosses({ ...adapter, form }));
		warnings.push(...headerWarnings({ ...adapter, form }, dialect.rederived));
	}
	return {
		files: [
			{
				suffix: '',
				tensors,
				metadata: torch ? new Map() : packMetadata(metadata, form, (key) => key === 'lora_adapter_metadata'),
				top: 'dict',
			},
		],
		sideFiles: new Map(),
		absorbed: alpha.absorbed,
		losses,
		embeddingsBeside: adapter.embeddings.length > 0,
		warnings,
	};
}
