import type { Adapter, TargetModule } from '../adapter.js';
import type { Warning } from '../errors.js';
import { originsOf, type Tensor } from '../tensor.js';
import type { Absorbed, Loss } from './layout.js';
import { isUnscaled } from './shared.js';

/** Every tensor of a module: factors, alpha, scale. */
export function moduleTensors(module: TargetModule): readonly Tensor[] {
	const out: Tensor[] = [];
	for (const tensor of Object.values(module.factors)) if (tensor !== undefined) out.push(tensor);
	if (module.alphaTensor !== undefined) out.push(module.alphaTensor);
	if (module.scaleTensor !== undefined) out.push(module.scaleTensor);
	return out;
}

/** One loss per tensor of a module that a target cannot hold at all. */
export function lostModule(module: TargetModule, why: string): readonly Loss[] {
	return moduleTensors(module).map((tensor) => lostTensor(module, tensor, why));
}

/** The loss of one tensor of a module. */
export function lostTensor(module: TargetModule, tensor: Tensor, why: string): Loss {
	// A made tensor stands for what it was made from.
	const [origin] = originsOf(tensor);
	return { what: tensor.origin ?? origin ?? `${module.component}.${module.path}`, why };
}

/** Families are lost by name, with how many modules and whose readers lack them. */
export function familyWhy(layout: string, family: string, count: number, readers: string): string {
	return `${layout} cannot hold ${family} (${count} module${count === 1 ? '' : 's'}): family not supported by ${readers}.`;
}

/** Tensors that no layout understood. */
export function unknownLosses(adapter: Adapter): readonly Loss[] {
	return [...adapter.unknown.keys()].map((what) => ({
		what,
		why: 'unknown tensor: no layout says what it means, so it cannot be renamed.',
	}));
}

/** Alpha and scale tensors of a module whose meaning went elsewhere. */
export function absorbScalars(module: TargetModule, into: string, errorBound: number): readonly Absorbed[] {
	const out: Absorbed[] = [];
	for (const tensor of [module.alphaTensor, module.scaleTensor]) {
		if (tensor !== undefined) for (const from of originsOf(tensor)) out.push({ from, into, errorBound });
	}
	return out;
}

/** For a layout that knows no alpha: a loss per module whose scaling is not 1, and the rest absorbed. */
export function withoutAlpha(modules: readonly TargetModule[], layout: string): { readonly losses: Loss[]; readonly absorbed: Absorbed[] } {
	const losses: Loss[] = [];
	const absorbed: Absorbed[] = [];
	for (const module of modules) {
		if (isUnscaled(module)) absorbed.push(...absorbScalars(module, 'scaling 1, which the layout implies', 0));
		else {
			losses.push({
				what: module.alphaTensor?.origin ?? module.scaleTensor?.origin ?? `alpha of ${module.component} ${module.path}`,
				why: `${layout} has no slot for alpha, and ${module.component} ${module.path} has scaling ${module.scaling}; --alpha fold multiplies it into the factors.`,
			});
		}
	}
	return { losses, absorbed };
}

/** Form entries that hold what a reader of the source would miss, with the input they stand for. */
const CONTENT: ReadonlyMap<string, string> = new Map([
	['peft.config', 'config:adapter_config.json'],
	['diffusers.metadata', 'metadata:lora_adapter_metadata'],
]);

/**
 * What a file without a header (torch) cannot carry: every entry but `format` = `pt`, which loaders write by
 * themselves, and the form entries that hold more than spelling (a whole configuration).
 */
export function headerLosses(adapter: Adapter): readonly Loss[] {
	const losses: Loss[] = [];
	for (const [key, value] of adapter.metadata) {
		if (key === 'format' && value === 'pt') continue;
		losses.push({ what: `metadata:${key}`, why: 'a torch file has no header; write .safetensors to keep this entry.' });
	}
	for (const [key, what] of CONTENT) {
		if (adapter.form.has(key)) losses.push({ what, why: 'a torch file has no header to carry it in; write .safetensors to keep it.' });
	}
	return losses;
}

/**
 * How the source was spelled is no content, but the way back through a torch file is then not exact: say so.
 * @param rederived entries that the target says again in its own way.
 */
export function headerWarnings(adapter: Adapter, rederived: readonly string[]): readonly Warning[] {
	const spelled: string[] = [];
	for (const key of adapter.form.keys()) {
		if (key === FORMAT_ADDED || key.endsWith('.format') || CONTENT.has(key) || rederived.includes(key)) continue;
		spelled.push(key);
	}
	if (spelled.length === 0) return [];
	return [
		{
			code: 'W_LOSS',
			message: `A torch file has no header, so how the source spelled the same content is forgotten (${spelled.sort().join(', ')}); through .safetensors the way back is exact.`,
		},
	];
}

/** Form entry: the header's `format` was added by us, the source had none. */
export const FORMAT_ADDED: string = 'format.added';

/**
 * `format` of a header on the way in: an entry that we added is taken out again; a file of this layout without one
 * is remembered as such.
 */
export function readFormat(
	metadata: ReadonlyMap<string, string>,
	form: Map<string, string>,
	layout: string,
	container: string,
): Map<string, string> {
	const out = new Map(metadata);
	if (form.delete(FORMAT_ADDED)) out.delete('format');
	else if (container === 'safetensors' && !out.has('format')) form.set(`${layout}.format`, 'none');
	return out;
}

/** `format` on the way out: `pt`, which diffusers and transformers ask for, unless the source of this layout had none. */
export function writeFormat(adapter: Adapter, form: Map<string, string>, layout: string): Map<string, string> {
	const out = new Map(adapter.metadata);
	const none = form.get(`${layout}.format`) === 'none';
	form.delete(`${layout}.format`);
	if (out.has('format') || none) return out;
	out.set('format', 'pt');
	// A torch source has no header that could have lacked it.
	if (adapter.source.container === 'safetensors') form.set(FORMAT_ADDED, '1');
	return out;
}

/** Add to the list under a key. */
export function groupInto<K, V>(map: Map<K, V[]>, key: K, value: V): void {
	const own = map.get(key);
	if (own === undefined) map.set(key, [value]);
	else own.push(value);
}
