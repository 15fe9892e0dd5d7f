import type { Family, Role } from '../adapter.js';
import { isFloat } from '../dtype.js';
import { FormatError, quote, type WarningSink } from '../errors.js';
import type { Tensor } from '../tensor.js';

interface Named {
	readonly key: string;
	readonly tensor: Tensor;
}

type Factors = ReadonlyMap<Role, Named>;

/** Roles that must come together, per family: each inner list is one complete set, any one of which suffices. */
const REQUIRED: Readonly<Record<Family, readonly (readonly Role[])[]>> = {
	lora: [['down', 'up']],
	locon: [['down', 'up', 'mid']],
	loha: [['hada_w1_a', 'hada_w1_b', 'hada_w2_a', 'hada_w2_b']],
	lokr: [
		['lokr_w1', 'lokr_w2'],
		['lokr_w1', 'lokr_w2_a', 'lokr_w2_b'],
		['lokr_w1_a', 'lokr_w1_b', 'lokr_w2'],
		['lokr_w1_a', 'lokr_w1_b', 'lokr_w2_a', 'lokr_w2_b'],
	],
	glora: [['glora_a1', 'glora_a2', 'glora_b1', 'glora_b2']],
	oft: [['oft_blocks'], ['oft_diag']],
	boft: [['oft_blocks']],
	'peft-oft': [['oft_R']],
	'peft-boft': [['boft_R', 'boft_s']],
	ia3: [['ia3_weight', 'on_input']],
	'peft-ia3': [['ia3_l']],
	embedding: [['embedding_down', 'embedding_up']],
	norm: [['w_norm'], ['b_norm']],
	full: [['diff'], ['diff_b'], ['diff_m']],
	whole: [['weight'], ['bias'], ['set_weight'], ['reshape_weight']],
};

const INTEGERS: ReadonlySet<Role> = new Set<Role>(['on_input', 'bias_indices', 'bias_size', 'reshape_weight']);

/** Component and path for messages: a path of a hundred thousand characters is cut. */
export function moduleName(component: string, path: string): string {
	const cut = (text: string): string => (text.length > 200 ? quote(text) : text);
	return `${cut(component)} ${cut(path)}`;
}

/**
 * Check one module's factors against each other: nothing missing, ranks equal, float dtypes.
 * Shapes against the base are not known here (`modules/` and `validate.ts` do that).
 *
 * @throws {FormatError} `E_LORA_UNPAIRED`, `E_LORA_RANK`, `E_LORA_TRANSPOSED`, `E_LORA_SHAPE`, `E_LORA_DTYPE`.
 */
export function checkFactors(component: string, path: string, family: Family, factors: Factors, warn: WarningSink): void {
	const where = moduleName(component, path);
	const [first] = factors.values();
	if (first === undefined) throw new FormatError('E_LORA_UNPAIRED', `${where} has no factors.`, { at: path });
	checkComplete(where, family, factors, first.key);
	let dtypes: Set<string> | undefined;
	let dtype: string | undefined;
	for (const [role, { key, tensor }] of factors) {
		if (INTEGERS.has(role)) continue;
		if (!isFloat(tensor.dtype)) {
			throw new FormatError('E_LORA_DTYPE', `${quote(key)} is ${tensor.dtype}; a factor must be a float type.`, { at: key });
		}
		dtype ??= tensor.dtype;
		if (tensor.dtype !== dtype) dtypes = (dtypes ?? new Set([dtype])).add(tensor.dtype);
	}
	if (dtypes !== undefined) {
		warn({ code: 'W_MIXED_DTYPE', message: `${where} mixes dtypes: ${[...dtypes].join(' and ')}.`, at: path });
	}
	if (family === 'lora' || family === 'locon') checkLora(where, family, factors);
	else if (family === 'loha') checkLoha(where, factors);
	else if (family === 'lokr') checkLokr(where, factors);
	else if (family === 'glora') checkGlora(where, factors);
	else if (family === 'oft' || family === 'boft') checkOft(where, family, factors);
	else if (family === 'embedding') checkInner(where, factors, 'embedding_down', 0, 'embedding_up', 1);
	for (const [role, { key, tensor }] of factors) {
		if (MATRICES.has(role) && tensor.shape.includes(0)) {
			throw new FormatError('E_LORA_SHAPE', `${quote(key)} is (${tensor.shape.join(', ')}), which holds no number; fetch the file again.`, {
				at: key,
			});
		}
	}
}

/**
 * True where `checkFactors` has nothing to say of a pair, found without building anything; false where it must look.
 * @param down (rank, in[, h, w])
 * @param up (out, rank[, 1, 1])
 */
export function isSoundPair(down: Tensor, up: Tensor): boolean {
	const { shape: ds } = down;
	const { shape: us } = up;
	const [rank = 0] = ds;
	return (
		down.dtype === up.dtype &&
		isFloat(down.dtype) &&
		ds.length >= 2 &&
		ds.length <= 5 &&
		us.length >= 2 &&
		us.length <= 5 &&
		rank > 0 &&
		us[1] === rank &&
		// A rank that may be a width is looked at closely.
		(rank < 16 || rank <= 4 * (us[0] ?? 0)) &&
		!ds.includes(0) &&
		!us.includes(0)
	);
}

const MATRICES: ReadonlySet<Role> = new Set<Role>([
	'down',
	'up',
	'mid',
	'hada_w1_a',
	'hada_w1_b',
	'hada_w2_a',
	'hada_w2_b',
	'lokr_w1',
	'lokr_w1_a',
	'lokr_w1_b',
	'lokr_w2',
	'lokr_w2_a',
	'lokr_w2_b',
	'glora_a1',
	'glora_a2',
	'glora_b1',
	'glora_b2',
	'oft_blocks',
	'embedding_down',
	'embedding_up',
]);

function checkComplete(where: string, family: Family, factors: Factors, key: string): void {
	const sets = REQUIRED[family];
	if (sets.some((set) => set.every((role) => factors.has(role)))) return;
	// Say what the nearest complete set lacks.
	let lacking: readonly Role[] = [];
	for (const set of sets) {
		const missing = set.filter((role) => !factors.has(role));
		if (lacking.length === 0 || missing.length < lacking.length) lacking = missing;
	}
	throw new FormatError(
		'E_LORA_UNPAIRED',
		`${where} has ${[...factors.keys()].join(', ')} but no ${lacking.join(', no ')} (${quote(key)}); the file is incomplete or a converter dropped it.`,
		{ at: key },
	);
}

function checkLora(where: string, family: Family, factors: Factors): void {
	const down = factors.get('down');
	const up = factors.get('up');
	if (down === undefined || up === undefined) return;
	const ds = down.tensor.shape;
	const us = up.tensor.shape;
	if (ds.length < 2 || us.length < 2 || ds.length > 5 || us.length > 5) {
		throw new FormatError(
			'E_LORA_SHAPE',
			`${where}: down (${ds.join(', ')}) and up (${us.join(', ')}) must be matrices (rank, in) and (out, rank) or convolutions.`,
			{ at: down.key },
		);
	}
	const rank = ds[0] ?? 0;
	if (us[1] === rank) {
		if (rank === 0) throw new FormatError('E_LORA_RANK', `${where} has rank 0 (down ${quote(down.key)}).`, { at: down.key });
		if (family === 'locon') {
			const mid = factors.get('mid');
			if (mid !== undefined && (mid.tensor.shape[0] !== rank || mid.tensor.shape[1] !== rank)) {
				throw new FormatError('E_LORA_RANK', `${where}: mid (${mid.tensor.shape.join(', ')}) must begin with (${rank}, ${rank}).`, {
					at: mid.key,
				});
			}
		}
		// Both transposed in a square layer fits, with the layer's width as rank. No one trains a rank four times the layer.
		const widest = Math.max(
			us[0] ?? 0,
			ds.slice(1).reduce((n, d) => n * d, 1),
		);
		if (rank >= 16 && rank > 4 * widest && ds[1] === us[0]) {
			throw new FormatError(
				'E_LORA_TRANSPOSED',
				`${where}: down (${ds.join(', ')}) and up (${us.join(', ')}) would be rank ${rank} in a layer of ${widest}; they are transposed or exchanged, expected (rank, in) and (out, rank).`,
				{ at: down.key },
			);
		}
		return;
	}
	// (in, rank) and (rank, out): the shared size is the small one. In a square layer with two ranks it is the large one.
	if (ds.length === 2 && us.length === 2 && ds[1] === us[0] && (ds[1] ?? 0) <= (ds[0] ?? 0) && (us[0] ?? 0) <= (us[1] ?? 0)) {
		throw new FormatError(
			'E_LORA_TRANSPOSED',
			`${where}: down (${ds.join(', ')}) and up (${us.join(', ')}) are both transposed; expected (rank, in) and (out, rank).`,
			{ at: down.key },
		);
	}
	throw new FormatError('E_LORA_RANK', `${quote(down.key)} has rank ${rank} but its up is (${us.join(', ')}); expected (out, ${rank}).`, {
		at: down.key,
	});
}

function checkLoha(where: string, factors: Factors): void {
	const tucker = factors.has('hada_t1');
	if (tucker !== factors.has('hada_t2')) {
		const [have, lacks] = tucker ? ['hada_t1', 'hada_t2'] : ['hada_t2', 'hada_t1'];
		throw new FormatError('E_LORA_UNPAIRED', `${where} has ${have} but no ${lacks}; the file is incomplete or a converter dropped it.`);
	}
	checkDims(where, factors, ['hada_w1_a', 'hada_w1_b', 'hada_w2_a', 'hada_w2_b'], 2, 2);
	for (const n of ['1', '2'] as const) {
		// With Tucker cores w*_a is (rank, out), without (out, rank).
		checkInner(where, factors, `hada_w${n}_a`, tucker ? 0 : 1, `hada_w${n}_b`, 0);
	}
	checkInner(where, factors, 'hada_w1_a', tucker ? 1 : 0, 'hada_w2_a', tucker ? 1 : 0, 'E_LORA_SHAPE');
	checkInner(where, factors, 'hada_w1_b', 1, 'hada_w2_b', 1, 'E_LORA_SHAPE');
	const rank = factors.get('hada_w1_b')?.tensor.shape[0];
	if (rank === 0) throw new FormatError('E_LORA_RANK', `${where} has rank 0 (hada_w1_b).`);
}

function checkLokr(where: string, factors: Factors): void {
	checkDims(where, factors, ['lokr_w1', 'lokr_w1_a', 'lokr_w1_b', 'lokr_w2', 'lokr_w2_a', 'lokr_w2_b'], 2, 5);
	checkInner(where, factors, 'lokr_w1_b', 0, 'lokr_w1_a', 1);
	checkInner(where, factors, 'lokr_w2_b', 0, 'lokr_w2_a', factors.has('lokr_t2') ? 0 : 1);
}

/** The inner sizes of one of GLoRA's two orders must agree (`isOldGlora`, scaling.ts). */
function checkGlora(where: string, factors: Factors): void {
	const roles: readonly Role[] = ['glora_a1', 'glora_a2', 'glora_b1', 'glora_b2'];
	checkDims(where, factors, roles, 2, 2);
	const [a1, a2, b1, b2] = roles.map((role) => factors.get(role)?.tensor.shape ?? []);
	const same = (...sizes: readonly (number | undefined)[]): boolean => sizes.every((n) => n === sizes[0]);
	if (same(a1?.[1], a2?.[0], b1?.[1], b2?.[0]) || same(a1?.[0], a2?.[1], b1?.[0], b2?.[1])) return;
	const shown = roles.map((role) => `${role} (${factors.get(role)?.tensor.shape.join(', ')})`).join(', ');
	throw new FormatError('E_LORA_RANK', `${where}: ${shown} have no rank in common.`);
}

/** Blocks are square: (n, b, b), of BOFT (m, n, b, b). */
function checkOft(where: string, family: Family, factors: Factors): void {
	const blocks = factors.get('oft_blocks');
	if (blocks === undefined) return;
	const { shape } = blocks.tensor;
	if (shape.length === (family === 'boft' ? 4 : 3) && shape.at(-1) === shape.at(-2)) return;
	throw new FormatError('E_LORA_SHAPE', `${where}: oft_blocks is (${shape.join(', ')}); expected square blocks, (n, b, b).`, {
		at: blocks.key,
	});
}

function checkDims(where: string, factors: Factors, roles: readonly Role[], least: number, most: number): void {
	for (const role of roles) {
		const found = factors.get(role);
		if (found === undefined) continue;
		const { shape } = found.tensor;
		if (shape.length >= least && shape.length <= most) continue;
		const expected = least === most ? `${least}` : `${least} to ${most}`;
		throw new FormatError('E_LORA_SHAPE', `${where}: ${role} is (${shape.join(', ')}); expected ${expected} dimensions.`, {
			at: found.key,
		});
	}
}

function checkInner(
	where: string,
	factors: Factors,
	left: Role,
	leftAxis: number,
	right: Role,
	rightAxis: number,
	code: 'E_LORA_RANK' | 'E_LORA_SHAPE' = 'E_LORA_RANK',
): void {
	const a = factors.get(left);
	const b = factors.get(right);
	if (a === undefined || b === undefined) return;
	if (a.tensor.shape[leftAxis] !== b.tensor.shape[rightAxis]) {
		throw new FormatError(
			code,
			`${where}: ${left} (${a.tensor.shape.join(', ')}) and ${right} (${b.tensor.shape.join(', ')}) have different ${code === 'E_LORA_RANK' ? 'ranks' : 'sizes'}.`,
			{ at: a.key },
		);
	}
}
