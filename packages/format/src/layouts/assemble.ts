import type { AlphaSource, Family, Role, TargetModule } from '../adapter.js';
import { numel } from '../dtype.js';
import { FormatError, quote, type WarningSink } from '../errors.js';
import { rankOf, scalingOf } from '../scaling.js';
import type { StateDict } from '../state-dict.js';
import type { Tensor } from '../tensor.js';
import { checkFactors, isSoundPair, moduleName } from './check-factors.js';
import type { LeafRole } from './leaves.js';

/** One name of a file, understood: which module, which role. */
export interface NamedPart {
	readonly key: string;
	readonly component: string;
	readonly path: string;
	readonly resolved: boolean;
	readonly role: LeafRole;
}

/** One tensor of a file, understood. */
export interface Part extends NamedPart {
	readonly tensor: Tensor;
}

/** What a side configuration (metadata, adapter_config.json) says of one module. */
export interface ConfiguredAlpha {
	/** null: it says nothing. */
	readonly alpha: number | null;
	readonly source: AlphaSource;
	readonly rslora: boolean;
	/** `r` of the configuration for this module: only for LoKr with both factors full. */
	readonly rank: number | undefined;
}

export interface AssembleOptions {
	/** Values of small tensors, and whether they were read. */
	readonly file: Pick<StateDict, 'small' | 'smallComplete'>;
	readonly warn: WarningSink;
	/** Alpha from elsewhere than tensors; asked for modules without an alpha tensor. */
	readonly configured?: ((component: string, path: string) => ConfiguredAlpha) | undefined;
	/** Which axis a 1-D or ambiguous magnitude runs along: PEFT's is always `out`. */
	readonly magnitude?: 'peft' | 'kohya' | undefined;
	/** False for layouts that never store alpha as tensors, so that its lack is no warning. */
	readonly expectAlpha: boolean;
}

/** The names of one module. */
export interface PartGroup<P extends NamedPart = NamedPart> {
	readonly component: string;
	readonly path: string;
	readonly resolved: boolean;
	/** In the file's order; roles are distinct. */
	readonly factors: readonly FactorOf<P>[];
	readonly alpha: P | undefined;
	readonly scale: P | undefined;
}

type FactorOf<P extends NamedPart> = P & { readonly role: Role };

interface Group<P extends NamedPart> extends PartGroup<P> {
	readonly factors: FactorOf<P>[];
	alpha: P | undefined;
	scale: P | undefined;
}

type TensorOf<P extends NamedPart> = (part: P) => Tensor | undefined;

/**
 * Group the tensors of a keyed layout by module and check every module: pairs complete, ranks equal, shapes
 * sound, alpha a finite scalar, dtypes float. The one place where a TargetModule is made from named tensors.
 *
 * @throws {FormatError} `E_LORA_DUPLICATE_MODULE`, `E_LORA_UNPAIRED`, `E_LORA_RANK`, `E_LORA_TRANSPOSED`,
 *   `E_LORA_SHAPE`, `E_LORA_ALPHA`, `E_LORA_DTYPE`.
 */
export function assembleModules(parts: Iterable<Part>, options: AssembleOptions): TargetModule[] {
	return assembleGroups(groupParts(parts), (part) => part.tensor, options);
}

/** The names of a file by module, in the order of first sight: what of `assembleModules` does not need the tensors. @throws {FormatError} `E_LORA_DUPLICATE_MODULE`. */
export function groupParts<P extends NamedPart>(parts: Iterable<P>): readonly PartGroup<P>[] {
	const groups: Group<P>[] = [];
	const byComponent = new Map<string, Map<string, Group<P>>>();
	let group: Group<P> | undefined;
	for (const part of parts) {
		// Tensors of one module stand together in most files.
		const same = group !== undefined && group.path === part.path && group.component === part.component;
		if (!same) group = byComponent.get(part.component)?.get(part.path);
		if (group === undefined) {
			const { component, path, resolved } = part;
			group = { component, path, resolved, factors: [], alpha: undefined, scale: undefined };
			groups.push(group);
			const own = byComponent.get(part.component);
			if (own === undefined) byComponent.set(part.component, new Map([[part.path, group]]));
			else own.set(part.path, group);
		}
		const { role } = part;
		// Roles are few, and no role comes twice: the search is short.
		const before = role === 'alpha' ? group.alpha : role === 'scale' ? group.scale : group.factors.find((f) => f.role === role);
		if (before !== undefined) {
			throw new FormatError(
				'E_LORA_DUPLICATE_MODULE',
				`${quote(part.key)} and ${quote(before.key)} are both the ${role} of ${moduleName(part.component, part.path)}; one of them must go, and only you know which.`,
				{ at: part.key },
			);
		}
		if (role === 'alpha') group.alpha = part;
		else if (role === 'scale') group.scale = part;
		else if (isFactor(part)) group.factors.push(part);
	}
	return groups;
}

function isFactor<P extends NamedPart>(part: P): part is FactorOf<P> {
	return part.role !== 'alpha' && part.role !== 'scale';
}

/** The modules of grouped names with their tensors. @throws {FormatError} those of `assembleModules`. */
export function assembleGroups<P extends NamedPart>(
	groups: readonly PartGroup<P>[],
	tensorOf: TensorOf<P>,
	options: AssembleOptions,
): TargetModule[] {
	const modules: TargetModule[] = [];
	for (const group of groups) modules.push(toModule(group, tensorOf, options));
	reportAlpha(modules, options);
	return modules;
}

function toModule<P extends NamedPart>(group: PartGroup<P>, tensorOf: TensorOf<P>, options: AssembleOptions): TargetModule {
	const { component, path, resolved } = group;
	const { family, factors } = factorsOf(group, tensorOf, options);
	const alphaTensor = group.alpha === undefined ? undefined : tensorOf(group.alpha);
	const scaleTensor = group.scale === undefined ? undefined : tensorOf(group.scale);
	const rank = rankOf(family, factors);
	const fromTensor = scalarValue(group.alpha, alphaTensor, options);
	const scale = scalarValue(group.scale, scaleTensor, options);
	const unread = (group.alpha !== undefined && fromTensor === undefined) || (group.scale !== undefined && scale === undefined);
	const configured = group.alpha === undefined ? options.configured?.(component, path) : undefined;
	const alpha = fromTensor ?? configured?.alpha ?? null;
	const { rule, scaling } = scalingOf({
		family,
		rank,
		alpha,
		rslora: configured?.rslora ?? false,
		scale,
		configRank: configured?.rank,
		unread,
	});
	return {
		component,
		path,
		resolved,
		family,
		factors,
		rank,
		alpha,
		alphaSource: group.alpha !== undefined ? 'tensor' : alpha === null ? 'none' : (configured?.source ?? 'none'),
		alphaTensor,
		scaleTensor,
		rule,
		scaling,
		magnitudeAxis: factors.magnitude === undefined ? undefined : magnitudeAxis(factors.magnitude, options.magnitude ?? 'kohya'),
	};
}

/** The factors of a module, checked. */
function factorsOf<P extends NamedPart>(
	group: PartGroup<P>,
	tensorOf: TensorOf<P>,
	options: AssembleOptions,
): { readonly family: Family; readonly factors: Partial<Record<Role, Tensor>> } {
	const [first, second] = group.factors;
	// Nearly all modules are a sound pair: nothing has to be built for them.
	if (first !== undefined && second !== undefined && group.factors.length === 2) {
		const a = tensorOf(first);
		const b = tensorOf(second);
		if (a !== undefined && b !== undefined) {
			if (first.role === 'down' && second.role === 'up' && isSoundPair(a, b)) return { family: 'lora', factors: { down: a, up: b } };
			if (first.role === 'up' && second.role === 'down' && isSoundPair(b, a)) return { family: 'lora', factors: { up: a, down: b } };
		}
	}
	const named = new Map<Role, { readonly key: string; readonly tensor: Tensor }>();
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const part of group.factors) {
		const tensor = tensorOf(part);
		if (tensor === undefined) continue;
		named.set(part.role, { key: part.key, tensor });
		factors[part.role] = tensor;
	}
	const family = familyOf(group, named);
	checkFactors(group.component, group.path, family, named, options.warn);
	return { family, factors };
}

/**
 * PEFT's magnitude is per output row whatever its shape: (o) or (1, o, 1, 1). `dora_scale` says it by shape:
 * (o, 1[, 1, 1]) output, (1, i[, 1, 1]) input; 1-D is output. Source: LAYOUTS §5.6 (measured).
 */
function magnitudeAxis(magnitude: Tensor, style: 'peft' | 'kohya'): 'out' | 'in' {
	if (style === 'peft' || magnitude.shape.length === 1) return 'out';
	return magnitude.shape[0] === 1 && (magnitude.shape[1] ?? 1) !== 1 ? 'in' : 'out';
}

/** The value of an alpha or scale tensor; undefined when it was not read. @throws {FormatError} `E_LORA_ALPHA`. */
function scalarValue(part: NamedPart | undefined, tensor: Tensor | undefined, options: AssembleOptions): number | undefined {
	if (part === undefined || tensor === undefined) return undefined;
	if (tensor.shape.length > 0 && numel(tensor.shape) !== 1) {
		throw new FormatError('E_LORA_ALPHA', `${quote(part.key)} has shape (${tensor.shape.join(', ')}); ${part.role} must be one number.`, {
			at: part.key,
		});
	}
	const value = options.file.small.get(part.key)?.[0];
	if (value === undefined && !options.file.smallComplete) return undefined;
	if (value === undefined || !Number.isFinite(value)) {
		throw new FormatError(
			'E_LORA_ALPHA',
			`${quote(part.key)} is ${value ?? `of type ${tensor.dtype}`}; ${part.role} must be a finite number.`,
			{ at: part.key },
		);
	}
	return value;
}

function reportAlpha(modules: readonly TargetModule[], options: AssembleOptions): void {
	const zero = modules.filter((m) => m.alpha === 0 && m.rule !== 'none' && m.rule !== 'constraint');
	const [firstZero] = zero;
	if (firstZero !== undefined) {
		options.warn({
			code: 'W_ALPHA_ZERO',
			message: `alpha is 0 in ${count(zero.length, 'module')} (first: ${moduleName(firstZero.component, firstZero.path)}): A1111 and ComfyUI apply nothing, kohya's trainer reads 0 as "alpha = rank".`,
			at: firstZero.path,
		});
	}
	if (options.expectAlpha) {
		const scaled = modules.filter((m) => m.rank !== undefined && m.rule !== 'scale-tensor');
		const missing = scaled.filter((m) => m.alphaSource === 'none');
		const [firstMissing] = missing;
		if (firstMissing !== undefined && missing.length < scaled.length) {
			options.warn({
				code: 'W_ALPHA_MISSING',
				message: `${missing.length} of ${count(scaled.length, 'module')} have no alpha (first: ${moduleName(firstMissing.component, firstMissing.path)}); every reader takes alpha = rank, scaling 1, for those.`,
				at: firstMissing.path,
			});
		}
	}
	const unread = modules.filter((m) => m.rule === 'unread').length;
	if (unread > 0) {
		options.warn({
			code: 'W_ALPHA_NOT_READ',
			message: `alpha of ${count(unread, 'module')} stands in tensors that were not fetched (header only); ask for values to see the strength.`,
		});
	}
}

/** Which family a module's factors make. @throws {FormatError} `E_UNSUPPORTED_ADAPTER`, `E_LORA_UNPAIRED`. */
function familyOf(group: PartGroup, factors: ReadonlyMap<Role, { readonly key: string; readonly tensor: Tensor }>): Family {
	if (factors.size === 2 && factors.has('down') && factors.has('up')) return 'lora';
	const has = (role: Role): boolean => factors.has(role);
	const families: Family[] = [];
	if (has('down') || has('up') || has('mid')) families.push(has('mid') ? 'locon' : 'lora');
	if (has('hada_w1_a') || has('hada_w1_b') || has('hada_w2_a') || has('hada_w2_b')) families.push('loha');
	if (has('lokr_w1') || has('lokr_w1_a') || has('lokr_w2') || has('lokr_w2_a')) families.push('lokr');
	if (has('glora_a1') || has('glora_b1')) families.push('glora');
	if (has('oft_blocks')) families.push((factors.get('oft_blocks')?.tensor.shape.length ?? 0) === 4 ? 'boft' : 'oft');
	if (has('oft_diag')) families.push('oft');
	if (has('oft_R')) families.push('peft-oft');
	if (has('boft_R')) families.push('peft-boft');
	if (has('on_input')) families.push('ia3');
	if (has('ia3_l')) families.push('peft-ia3');
	if (has('embedding_down') || has('embedding_up')) families.push('embedding');
	if (has('w_norm') || has('b_norm')) families.push('norm');
	const [family] = families;
	if (families.length > 1) {
		throw new FormatError(
			'E_LORA_DUPLICATE_MODULE',
			`${moduleName(group.component, group.path)} carries factors of ${families.join(' and ')} at once; a module can have one.`,
			{ at: group.path },
		);
	}
	if (family !== undefined) return family;
	if (has('diff') || has('diff_b') || has('diff_m')) return 'full';
	if (has('weight') || has('bias') || has('set_weight') || has('reshape_weight')) return 'whole';
	const [lone] = [...factors.keys(), ...(group.alpha === undefined ? [] : ['alpha'])];
	const key = group.alpha?.key ?? factors.values().next().value?.key ?? group.path;
	throw new FormatError(
		'E_LORA_UNPAIRED',
		`${quote(key)} (${lone ?? 'scale'}) stands alone: ${moduleName(group.component, group.path)} has no factors; the file is incomplete.`,
		{ at: key },
	);
}

function count(n: number, noun: string): string {
	return `${n} ${noun}${n === 1 ? '' : 's'}`;
}
