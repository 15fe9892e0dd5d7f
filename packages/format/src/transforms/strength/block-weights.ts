import type { Adapter, TargetModule } from '../../adapter.js';
import { FormatError, quote } from '../../errors.js';
import { nearestName } from '../../nearest-name.js';

/** Weights by block of a UNet ("LBW"). Made by `parseBlockWeights`. */
export interface BlockWeights {
	/** As the user wrote it, for the recipe. */
	readonly text: string;
	/** 1 for modules that no block of the scheme holds: time and label embeddings, conv_out, modules of other models. */
	weightOf(module: TargetModule): number;
}

/** LDM's blocks, in the order in which 26 numbers name them. `BASE` is every text encoder. */
export const BLOCK_NAMES: readonly string[] = ['BASE', ...numbered('IN', 0, 11), 'MID', ...numbered('OUT', 0, 11)];

/**
 * Which blocks a count of numbers names; the same in hako-mikan/sd-webui-lora-block-weight@04b986c
 * scripts/lora_block_weight.py (BLOCKID12 to 26) and sd-scripts networks/svd_merge_lora.py (LAYER12 to 26).
 */
const SCHEMES: ReadonlyMap<number, readonly string[]> = new Map([
	[12, ['BASE', 'IN04', 'IN05', 'IN07', 'IN08', 'MID', ...numbered('OUT', 0, 5)]],
	[17, ['BASE', 'IN01', 'IN02', 'IN04', 'IN05', 'IN07', 'IN08', 'MID', ...numbered('OUT', 3, 11)]],
	[20, ['BASE', ...numbered('IN', 0, 8), 'MID', ...numbered('OUT', 0, 8)]],
	[26, BLOCK_NAMES],
]);

/**
 * Named weights of sd-webui-lora-block-weight (DEF_WEIGHT_PRESET), as ranges of blocks that have weight 1; all else is 0.
 * They are its 17 numbers on those blocks, and say what the 17 leave open for blocks between (IN03 is in INS).
 */
const PRESETS: ReadonlyMap<string, readonly (readonly [from: string, to: string])[]> = new Map([
	['NONE', []],
	['ALL', [['BASE', 'OUT11']]],
	['INS', [['BASE', 'IN04']]],
	[
		'IND',
		[
			['BASE', 'BASE'],
			['IN05', 'IN11'],
		],
	],
	['INALL', [['BASE', 'IN11']]],
	[
		'MIDD',
		[
			['BASE', 'BASE'],
			['IN05', 'OUT06'],
		],
	],
	[
		'OUTD',
		[
			['BASE', 'BASE'],
			['OUT00', 'OUT06'],
		],
	],
	[
		'OUTS',
		[
			['BASE', 'BASE'],
			['OUT07', 'OUT11'],
		],
	],
	[
		'OUTALL',
		[
			['BASE', 'BASE'],
			['OUT00', 'OUT11'],
		],
	],
]);

/** Presets that mean the same on SDXL's nine inputs and outputs; the others cut where SD1's levels are. */
const ANY_BASE: ReadonlySet<string> = new Set(['NONE', 'ALL', 'INALL', 'OUTALL']);

/**
 * Block weights as `--lbw` takes them: a preset's name, or 12, 17, 20 or 26 numbers separated by `,` or `/`.
 *
 * A count of numbers leaves blocks out (17: IN00, IN03, ...). Tools differ in what those then have (sd-webui-lora-block-weight
 * 0, sd-scripts 1), so an adapter that has modules there is refused with that count.
 *
 * @throws {FormatError} `E_USAGE`: an unknown name, a count that this base has no scheme for, a value that is no number,
 *   an adapter without UNet or text encoder, or modules in blocks that the numbers do not name.
 */
export function parseBlockWeights(text: string, adapter: Adapter): BlockWeights {
	if (!adapter.modules.some((m) => blockOf(m) !== undefined)) {
		throw new FormatError(
			'E_USAGE',
			`Block weights are for the UNet of SD1, SD2 and SDXL, but ${quote(adapter.source.name)} has no module in any of their blocks; leave lbw out.`,
		);
	}
	const xl = adapter.base.family.startsWith('sdxl');
	const name = text.trim().toUpperCase();
	const byBlock = /^[A-Z]/.test(name) ? presetWeights(name, xl) : numberWeights(text, adapter, xl);
	return {
		text: text.trim(),
		weightOf(module) {
			const block = blockOf(module);
			return block === undefined ? 1 : (byBlock.get(block) ?? 1);
		},
	};
}

/**
 * The block that a module is in, from its diffusers path (also flattened): down block i, member j is IN(3i + j + 1), its downsampler
 * IN(3i + 3); up block i, member j is OUT(3i + j), its upsampler OUT(3i + 2). Undefined for what is in none.
 * Source: sd-scripts networks/svd_merge_lora.py get_lbw_block_index; LAYOUTS.md §3.
 */
export function blockOf(module: TargetModule): string | undefined {
	if (module.component.startsWith('text_encoder')) return 'BASE';
	if (module.component !== 'unet') return undefined;
	const { path } = module;
	if (/^mid_block[._]/.test(path)) return 'MID';
	if (/^conv_in([._]|$)/.test(path)) return 'IN00';
	const found = /^(down|up)_blocks[._](\d+)[._](resnets|attentions|downsamplers|upsamplers)[._](\d+)[._]/.exec(path);
	if (found === null) return undefined;
	const [, side, level, kind, member] = found;
	const first = 3 * Number(level);
	if (side === 'down')
		return kind === 'upsamplers' ? undefined : named('IN', kind === 'downsamplers' ? first + 3 : first + Number(member) + 1);
	return kind === 'downsamplers' ? undefined : named('OUT', kind === 'upsamplers' ? first + 2 : first + Number(member));
}

function presetWeights(name: string, xl: boolean): ReadonlyMap<string, number> {
	const ranges = PRESETS.get(name);
	if (ranges === undefined) {
		const near = nearestName(name, PRESETS.keys());
		const hint = near === undefined ? `the names are ${[...PRESETS.keys()].join(', ')}` : `did you mean ${near}?`;
		throw new FormatError('E_USAGE', `No block weights are called ${quote(name)}; ${hint}${near === undefined ? '.' : ''}`);
	}
	if (xl && !ANY_BASE.has(name)) {
		throw new FormatError('E_USAGE', `The block weights ${name} are made for the levels of SD1 and SD2; for SDXL give 12 or 20 numbers.`);
	}
	const out = new Map<string, number>(BLOCK_NAMES.map((block) => [block, 0]));
	for (const [from, to] of ranges) {
		for (const block of BLOCK_NAMES.slice(BLOCK_NAMES.indexOf(from), BLOCK_NAMES.indexOf(to) + 1)) out.set(block, 1);
	}
	return out;
}

function numberWeights(text: string, adapter: Adapter, xl: boolean): ReadonlyMap<string, number> {
	const pieces = text
		.trim()
		.replace(/^\[(.*)\]$/, '$1')
		.split(/[,/]/);
	const counts = countsFor(adapter, xl);
	const scheme = counts.includes(pieces.length) ? SCHEMES.get(pieces.length) : undefined;
	if (scheme === undefined) {
		throw new FormatError(
			'E_USAGE',
			`${pieces.length} block weights fit no scheme of ${adapter.base.label || 'this base'}; give ${counts.join(' or ')} numbers, or one of ${[...PRESETS.keys()].join(', ')}.`,
		);
	}
	const out = new Map<string, number>();
	for (const [i, block] of scheme.entries()) {
		const piece = pieces[i]?.trim() ?? '';
		const value = piece === '' ? Number.NaN : Number(piece);
		if (!Number.isFinite(value)) throw new FormatError('E_USAGE', `The block weight of ${block} must be a number, but is ${quote(piece)}.`);
		out.set(block, value);
	}
	const open = adapter.modules.find((m) => {
		const block = blockOf(m);
		return block !== undefined && !out.has(block);
	});
	if (open !== undefined) {
		throw new FormatError(
			'E_USAGE',
			`${pieces.length} block weights say nothing of ${blockOf(open)}, where ${quote(adapter.source.name)} has ${quote(open.path)} (tools differ: 0 or 1); give ${counts.at(-1)} numbers.`,
			{ at: open.path },
		);
	}
	return out;
}

function countsFor(adapter: Adapter, xl: boolean): readonly number[] {
	if (xl) return [12, 20, 26];
	return /^sd[12]/.test(adapter.base.family) ? [17, 26] : [12, 17, 20, 26];
}

function numbered(prefix: string, from: number, to: number): readonly string[] {
	return Array.from({ length: to - from + 1 }, (_, i) => `${prefix}${String(from + i).padStart(2, '0')}`);
}

/** A block's name, when there is such a block. */
function named(prefix: string, n: number): string | undefined {
	const name = `${prefix}${String(n).padStart(2, '0')}`;
	return BLOCK_NAMES.includes(name) ? name : undefined;
}
