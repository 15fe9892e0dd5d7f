import type { TargetModule } from '../adapter.js';
import { cloneofsimoCandidates, type PairShape } from '../modules/index.js';

/** A component's modules laid out as cloneofsimo's injector would find them. */
export interface TargetList {
	/** In list order. */
	readonly modules: readonly TargetModule[];
	/** Class names, in `usualOrder`. */
	readonly targets: readonly string[];
	/** Modules with no place in the list, with the reason. */
	readonly left: ReadonlyMap<TargetModule, string>;
	/** True when the shapes alone would not show the order again. */
	readonly needsOrder: boolean;
}

interface Placed {
	readonly module: TargetModule;
	readonly group: 'attention' | 'GEGLU' | 'ResnetBlock2D' | 'CLIPAttention' | 'CLIPMLP';
	/** Sort key. */
	readonly at: readonly number[];
	/** The place whose members must be complete, and this member. */
	readonly place: string;
	readonly member: string;
}

const ATTENTION_MEMBERS = ['to_q', 'to_k', 'to_v', 'to_out.0'];
const TEXT_MEMBERS = ['k_proj', 'v_proj', 'q_proj', 'out_proj'];

/**
 * Lay the LoRA modules of one component along cloneofsimo's traversal (LAYOUTS §2.1): down, up, mid; attentions before
 * resnets; attn1, attn2, GEGLU (`new`) or attn1, GEGLU, attn2 (`old`). A list cannot leave a module of a target class out,
 * so a class that lacks one is left out whole, and the result is read back to prove it.
 *
 * @param allowed text encoder classes beside CLIPAttention that the source's own list had.
 */
export function targetList(
	component: string,
	modules: readonly TargetModule[],
	order: 'old' | 'new',
	allowed: readonly string[],
): TargetList {
	const left = new Map<TargetModule, string>();
	let placed: Placed[] = [];
	for (const module of modules) {
		const p = component === 'unet' ? placeUnet(module, order) : placeText(module);
		if (p === undefined || (p.group === 'CLIPMLP' && !allowed.includes('CLIPMLP'))) {
			left.set(
				module,
				`${module.path} stands in no class that cloneofsimo's lists adapt (${component === 'unet' ? 'CrossAttention, Attention, GEGLU, ResnetBlock2D' : 'CLIPAttention'})`,
			);
		} else placed.push(p);
	}
	const drop = (group: Placed['group'], why: string): void => {
		for (const p of placed) if (p.group === group) left.set(p.module, why);
		placed = placed.filter((p) => p.group !== group);
	};
	for (const group of ['attention', 'GEGLU', 'CLIPAttention', 'CLIPMLP'] as const) {
		const missing = firstMissing(placed, group, component);
		if (missing !== undefined) drop(group, `a cloneofsimo list cannot leave modules out, and ${component} ${missing} is missing`);
	}
	placed.sort((a, b) => compare(a.at, b.at));
	for (const group of ['ResnetBlock2D', 'GEGLU', 'attention', 'CLIPMLP', 'CLIPAttention'] as const) {
		if (placed.length === 0) break;
		const read = readBack(component, placed, order);
		if (read.same) return { modules: placed.map((p) => p.module), targets: classesOf(placed), left, needsOrder: read.needsOrder };
		drop(group, `these modules are no complete set of cloneofsimo targets: ${read.nearest}`);
	}
	return { modules: [], targets: [], left, needsOrder: false };
}

function placeUnet(module: TargetModule, order: 'old' | 'new'): Placed | undefined {
	const block = /^(?:(down_blocks|up_blocks)\.(\d+)|mid_block)\.(attentions|resnets)\.(\d+)\.(.+)$/.exec(module.path);
	if (block === null) return undefined;
	const [, kind, index, part, number, rest = ''] = block;
	const at = [kind === 'down_blocks' ? 0 : kind === 'up_blocks' ? 1 : 2, Number(index ?? 0), part === 'attentions' ? 0 : 1, Number(number)];
	if (part === 'resnets') {
		const member = ['conv1', 'time_emb_proj', 'conv2', 'conv_shortcut'].indexOf(rest);
		if (member < 0) return undefined;
		return { module, group: 'ResnetBlock2D', at: [...at, member], place: module.path.slice(0, -rest.length - 1), member: rest };
	}
	const inner = /^transformer_blocks\.(\d+)\.(?:(attn[12])\.(to_q|to_k|to_v|to_out\.0)|(ff\.net\.0\.proj))$/.exec(rest);
	if (inner === null) return undefined;
	const [, depth, attn, member, geglu] = inner;
	const place = `${module.path.slice(0, -rest.length)}transformer_blocks.${depth}`;
	const slot = geglu !== undefined ? (order === 'old' ? 1 : 2) : attn === 'attn1' ? 0 : order === 'old' ? 2 : 1;
	if (geglu !== undefined) return { module, group: 'GEGLU', at: [...at, Number(depth), slot, 0], place, member: geglu };
	return {
		module,
		group: 'attention',
		at: [...at, Number(depth), slot, ATTENTION_MEMBERS.indexOf(member ?? '')],
		place,
		member: `${attn}.${member}`,
	};
}

function placeText(module: TargetModule): Placed | undefined {
	const found = /^text_model\.encoder\.layers\.(\d+)\.(?:self_attn\.(k_proj|v_proj|q_proj|out_proj)|mlp\.(fc[12]))$/.exec(module.path);
	if (found === null) return undefined;
	const [, layer, member, mlp] = found;
	const place = `text_model.encoder.layers.${layer}`;
	if (mlp !== undefined) return { module, group: 'CLIPMLP', at: [Number(layer), 1, mlp === 'fc1' ? 0 : 1], place, member: `mlp.${mlp}` };
	return {
		module,
		group: 'CLIPAttention',
		at: [Number(layer), 0, TEXT_MEMBERS.indexOf(member ?? '')],
		place,
		member: `self_attn.${member}`,
	};
}

/** The first module of a class that is not there although others of its kind are. */
function firstMissing(placed: readonly Placed[], group: Placed['group'], component: string): string | undefined {
	const own = placed.filter((p) => p.group === group);
	if (own.length === 0) return undefined;
	const wanted =
		group === 'attention'
			? ['attn1', 'attn2'].flatMap((attn) => ATTENTION_MEMBERS.map((m) => `${attn}.${m}`))
			: group === 'GEGLU'
				? ['ff.net.0.proj']
				: group === 'CLIPMLP'
					? ['mlp.fc1', 'mlp.fc2']
					: TEXT_MEMBERS.map((m) => `self_attn.${m}`);
	const have = new Set(own.map((p) => `${p.place}.${p.member}`));
	const places = new Set<string>();
	let layers = 0;
	// GEGLU stands in every block that has attention; text layers are numbered from 0 without a gap.
	for (const p of placed) if (p.group === group || (group === 'GEGLU' && p.group === 'attention')) places.add(p.place);
	if (component !== 'unet') for (const place of places) layers = Math.max(layers, Number(place.slice(place.lastIndexOf('.') + 1)) + 1);
	if (layers > 10_000) return `text_model.encoder.layers.0.${wanted[0]}`;
	for (let n = 0; n < layers; n++) places.add(`text_model.encoder.layers.${n}`);
	for (const place of places) for (const member of wanted) if (!have.has(`${place}.${member}`)) return `${place}.${member}`;
	return undefined;
}

function classesOf(placed: readonly Placed[]): readonly string[] {
	const classes = new Set<string>();
	for (const { group } of placed) {
		if (group === 'attention') classes.add('CrossAttention').add('Attention');
		else classes.add(group);
	}
	return usualOrder(classes);
}

/** The order in which cloneofsimo's source lists them; what its files hold is the random order of a Python set. */
export function usualOrder(classes: Iterable<string>): readonly string[] {
	const order = ['CrossAttention', 'Attention', 'GEGLU', 'ResnetBlock2D', 'CLIPAttention', 'CLIPMLP'];
	return [...classes].sort((a, b) => order.indexOf(a) - order.indexOf(b) || (a < b ? -1 : a > b ? 1 : 0));
}

function readBack(
	component: string,
	placed: readonly Placed[],
	order: 'old' | 'new',
): { readonly same: boolean; readonly needsOrder: boolean; readonly nearest: string } {
	const pairs = placed.map(({ module }): PairShape => [module.factors.up?.shape ?? [], module.factors.down?.shape ?? []]);
	const paths = placed.map((p) => p.module.path).join('\n');
	const targets = classesOf(placed);
	const kind = component === 'unet' ? 'unet' : 'text_encoder';
	const said = cloneofsimoCandidates(pairs, { component: kind, targets, order });
	const same = said.candidates.some((c) => c.paths.join('\n') === paths);
	if (!same) return { same, needsOrder: false, nearest: said.nearest ?? 'they would be read as other modules' };
	const [best, second] = cloneofsimoCandidates(pairs, { component: kind, targets }).candidates;
	const alone = best !== undefined && best.paths.join('\n') === paths && best.confidence !== second?.confidence;
	return { same, needsOrder: !alone, nearest: '' };
}

function compare(a: readonly number[], b: readonly number[]): number {
	for (let i = 0; i < Math.max(a.length, b.length); i++) {
		const d = (a[i] ?? -1) - (b[i] ?? -1);
		if (d !== 0) return d;
	}
	return 0;
}
