import type { Adapter, Role, TargetModule } from '../adapter.js';
import type { Tensor } from '../tensor.js';
import type { DiffusersFound } from './diffusers-decode.js';
import type { TodaySpelling } from './diffusers-spelling.js';
import { type LeafRole, leafSuffix } from './leaves.js';

/**
 * How a file names its components and text encoder paths. Form entries (all of them only where the file does not do
 * the usual thing):
 * `diffusers.prefix` = `none` (save_lora_adapter: no component in front);
 * `diffusers.aliases` = JSON, component -> prefix as written (`text_encoder_1`);
 * `diffusers.text_model` = components, by comma, whose CLIP paths stand without `text_model.` (transformers >= 5).
 */
export interface DiffusersNames {
	/** Prefix ('' for none) and path as written. */
	of(module: Pick<TargetModule, 'component' | 'path'>): { readonly prefix: string; readonly name: string };
}

/** Note prefix, aliases and `text_model.` of a file. */
export function rememberNames(found: DiffusersFound, form: Map<string, string>): void {
	const aliases = new Map<string, string>();
	const bare = new Set<string>();
	const full = new Set<string>();
	let prefixed = 0;
	for (const key of found.keys.values()) {
		if (key.prefix !== '') prefixed++;
		if (key.prefix !== '' && key.prefix !== key.component) aliases.set(key.component, key.prefix);
		if (key.path !== key.written) bare.add(key.component);
		else if (key.path.startsWith('text_model.')) full.add(key.component);
	}
	if (prefixed === 0 && found.keys.size > 0) form.set('diffusers.prefix', 'none');
	if (aliases.size > 0) form.set('diffusers.aliases', JSON.stringify(Object.fromEntries([...aliases].sort())));
	const flattened = [...bare].filter((component) => !full.has(component)).sort();
	if (flattened.length > 0) form.set('diffusers.text_model', flattened.join(','));
}

/** The names to write, and the form entries taken out of `form` because they are said by the names again. */
export function takeNames(adapter: Pick<Adapter, 'modules'>, form: Map<string, string>): DiffusersNames {
	const prefix = take(form, 'diffusers.prefix');
	const aliases = table(take(form, 'diffusers.aliases'));
	const flattened = new Set((take(form, 'diffusers.text_model') ?? '').split(','));
	const components = new Set(adapter.modules.map((m) => m.component));
	const none = prefix === 'none' && components.size === 1;
	return {
		of: ({ component, path }) => ({
			prefix: none ? '' : (aliases.get(component) ?? component),
			name: flattened.has(component) && path.startsWith('text_model.') ? path.slice('text_model.'.length) : path,
		}),
	};
}

/** Remove an entry and give its value. */
export function take(form: Map<string, string>, key: string): string | undefined {
	const value = form.get(key);
	form.delete(key);
	return value;
}

function table(text: string | undefined): ReadonlyMap<string, string> {
	const out = new Map<string, string>();
	if (text === undefined) return out;
	try {
		const value: unknown = JSON.parse(text);
		if (typeof value !== 'object' || value === null) return out;
		for (const [key, entry] of Object.entries(value)) if (typeof entry === 'string') out.set(key, entry);
	} catch {
		return out;
	}
	return out;
}

/** The leaf of a role in one of today's spellings; undefined when diffusers has none. */
export function todaySuffix(role: LeafRole, spelling: TodaySpelling): string | undefined {
	if (role === 'up_bias')
		return spelling === 'lora' ? '.lora.up.bias' : spelling === 'linear' ? '.lora_linear_layer.up.bias' : '.lora_B.bias';
	if (role === 'down' || role === 'up') {
		return leafSuffix(role, spelling === 'lora' ? 'diffusers' : spelling === 'linear' ? 'linear-layer' : 'peft');
	}
	return leafSuffix(role, 'peft');
}

/** A module's factors, in the order in which they were given. */
export function factorsOf(module: TargetModule): readonly (readonly [Role, Tensor])[] {
	const out: (readonly [Role, Tensor])[] = [];
	// The keys of a Partial<Record<Role, …>> are roles; Object.entries forgets that.
	for (const [role, tensor] of Object.entries(module.factors) as [Role, Tensor | undefined][]) {
		if (tensor !== undefined) out.push([role, tensor]);
	}
	return out;
}
