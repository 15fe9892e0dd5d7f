import type { Family, Role, TargetModule } from '../adapter.js';
import { originsOf, reshaped, type Tensor } from '../tensor.js';
import { type AlphaForm, alphaTensorOf } from './kohya-alpha.js';
import type { Absorbed, EncodeOptions, Loss } from './layout.js';
import { leafSuffix } from './leaves.js';

/** Families that no reader of kohya's leaves knows (A1111, ComfyUI, sd-scripts, sd.cpp; LAYOUTS.md §2.16, §2.20, §5). */
const FOREIGN: ReadonlySet<Family> = new Set<Family>(['peft-oft', 'peft-boft', 'peft-ia3', 'embedding']);

/** Roles without a leaf in kohya's spelling. */
const FOREIGN_ROLES: ReadonlySet<Role> = new Set<Role>([
	'up_bias',
	'weight',
	'bias',
	'ia3_l',
	'oft_R',
	'boft_R',
	'boft_s',
	'embedding_down',
	'embedding_up',
]);

/** What one encode collects. */
export interface LeafOutput {
	readonly tensors: Map<string, Tensor>;
	readonly losses: Loss[];
	readonly absorbed: Absorbed[];
	/** Largest relative error that rounding made in an alpha. */
	alphaBound: number;
}

export interface LeafOptions {
	/** Layout id, for messages. */
	readonly target: string;
	/** How `down`, `up` and magnitudes are spelled; everything else is kohya's. */
	readonly style: 'kohya' | 'peft' | 'diffusers' | 'linear-layer' | 'ai-toolkit';
	readonly alphaForm: AlphaForm;
	readonly alpha: EncodeOptions['alpha'];
	/** A full difference is written under the leaf of the down factor: ai-toolkit's `fullrank` has it so. */
	readonly fullRank?: boolean | undefined;
	/** `.lora_A` and `.lora_B` without `.weight`. */
	readonly bare?: boolean | undefined;
	/** Keep a 1-D magnitude 1-D: the file had it so. */
	readonly flatMagnitude?: boolean | undefined;
	/** Leaf of the magnitude where it is not the style's: `.magnitude`, `.lora_magnitude_vector`, `.dora_scale`. */
	readonly magnitudeLeaf?: string | undefined;
}

/** An empty output. */
export function leafOutput(): LeafOutput {
	return { tensors: new Map(), losses: [], absorbed: [], alphaBound: 0 };
}

/**
 * Write one module's tensors under `name` with kohya's leaves: factors as they are, alpha and `.scale` as tensors,
 * DoRA's magnitude in the shape that says its axis ((o, 1[, 1, 1]) out, (1, i[, 1, 1]) in; LAYOUTS.md §5.6). What
 * these leaves cannot say goes to `losses`.
 */
export function writeLeaves(out: LeafOutput, module: TargetModule, name: string, options: LeafOptions): void {
	if (FOREIGN.has(module.family)) {
		loseModule(out, module, `the readers of ${options.target} do not load the family ${module.family}.`);
		return;
	}
	if (isUnsayable(module)) {
		loseModule(
			out,
			module,
			`${where(module)} is a LoKr with both factors full: the readers of ${options.target} ignore its alpha, so scaling ${module.scaling} cannot be said; use --alpha fold.`,
		);
		return;
	}
	writeAlpha(out, module, name, options);
	if (module.scaleTensor !== undefined) put(out, `${name}.scale`, module.scaleTensor, options.target);
	for (const [role, tensor] of factorsOf(module)) {
		if (FOREIGN_ROLES.has(role) && !(role === 'up_bias' && options.style === 'peft')) {
			lose(out, tensor, `the readers of ${options.target} do not load ${role} (${where(module)}).`);
			continue;
		}
		const spelled = role === 'diff' && options.fullRank === true ? 'down' : role;
		const full = role === 'magnitude' && options.magnitudeLeaf !== undefined ? options.magnitudeLeaf : suffixOf(spelled, options.style);
		const suffix = options.bare === true && (role === 'down' || role === 'up') ? full?.replace('.weight', '') : full;
		if (suffix === undefined) {
			lose(out, tensor, `${options.target} has no leaf for ${role} (${where(module)}); its readers would not load it.`);
			continue;
		}
		put(out, name + suffix, role === 'magnitude' ? shapedMagnitude(module, tensor, options) : tensor, options.target);
	}
}

/** A module that cannot be written at all: every tensor of it is named. */
export function loseModule(out: LeafOutput, module: TargetModule, why: string): void {
	for (const [, tensor] of factorsOf(module)) lose(out, tensor, why);
	if (module.alphaTensor !== undefined) lose(out, module.alphaTensor, why);
	if (module.scaleTensor !== undefined) lose(out, module.scaleTensor, why);
}

/** The factors of a module, in the order in which they were read. */
export function factorsOf(module: TargetModule): readonly (readonly [Role, Tensor])[] {
	const out: (readonly [Role, Tensor])[] = [];
	for (const [role, tensor] of Object.entries(module.factors)) if (tensor !== undefined) out.push([role as Role, tensor]);
	return out;
}

function writeAlpha(out: LeafOutput, module: TargetModule, name: string, options: LeafOptions): void {
	const alpha = alphaTensorOf(module, options.alphaForm);
	if (alpha === undefined) {
		if (module.alphaTensor !== undefined) {
			for (const from of originsOf(module.alphaTensor)) out.absorbed.push({ from, into: 'factors', errorBound: 0 });
		}
		return;
	}
	if (alpha.bound > out.alphaBound) out.alphaBound = alpha.bound;
	put(out, `${name}.alpha`, alpha.tensor, options.target);
}

function isUnsayable(module: TargetModule): boolean {
	return module.family === 'lokr' && module.rank === undefined && module.rule === 'alpha/rank' && module.scaling !== 1;
}

function suffixOf(role: Role, style: LeafOptions['style']): string | undefined {
	if (role === 'ia3_weight') return '.weight';
	if (style === 'ai-toolkit') {
		if (role === 'magnitude') return '.magnitude';
		return (role === 'down' || role === 'up' ? leafSuffix(role, 'peft') : undefined) ?? leafSuffix(role, 'kohya');
	}
	return (style === 'kohya' ? undefined : leafSuffix(role, style)) ?? leafSuffix(role, 'kohya');
}

/** The magnitude in the shape of its weight's rank: a vector cannot say its axis. */
function shapedMagnitude(module: TargetModule, magnitude: Tensor, options: LeafOptions): Tensor {
	const { shape } = magnitude;
	const n = shape.reduce((a, b) => a * b, 1);
	const vector =
		options.magnitudeLeaf === undefined
			? options.style === 'peft' || options.style === 'ai-toolkit'
			: options.magnitudeLeaf !== '.dora_scale';
	if (vector) return module.magnitudeAxis === 'out' ? reshaped(magnitude, [n]) : magnitude;
	if (module.magnitudeAxis !== 'out') return magnitude;
	if (shape.length === 1 ? options.flatMagnitude === true : shape[0] === n) return magnitude;
	const dims = Math.max(2, (module.factors.down ?? magnitude).shape.length);
	return reshaped(magnitude, [n, ...new Array<number>(dims - 1).fill(1)]);
}

/** Put a tensor; a second one of the same name is a loss, never an overwrite. */
function put(out: LeafOutput, name: string, tensor: Tensor, target: string): void {
	if (out.tensors.has(name)) lose(out, tensor, `${target} would write two tensors under ${name}; two modules have the same name there.`);
	else out.tensors.set(name, tensor);
}

function lose(out: LeafOutput, tensor: Tensor, why: string): void {
	const origins = originsOf(tensor);
	if (origins.size === 0) out.losses.push({ what: tensor.derivation?.how ?? 'a tensor', why });
	for (const what of origins) out.losses.push({ what, why });
}

function where(module: TargetModule): string {
	return `${module.component} ${module.path}`;
}
