import type { Role, TargetModule } from '../adapter.js';
import { FormatError } from '../errors.js';

/** A dense array of doubles with its shape, C order. */
export interface Values {
	readonly shape: readonly number[];
	readonly data: Float64Array;
}

/** What a module's factors add to its base, in float64 from the stored bits. */
export interface Delta {
	/** Shape of the base's weight where the factors (or `options.shape`, or the base) say it. */
	readonly weight: Values | undefined;
	readonly bias: Values | undefined;
}

/** Weight (and bias) of the base module. Needed by DoRA, IA3, OFT, BOFT, GLoRA and whole values: `needsBase`. */
export interface BaseWeight {
	readonly weight: Float64Array;
	/** (out, in), (out, in, kh, kw), ... or (in, out) under `fanIn`. */
	readonly shape: readonly number[];
	readonly bias?: Float64Array | undefined;
}

/**
 * How a strength m other than 1 acts on DoRA, where readers differ:
 * `interpolate`: W + m(W' - W) (ComfyUI, LyCORIS' functional API); `lycoris`: V is full and is scaled by m(g/|V| - 1) + 1
 * (LyCORIS modules); `peft`: V = W + m s BA, then g V/|V| (PEFT's `set_scale`). All agree at 1.
 */
export type DoraStrength = 'interpolate' | 'lycoris' | 'peft';

/** The fields of a PEFT OFT configuration without which its blocks mean nothing. */
export interface PeftOftConfig {
	/** `use_cayley_neumann`. */
	readonly cayleyNeumann: boolean;
	/** `num_cayley_neumann_terms`; unused without the series. */
	readonly terms: number;
}

export interface DeltaOptions {
	readonly base?: BaseWeight | undefined;
	/** User strength; 1 when left out. */
	readonly strength?: number | undefined;
	/** Shape to give the weight delta; must have as many elements. Default: the base's, else what the factors say. */
	readonly shape?: readonly number[] | undefined;
	/** The base stores (in, out): GPT-2's Conv1D, PEFT `fan_in_fan_out`. The delta is then (in, out) too. */
	readonly fanIn?: boolean | undefined;
	readonly doraStrength?: DoraStrength | undefined;
	readonly peftOft?: PeftOftConfig | undefined;
}

/** What a family's function works on: factors already read, as doubles. */
export interface FamilyInput {
	/** `component path`, for messages. */
	readonly where: string;
	readonly module: TargetModule;
	readonly factors: ReadonlyMap<Role, Values>;
	/** Scaling of the module; families without one ignore it. */
	readonly scaling: number;
	readonly strength: number;
	/** (out, in, ...): `fanIn` is already undone. */
	readonly base: (Values & { readonly bias: Float64Array | undefined }) | undefined;
	readonly peftOft: PeftOftConfig | undefined;
}

/**
 * One family: pure arithmetic on doubles.
 * @throws {FormatError} `E_LORA_SHAPE` when the factors do not fit each other or the base, `E_BASE_MISMATCH` without a
 *   base that is needed, `E_UNSUPPORTED_ADAPTER` for forms whose meaning is not proven, `E_LIMIT`.
 */
export type FamilyDelta = (input: FamilyInput) => Delta;

/** A factor that must be there. @throws {FormatError} `E_LORA_UNPAIRED`. */
export function factor(input: Pick<FamilyInput, 'where' | 'module' | 'factors'>, role: Role): Values {
	const values = input.factors.get(role);
	if (values !== undefined) return values;
	throw new FormatError('E_LORA_UNPAIRED', `${input.where} has no ${role}; its delta cannot be computed.`, { at: input.module.path });
}

/** The base, for a family that means nothing without it. @throws {FormatError} `E_BASE_MISMATCH`. */
export function requireBase(input: FamilyInput): NonNullable<FamilyInput['base']> {
	if (input.base !== undefined) return input.base;
	const what = input.module.factors.magnitude === undefined ? input.module.family : `DoRA ${input.module.family}`;
	throw new FormatError(
		'E_BASE_MISMATCH',
		`${input.where} is ${what}: its delta depends on the base's weight, which was not given; pass --base.`,
		{
			at: input.module.path,
		},
	);
}

/** The error for factors that do not fit. */
export function shapeError(where: string, text: string): FormatError {
	return new FormatError('E_LORA_SHAPE', `${where}: ${text}`, { at: where.slice(where.indexOf(' ') + 1) });
}

/** A delta of the weight alone. */
export function weightDelta(weight: Values): Delta {
	return { weight, bias: undefined };
}
