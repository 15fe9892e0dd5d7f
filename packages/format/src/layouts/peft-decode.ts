import type { Adapter, MetadataNote, TargetModule } from '../adapter.js';
import { FormatError, quote, type Warning } from '../errors.js';
import { type PeftConfig, parseAdapterConfig } from '../metadata/adapter-config.js';
import { unpackMetadata } from '../metadata/carry.js';
import { configuredBy } from '../metadata/peft-scaling.js';
import { canonicalTextEncoderPath } from '../modules/index.js';
import type { Tensor } from '../tensor.js';
import { assembleModules, type Part } from './assemble.js';
import { readFormat } from './diffusers-losses.js';
import { take } from './diffusers-names.js';
import type { DecodeOptions, LayoutInput } from './layout.js';
import { componentOfPath, namingOfPaths } from './peft-component.js';
import { peftConfigOf } from './peft-config.js';
import { chooseAdapter } from './peft-leaf.js';
import { PEFT_PREFIX, type PeftKey, parsePeftKey, unsupportedMethod } from './peft-names.js';
import { makeAdapter } from './shared.js';
import { embeddingsBeside } from './textual-inversion.js';

/** Decode a PEFT file with the adapter_config.json beside it. Doc: `peft.ts`. @throws {FormatError} `E_LORA_*`, `E_CONFIG`, `E_UNSUPPORTED_ADAPTER`. */
export function decodePeft(input: LayoutInput, options: DecodeOptions): Adapter {
	const warnings: Warning[] = [];
	const warn = (w: Warning): void => {
		warnings.push(w);
	};
	const { file } = input;
	const config = input.config === undefined ? undefined : parseAdapterConfig(input.config);
	if (config !== undefined) warnings.push(...config.warnings);
	const unpacked = unpackMetadata(file.metadata);
	const form = new Map(unpacked.form);
	const metadata = readFormat(unpacked.metadata, form, 'peft', file.container);
	const known = take(form, 'peft.component');

	const unknown = new Map<string, Tensor>();
	const live: { readonly key: PeftKey; readonly name: string; readonly tensor: Tensor }[] = [];
	for (const [name, tensor] of file.tensors) {
		const method = unsupportedMethod(name);
		if (method !== undefined) {
			throw new FormatError(
				'E_UNSUPPORTED_ADAPTER',
				`${quote(name)} belongs to ${method}, a PEFT method that is not supported here; use PEFT itself.`,
				{ at: name },
			);
		}
		const key = parsePeftKey(name);
		if (key === undefined) unknown.set(name, tensor);
		else live.push({ key, name, tensor });
	}
	const adapterName = chooseAdapter(namesOf(live.map(({ key }) => key)), options.adapterName);
	const component =
		known ??
		componentOf(
			live.map(({ key }) => key),
			config,
		);
	const parts: Part[] = [];
	const written = new Map<string, string>();
	let prefix: string | undefined;
	let magnitudeLeaf: string | undefined;
	let flattened = 0;
	for (const { key, name, tensor } of live) {
		prefix ??= key.prefix;
		const whole = key.role === 'weight' || key.role === 'bias';
		if (key.prefix !== prefix || (key.adapterName !== adapterName && !(whole && key.adapterName === undefined))) {
			unknown.set(name, tensor);
			continue;
		}
		const path = component.startsWith('text_encoder') ? (canonicalTextEncoderPath(key.path)?.path ?? key.path) : key.path;
		if (path !== key.path) flattened++;
		written.set(path, key.path);
		if (key.role === 'magnitude') magnitudeLeaf ??= key.suffix;
		parts.push({ key: name, component, path, resolved: true, role: key.role, tensor });
	}
	const scaled = config !== undefined && (config.type === 'LORA' || config.type === 'LOHA' || config.type === 'LOKR');
	const resolve = scaled ? configuredBy(config.scaling, 'config', (path) => written.get(path) ?? path) : undefined;
	const assembled = assembleModules(parts, {
		file,
		warn,
		magnitude: 'peft',
		expectAlpha: false,
		...(resolve === undefined ? {} : { configured: (_: string, path: string) => resolve(path) }),
	});
	// An alpha that its own layout ignores (LoKr, both factors full) went through here as scaling 1: it is ignored again.
	const ignored = form.has('alpha.ignored');
	const modules = assembled.map((m) =>
		ignored && m.family === 'lokr' && m.rank === undefined && m.scaling === 1
			? { ...m, rule: 'none' as const, alpha: null, alphaSource: 'none' as const }
			: m,
	);
	report(modules, config, resolve, warn);

	if (prefix !== undefined && prefix !== PEFT_PREFIX) form.set('peft.prefix', prefix);
	if (adapterName !== undefined) form.set('peft.adapter', adapterName);
	if (magnitudeLeaf !== undefined && magnitudeLeaf !== '.lora_magnitude_vector') form.set('peft.magnitude', magnitudeLeaf);
	if (flattened > 0) form.set('peft.text_model', 'none');
	const consumed: MetadataNote[] = [];
	if (input.config !== undefined) {
		consumed.push({ key: 'config:adapter_config.json', how: 'consumed', note: 'method, rank, alpha and rsLoRA of every module' });
		if (peftConfigOf(modules, (m) => written.get(m.path) ?? m.path).text !== input.config) form.set('peft.config', input.config);
	}
	return makeAdapter({
		layout: 'peft',
		input,
		naming: namingOfPaths(
			component,
			modules.map((m) => m.path),
		),
		modules,
		embeddings: embeddingsBeside(input.embeddings),
		metadata,
		warnings,
		consumed,
		form,
		unknown,
	});
}

/** Names of adapters that stand in leaves; whole tensors without one belong to any. */
function namesOf(keys: readonly PeftKey[]): ReadonlySet<string | undefined> {
	const names = new Set<string | undefined>();
	for (const key of keys) if (key.adapterName !== undefined || (key.role !== 'weight' && key.role !== 'bias')) names.add(key.adapterName);
	return names;
}

/** PEFT files hold one component and do not name it: a prefix, the structure, then the configuration's class say which. */
export function componentOf(keys: readonly Pick<PeftKey, 'component' | 'path'>[], config: PeftConfig | undefined): string {
	for (const { component } of keys) if (component !== undefined) return component;
	for (const { path } of keys) {
		const found = componentOfPath(path);
		if (found !== undefined) return found;
	}
	const { baseClass } = config ?? {};
	if (baseClass !== undefined && /UNet/.test(baseClass)) return 'unet';
	if (baseClass !== undefined && /^CLIPTextModel/.test(baseClass)) return 'text_encoder';
	if (baseClass !== undefined && /Transformer\w*Model$/.test(baseClass)) return 'transformer';
	return 'model';
}

function report(
	modules: readonly TargetModule[],
	config: PeftConfig | undefined,
	resolve: ReturnType<typeof configuredBy> | undefined,
	warn: (w: Warning) => void,
): void {
	if (config === undefined) {
		if (modules.some((m) => m.rule === 'one')) {
			warn({
				code: 'W_ALPHA_UNKNOWN',
				message:
					'alpha of a PEFT file stands in adapter_config.json, which is not here: scaling 1 is assumed. Put the file beside the weights if you have it.',
			});
		}
		return;
	}
	if (resolve === undefined) return;
	let contradicted = 0;
	let example = '';
	for (const m of modules) {
		if (m.rank === undefined || m.alphaSource !== 'config') continue;
		const { rank } = resolve(m.path);
		if (rank === undefined || rank === m.rank) continue;
		if (contradicted++ === 0) example = `${m.path} has rank ${m.rank}, the configuration says ${rank}`;
	}
	if (contradicted > 0) {
		warn({
			code: 'W_METADATA_CONTRADICTS',
			message: `adapter_config.json contradicts the tensors in ${contradicted} modules (${example}); the tensors' rank is used.`,
			at: 'adapter_config.json',
		});
	}
	const dora = modules.some((m) => m.factors.magnitude !== undefined);
	if (config.type === 'LORA' && config.useDora !== dora && modules.length > 0) {
		warn({
			code: 'W_METADATA_CONTRADICTS',
			message: config.useDora
				? 'adapter_config.json says use_dora, but no module has a magnitude vector; the tensors are used as plain LoRA.'
				: 'adapter_config.json does not say use_dora, but modules have magnitude vectors; they are read as DoRA, which PEFT will not do.',
			at: 'adapter_config.json',
		});
	}
}
