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

/**
 * Check one module's factors against each other: nothing missing, ranks equal, float dtypes.
 * Shapes against the base are not known here (`modules/` and `validate.ts` do that).
 *
 * @throws {FormatError} `E_LORA_UNPAIRED`, `E_LORA_RANK`, `E_LORA_TRANSPOSED`, `E_LORA_SHAPE`, `E_LORA_DTYPE`.
 */
export function checkFactors(component: string, path: string, family: Family, factors: Factors, warn: WarningSink): void {
	const where = `${component} ${path}`;
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
	else if (family === 'embedding') checkInner(where, factors, 'embedding_down', 0, 'embedding_up', 1);
}

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
	for (const n of ['1', '2'] as const) {
		const a = factors.get(`hada_w${n}_a`);
		const b = factors.get(`hada_w${n}_b`);
		if (a === undefined || b === undefined) continue;
		// With Tucker cores w*_a is (rank, out), without (out, rank).
		const rankA = tucker ? a.tensor.shape[0] : a.tensor.shape[1];
		if (rankA !== b.tensor.shape[0]) {
			throw new FormatError(
				'E_LORA_RANK',
				`${where}: hada_w${n}_a (${a.tensor.shape.join(', ')}) and hada_w${n}_b (${b.tensor.shape.join(', ')}) have different ranks.`,
				{ at: a.key },
			);
		}
	}
}

function checkLokr(where: string, factors: Factors): void {
	checkInner(where, factors, 'lokr_w1_b', 0, 'lokr_w1_a', 1);
	checkInner(where, factors, 'lokr_w2_b', 0, 'lokr_w2_a', factors.has('lokr_t2') ? 0 : 1);
}

function checkInner(where: string, factors: Factors, left: Role, leftAxis: number, right: Role, rightAxis: number): void {
	const a = factors.get(left);
	const b = factors.get(right);
	if (a === undefined || b === undefined) return;
	if (a.tensor.shape[leftAxis] !== b.tensor.shape[rightAxis]) {
		throw new FormatError(
			'E_LORA_RANK',
			`${where}: ${left} (${a.tensor.shape.join(', ')}) and ${right} (${b.tensor.shape.join(', ')}) have different ranks.`,
			{ at: a.key },
		);
	}
}
