import type { TargetModule } from '../adapter.js';
import { type DType, isDType, numel } from '../dtype.js';
import { bf16ToF32, decodeFloats, encodeFloats, f16ToF32, f64ToBf16, f64ToF16, type WritableFloat } from '../half.js';
import { bytesTensor, type Tensor } from '../tensor.js';
import { alphaToWrite } from './shared.js';

/**
 * Alpha as tensors: what layouts with kohya's leaves (`kohya`, `lycoris-standalone`, `omi`, `native-dotted`) write
 * beside the factors, and the form entries that let other layouts bring it back bit for bit:
 *
 * - `alpha.none`: `all`, or a JSON list of module ids that have no alpha tensor (so scaling 1).
 * - `alpha.kind`: dtype and shape of the alpha tensors where the rule below would choose others: `I64[]`, `F32[1]`,
 *   or JSON of module id -> kind.
 * - `alpha.ignored`: JSON of module id -> `KIND VALUE` of alphas that stand in the file but that no reader obeys
 *   (LoKr with both factors full, full differences), so that they are not in the scaling.
 *
 * A module id is `COMPONENT PATH`. The rule for new alpha tensors: a scalar of the factors' dtype when the value is
 * exact in it (kohya saves alpha in the file's dtype), else float32.
 */
export const ALPHA_FORM_KEYS: readonly string[] = ['alpha.none', 'alpha.kind', 'alpha.ignored'];

/** Largest relative error of a float32 rounding. */
const F32_ROUNDING = 2 ** -24;

/** The alpha form entries, parsed once per encode. */
export interface AlphaForm {
	readonly none: ReadonlySet<string> | 'all';
	/** Kind for every module, or by module id. */
	readonly kind: string | ReadonlyMap<string, string>;
	readonly ignored: ReadonlyMap<string, string>;
}

/** An alpha tensor to write, and the relative error its rounding makes (0 when exact). */
export interface AlphaTensor {
	readonly tensor: Tensor;
	readonly bound: number;
}

/** `COMPONENT PATH`, the id of a module in form entries. */
export function moduleId(module: Pick<TargetModule, 'component' | 'path'>): string {
	return `${module.component} ${module.path}`;
}

/** The form entries that say how this file's alphas are stored; empty where the rule for new alphas gives the same. */
export function describeAlphas(modules: readonly TargetModule[]): Map<string, string> {
	const form = new Map<string, string>();
	const slots = modules.filter((m) => m.rank !== undefined && m.rule !== 'none');
	const none = slots.filter((m) => m.alphaTensor === undefined && m.rule === 'one');
	if (none.length > 0) form.set('alpha.none', none.length === slots.length ? 'all' : JSON.stringify(none.map(moduleId)));
	const kinds = new Map<string, string>();
	const ignored = new Map<string, string>();
	let unusual = false;
	for (const m of modules) {
		if (m.alphaTensor === undefined || m.alpha === null) continue;
		if (m.rule === 'none') ignored.set(moduleId(m), `${kindOf(m.alphaTensor)} ${m.alpha}`);
		unusual ||= m.alphaTensor.shape.length > 0 || m.alphaTensor.dtype !== defaultDtype(m, m.alpha);
	}
	if (unusual) {
		for (const m of modules) if (m.alphaTensor !== undefined && m.alpha !== null) kinds.set(moduleId(m), kindOf(m.alphaTensor));
		const [first] = kinds.values();
		const uniform = [...kinds.values()].every((k) => k === first);
		form.set('alpha.kind', uniform && first !== undefined ? first : jsonOf(kinds));
	}
	if (ignored.size > 0) form.set('alpha.ignored', jsonOf(ignored));
	return form;
}

/** Reads the alpha entries of a form; what is not in order is taken as not there. */
export function parseAlphaForm(form: ReadonlyMap<string, string>): AlphaForm {
	const none = form.get('alpha.none');
	const kind = form.get('alpha.kind') ?? '';
	const list = none === undefined ? [] : parseJson(none);
	return {
		none: none === 'all' ? 'all' : new Set(Array.isArray(list) ? list.filter((x): x is string => typeof x === 'string') : []),
		kind: kind.startsWith('{') ? stringMap(kind) : kind,
		ignored: stringMap(form.get('alpha.ignored') ?? '{}'),
	};
}

/**
 * The alpha tensor of a module, or undefined when it needs none. The file's own tensor is given back as it is
 * where its value still is the module's alpha.
 */
export function alphaTensorOf(module: TargetModule, form: AlphaForm): AlphaTensor | undefined {
	const id = moduleId(module);
	if (module.alphaTensor !== undefined && module.alphaSource === 'tensor') {
		const own = { tensor: module.alphaTensor, bound: 0 };
		// One that a transform made (alpha of a fused rank, of a part) takes the file's kind again, where that is exact.
		const remade =
			module.alphaTensor.derivation === undefined || module.alpha === null
				? undefined
				: makeAlpha(module, module.alpha, 0, kindFor(form, id));
		return remade?.bound === 0 ? remade : own;
	}
	if (module.rule === 'none') {
		const text = form.ignored.get(id);
		if (text === undefined) return undefined;
		const cut = text.indexOf(' ');
		return makeAlpha(module, Number(text.slice(cut + 1)), 0, text.slice(0, cut));
	}
	const listed = form.none === 'all' || form.none.has(id);
	if (listed && module.scaling === 1 && module.alphaTensor === undefined) return undefined;
	const wanted = alphaToWrite(module);
	if (wanted === undefined) return undefined;
	return makeAlpha(module, wanted.alpha, wanted.bound, kindFor(form, id));
}

function kindFor(form: AlphaForm, id: string): string {
	return typeof form.kind === 'string' ? form.kind : (form.kind.get(id) ?? '');
}

function makeAlpha(module: TargetModule, value: number, bound: number, asked: string): AlphaTensor | undefined {
	if (!Number.isFinite(value)) return undefined;
	const kind = parseKind(asked) ?? { dtype: defaultDtype(module, value), shape: [] };
	let bytes = exactScalar(kind.dtype, value);
	let { dtype, shape } = kind;
	let rounding = 0;
	if (bytes === undefined) {
		// The asked kind cannot hold the value: float32, rounded, and the bound says so.
		dtype = 'F32';
		shape = [];
		bytes = encodeFloats('F32', Float64Array.of(value));
		rounding = Math.fround(value) === value ? 0 : F32_ROUNDING;
	}
	const total = bound + rounding;
	const from = module.alphaTensor === undefined ? [] : [module.alphaTensor];
	const source = module.alphaSource === 'none' || module.alphaSource === 'tensor' ? 'the scaling' : `the ${module.alphaSource}`;
	return {
		tensor: bytesTensor(dtype, shape, bytes, undefined, { from, how: `alpha ${value} from ${source}`, errorBound: total }),
		bound: total,
	};
}

/** Dtype of a new alpha tensor, a scalar. */
function defaultDtype(module: TargetModule, value: number): DType {
	const dtype = (module.factors.down ?? Object.values(module.factors)[0])?.dtype ?? 'F32';
	return isFloatKind(dtype) && isExact(dtype, value) ? dtype : 'F32';
}

function kindOf(tensor: Tensor): string {
	return `${tensor.dtype}[${tensor.shape.join('x')}]`;
}

function parseKind(text: string): { readonly dtype: DType; readonly shape: readonly number[] } | undefined {
	const match = /^([A-Z0-9_]+)\[((?:1(?:x1){0,7})?)\]$/.exec(text);
	const dtype = match?.[1] ?? '';
	if (match === null || !isDType(dtype)) return undefined;
	const shape = match[2] === '' ? [] : (match[2] ?? '').split('x').map(Number);
	return numel(shape) === 1 ? { dtype, shape } : undefined;
}

function isFloatKind(dtype: DType): dtype is WritableFloat {
	return dtype === 'F16' || dtype === 'BF16' || dtype === 'F32' || dtype === 'F64';
}

/** Whether rounding to the type leaves the value as it is. */
function isExact(dtype: WritableFloat, value: number): boolean {
	if (dtype === 'F16') return Object.is(f16ToF32(f64ToF16(value)), value);
	if (dtype === 'BF16') return Object.is(bf16ToF32(f64ToBf16(value)), value);
	return dtype === 'F64' || Object.is(Math.fround(value), value);
}

/** Little-endian bytes of one element, or undefined when the type cannot hold the value exactly. */
function exactScalar(dtype: DType, value: number): Uint8Array | undefined {
	if (isFloatKind(dtype)) {
		return isExact(dtype, value) ? encodeFloats(dtype, Float64Array.of(value)) : undefined;
	}
	if (!Number.isSafeInteger(value)) return undefined;
	const view = new DataView(new ArrayBuffer(8));
	view.setBigInt64(0, BigInt(value), true);
	const size = INTEGER_BYTES.get(dtype);
	if (size === undefined) return undefined;
	const bytes = new Uint8Array(view.buffer, 0, size).slice();
	return decodeFloats(dtype, bytes)[0] === value ? bytes : undefined;
}

const INTEGER_BYTES: ReadonlyMap<DType, number> = new Map([
	['U8', 1],
	['I8', 1],
	['I16', 2],
	['U16', 2],
	['I32', 4],
	['U32', 4],
	['I64', 8],
	['U64', 8],
]);

function jsonOf(map: ReadonlyMap<string, string>): string {
	return JSON.stringify(Object.fromEntries(map));
}

/** A JSON object of strings as a Map; empty when it is anything else. */
export function stringMap(text: string): ReadonlyMap<string, string> {
	const value = parseJson(text);
	const out = new Map<string, string>();
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return out;
	for (const [key, entry] of Object.entries(value)) if (typeof entry === 'string') out.set(key, entry);
	return out;
}

function parseJson(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch {
		return undefined;
	}
}
