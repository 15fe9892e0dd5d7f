import type { Role, TargetModule } from '../../adapter.js';
import { FormatError, quote } from '../../errors.js';
import { type NamedParts, partRows } from '../../modules/naming-table.js';
import { bytesTensor, type Tensor } from '../../tensor.js';
import { diagonalBlock, sliceRows, swapRowHalves } from './fuse-split.js';
import type { PartSlot } from './rename-naming-fuse.js';

/** Factors whose first dimension is the output of the weight. */
const OUTPUT_ROLES: ReadonlySet<Role> = new Set<Role>(['up', 'up_bias', 'hada_w1_a', 'hada_w2_a', 'diff', 'diff_b', 'weight', 'bias']);
/** Factors that all parts share. */
const SHARED_ROLES: ReadonlySet<Role> = new Set<Role>(['down', 'mid', 'hada_w1_b', 'hada_w2_b']);

/** Rows (output) and columns (input) of the weight that a module changes, as far as its factors say them. */
export function factorSize(module: TargetModule): { readonly rows: number | undefined; readonly columns: number | undefined } {
	const { down, up, hada_w1_a, hada_w1_b, diff, diff_b, weight, up_bias, bias } = module.factors;
	const rows = (up ?? hada_w1_a ?? diff ?? weight ?? diff_b ?? up_bias ?? bias)?.shape[0];
	const columns = (down ?? hada_w1_b)?.shape[1] ?? (diff ?? weight)?.shape[1];
	return { rows, columns };
}

/** The factors of a module, each with its role. */
export function factorEntries(module: TargetModule): readonly (readonly [Role, Tensor])[] {
	return (Object.entries(module.factors) as [Role, Tensor | undefined][]).filter((e): e is [Role, Tensor] => e[1] !== undefined);
}

/** Whether a factor goes by output rows or is shared. @throws {FormatError} `E_UNSUPPORTED_ADAPTER` when it can be neither. */
export function factorKind(module: TargetModule, role: Role, doing: string): 'output' | 'shared' {
	if (OUTPUT_ROLES.has(role)) return 'output';
	if (SHARED_ROLES.has(role)) return 'shared';
	if (role === 'magnitude') {
		if (module.magnitudeAxis === 'out') return 'output';
		throw unsupported(module, doing, 'its DoRA magnitude runs along the input, where the norm is over all rows together');
	}
	throw unsupported(module, doing, `a ${module.family} adapter cannot be cut or joined by output rows (factor ${role})`);
}

/** The refusal for a module that another naming cannot hold. */
export function unsupported(module: TargetModule, doing: string, why: string): FormatError {
	return new FormatError(
		'E_UNSUPPORTED_ADAPTER',
		`Module ${quote(module.path)} cannot be ${doing}: ${why}; convert to a layout that keeps the names of the file.`,
		{ at: module.path },
	);
}

/**
 * One module per part of a fused one. Plain: every part has the whole down factor and its rows of up, rank and
 * scaling stay. With `compact` (we fused it ourselves) each part gets its own diagonal block back.
 */
export function splitModule(module: TargetModule, named: NamedParts, compact: readonly PartSlot[] | undefined): TargetModule[] {
	const { rows, columns } = factorSize(module);
	const entries = factorEntries(module);
	const kinds = new Map(entries.map(([role]) => [role, factorKind(module, role, 'split')]));
	const heights = rows === undefined ? undefined : partRows(named.rule, named.parts.length, rows, columns);
	if (rows === undefined || heights === undefined) {
		throw new FormatError(
			'E_LORA_SHAPE',
			`Module ${quote(module.path)} has ${rows ?? 'no'} output rows, which cannot be cut into ${named.parts.map((p) => quote(p)).join(', ')}.`,
			{ at: module.path },
		);
	}
	for (const [role, tensor] of entries) {
		if (kinds.get(role) === 'output' && tensor.shape[0] !== rows) {
			throw new FormatError(
				'E_LORA_SHAPE',
				`Factor ${role} of ${quote(module.path)} has shape (${tensor.shape.join(', ')}), but ${rows} rows are needed to split it.`,
				{ at: tensor.origin ?? module.path },
			);
		}
	}
	if (compact !== undefined && fits(module, compact, heights.length)) return splitCompact(module, named, heights, compact);
	const out: TargetModule[] = [];
	let start = 0;
	for (const [n, path] of named.parts.entries()) {
		const count = heights[n] ?? 0;
		const at = start;
		const factors: Partial<Record<Role, Tensor>> = {};
		for (const [role, tensor] of entries) factors[role] = kinds.get(role) === 'output' ? sliceRows(tensor, at, count) : tensor;
		out.push({ ...module, path, factors });
		start += count;
	}
	return out;
}

function fits(module: TargetModule, compact: readonly PartSlot[], parts: number): boolean {
	if (module.family !== 'lora' || compact.length !== parts) return false;
	const roles = factorEntries(module).map(([role]) => role);
	return roles.every((r) => r === 'up' || r === 'down' || r === 'up_bias') && compact.reduce((sum, s) => sum + s.rank, 0) === module.rank;
}

function splitCompact(module: TargetModule, named: NamedParts, heights: readonly number[], compact: readonly PartSlot[]): TargetModule[] {
	const { down, up, up_bias } = module.factors;
	if (down === undefined || up === undefined) return [];
	const out: TargetModule[] = [];
	let row = 0;
	let column = 0;
	for (const [n, path] of named.parts.entries()) {
		const count = heights[n] ?? 0;
		const slot = compact[n];
		const rank = slot?.rank ?? 0;
		if (slot !== undefined && rank > 0) {
			const factors: Partial<Record<Role, Tensor>> = {
				down: sliceRows(down, column, rank),
				up: diagonalBlock(up, [row, count], [column, rank]),
			};
			if (up_bias !== undefined) factors.up_bias = sliceRows(up_bias, row, count);
			out.push({ ...module, path, factors, rank, ...partAlpha(module, slot, rank) });
		}
		row += count;
		column += rank;
	}
	return out;
}

/** Strength of a part; a scalar that the fused module had is what the part's own is made from. */
function partAlpha(
	module: TargetModule,
	slot: PartSlot,
	rank: number,
): Pick<TargetModule, 'alpha' | 'rule' | 'scaling' | 'alphaSource' | 'alphaTensor'> {
	const from = module.alphaTensor;
	if (from === undefined) {
		const scaling = slot.alpha === null ? 1 : slot.alpha / rank;
		return {
			alpha: slot.alpha,
			rule: slot.rule,
			scaling,
			alphaSource: slot.alpha === null ? 'none' : module.alphaSource,
			alphaTensor: undefined,
		};
	}
	const alpha = slot.alpha ?? rank;
	const bytes = new Uint8Array(new Float32Array([alpha]).buffer);
	const alphaTensor = bytesTensor('F32', [], bytes, undefined, { from: [from], how: 'alpha of the part', errorBound: 2 ** -24 });
	return { alpha, rule: 'alpha/rank', scaling: alpha / rank, alphaSource: 'tensor', alphaTensor };
}

/** The module with the halves of its output rows swapped. @throws {FormatError} `E_UNSUPPORTED_ADAPTER`, `E_LORA_SHAPE`. */
export function swapModule(module: TargetModule): TargetModule {
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const [role, tensor] of factorEntries(module)) {
		// An input-axis magnitude is a norm over all rows: their order does not matter to it.
		const shared =
			(role === 'magnitude' && module.magnitudeAxis === 'in') ||
			factorKind(module, role, 'renamed (its row halves change places)') === 'shared';
		factors[role] = shared ? tensor : swapRowHalves(tensor);
	}
	return { ...module, factors };
}
