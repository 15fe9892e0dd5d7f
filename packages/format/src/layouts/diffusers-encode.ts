import type { Adapter, Role, TargetModule } from '../adapter.js';
import type { Warning } from '../errors.js';
import { ADAPTER_METADATA_KEY } from '../metadata/adapter-metadata.js';
import { packMetadata } from '../metadata/carry.js';
import { bytesTensor, type Tensor } from '../tensor.js';
import {
	absorbScalars,
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
import { generateMetadata, metadataAgrees, type WrittenName } from './diffusers-metadata.js';
import { factorsOf, take, takeNames, todaySuffix } from './diffusers-names.js';
import { defaultSpelling, spellingFrom } from './diffusers-spelling.js';
import type { Absorbed, Encoded, EncodeOptions, Loss } from './layout.js';
import { nameLeaf } from './peft-leaf.js';
import { peftMagnitude } from './peft-magnitude.js';
import { alphaToWrite, isUnscaled } from './shared.js';

const SAYABLE: ReadonlySet<Role> = new Set<Role>(['down', 'up', 'up_bias', 'magnitude']);

/** Write today's diffusers layout. Doc: `diffusers.ts`. */
export function encodeDiffusers(adapter: Adapter, options: EncodeOptions): Encoded {
	const form = new Map(adapter.form);
	const names = takeNames(adapter, form);
	const spellingEntry = take(form, 'diffusers.spelling');
	const magnitudeLeaf = take(form, 'diffusers.magnitude') ?? '.lora_magnitude_vector';
	const adapterName = take(form, 'diffusers.adapter');
	const sourceText = take(form, 'diffusers.metadata');
	const alphaForm = take(form, 'diffusers.alpha');
	const losses: Loss[] = [...unknownLosses(adapter)];
	const warnings: Warning[] = [];

	const kept: TargetModule[] = [];
	const lost = new Map<string, TargetModule[]>();
	for (const module of adapter.modules) {
		if (module.family === 'lora' || adapter.source.layout === 'diffusers') kept.push(module);
		else groupInto(lost, module.family, module);
	}
	for (const [family, modules] of lost) {
		const why = familyWhy('diffusers', family, modules.length, 'its loaders, which read LoRA and DoRA alone');
		for (const module of modules) losses.push(...lostModule(module, why));
	}

	const spelling = spellingFrom(spellingEntry, defaultSpelling(kept));
	const tensors = new Map<string, Tensor>();
	const named = (module: TargetModule): string => {
		const { prefix, name } = names.of(module);
		return prefix === '' ? name : `${prefix}.${name}`;
	};
	for (const module of kept) {
		const base = named(module);
		for (const [role, tensor] of factorsOf(module)) {
			const suffix = role === 'magnitude' ? magnitudeLeaf : todaySuffix(role, spelling(module));
			const value = role === 'magnitude' ? peftMagnitude(module) : tensor;
			if (suffix === undefined || (!SAYABLE.has(role) && module.family === 'lora')) {
				losses.push(lostTensor(module, tensor, familyWhy('diffusers', role, 1, 'its loaders')));
			} else if (value === undefined) {
				losses.push(
					lostTensor(
						module,
						tensor,
						`${module.path} has a DoRA magnitude per input column, family not supported by PEFT, which knows one per output row.`,
					),
				);
			} else tensors.set(base + nameLeaf(suffix, adapterName), value);
		}
	}
	warnMixedDora(kept, warnings);

	const absorbed: Absorbed[] = [];
	const metadata = writeFormat(adapter, form, 'diffusers');
	// Adapters that we made say their alpha also where it equals the rank, so that nobody has to guess (plan-adapter.ts).
	const scaled = alphaForm === 'metadata' || kept.some((m) => !isUnscaled(m));
	const asTensors = options.alpha === 'tensors' || (options.alpha !== 'metadata' && alphaForm === 'tensors');
	const written: WrittenName = (m) => names.of(m);
	let text: string | undefined;
	if (asTensors) {
		for (const module of kept) writeAlphaTensor(module, named(module), tensors, absorbed);
	} else if (scaled || sourceText !== undefined) {
		const lora = kept.filter((m) => m.family === 'lora');
		const generated = generateMetadata(lora, written);
		if (options.container === 'torch-zip') {
			const without = withoutAlpha(kept, 'a torch file of diffusers');
			losses.push(...without.losses);
			absorbed.push(...without.absorbed);
			if (sourceText !== undefined) form.set('diffusers.metadata', sourceText);
		} else {
			text = sourceText !== undefined && metadataAgrees(sourceText, lora, written) ? sourceText : scaled ? generated.text : undefined;
			absorbed.push(...generated.absorbed);
		}
	} else for (const module of kept) absorbed.push(...absorbScalars(module, 'scaling 1, which diffusers takes where nothing is said', 0));

	if (options.container === 'torch-zip') {
		losses.push(...headerLosses({ ...adapter, form }));
		warnings.push(...headerWarnings({ ...adapter, form }, []));
	}
	const header = packMetadata(metadata, form, (key) => key === ADAPTER_METADATA_KEY);
	if (text !== undefined) header.set(ADAPTER_METADATA_KEY, text);
	return {
		files: [{ suffix: '', tensors, metadata: options.container === 'safetensors' ? header : new Map(), top: 'dict' }],
		sideFiles: new Map(),
		absorbed,
		losses,
		embeddingsBeside: adapter.embeddings.length > 0,
		warnings,
	};
}

/** `.alpha` beside the factors: the source's own tensor, or a new F32 scalar. */
function writeAlphaTensor(module: TargetModule, base: string, tensors: Map<string, Tensor>, absorbed: Absorbed[]): void {
	if (module.alphaTensor !== undefined && module.rule !== 'scale-tensor') {
		tensors.set(`${base}.alpha`, module.alphaTensor);
		return;
	}
	const write = alphaToWrite(module);
	if (write === undefined || (module.rule === 'one' && module.alphaSource === 'none')) return;
	const bytes = new Uint8Array(4);
	new DataView(bytes.buffer).setFloat32(0, write.alpha, true);
	const bound = Math.fround(write.alpha) === write.alpha ? write.bound : 2 ** -24;
	tensors.set(
		`${base}.alpha`,
		bytesTensor('F32', [], bytes, undefined, { from: [], how: `alpha ${write.alpha} as a tensor`, errorBound: bound }),
	);
	absorbed.push(...absorbScalars(module, 'alpha tensors', bound));
}

/** One flag turns DoRA on for a whole component: modules without a magnitude would get one from the base. */
function warnMixedDora(modules: readonly TargetModule[], warnings: Warning[]): void {
	const components = new Map<string, { readonly with: number; readonly without: number }>();
	for (const m of modules) {
		const seen = components.get(m.component) ?? { with: 0, without: 0 };
		const has = m.factors.magnitude !== undefined;
		components.set(m.component, { with: seen.with + (has ? 1 : 0), without: seen.without + (has ? 0 : 1) });
	}
	for (const [component, seen] of components) {
		if (seen.with === 0 || seen.without === 0) continue;
		warnings.push({
			code: 'W_RUNTIMES_DIFFER',
			message: `${seen.with} modules of ${component} have a DoRA magnitude and ${seen.without} have none: PEFT turns DoRA on for all of them and gives the others a magnitude of the base.`,
		});
	}
}
