/**
 * Likely cause of an error. `right`: every element is within one rounding step of base + delta. The others name what
 * a tool did instead.
 */
export type FuseCause =
	| 'right'
	/** The right sum in coarser arithmetic: off by a few steps at most. */
	| 'rounded-twice'
	| 'not-applied'
	| 'component-left-out'
	| 'convolution-left-out'
	| 'strength-squared'
	| 'strength-ignored'
	| 'alpha-ignored'
	| 'alpha-twice'
	| 'alpha-inverted'
	| 'alpha-not-divided'
	| 'sqrt-rule'
	| 'applied-twice'
	| 'subtracted'
	| 'other-strength'
	| 'wrong-module'
	| 'transposed'
	| 'not-finite'
	| 'missing'
	| 'unknown';

/** What was found in one stored tensor that the adapters should change. */
export interface VerifyModule {
	/** `FILE:NAME` in the base. */
	readonly tensor: string;
	/** `component path` of the modules that change it. */
	readonly modules: readonly string[];
	/** Elements. */
	readonly elements: number;
	/** <actual, expected> / <expected, expected>; NaN where nothing was expected. */
	readonly gain: number;
	/** Cosine of the angle between actual and expected delta; NaN where one of them is 0. */
	readonly cosine: number;
	/** Euclidean norms of the expected and of the actual delta. */
	readonly expected: number;
	readonly actual: number;
	/** Largest |fused - (base + delta)|. */
	readonly error: number;
	/** The same in rounding steps of the stored type: the spacing of its numbers at base + delta. 0.5 is the least that rounding can promise. */
	readonly steps: number;
	/** Elements more than one step off. */
	readonly off: number;
	readonly cause: FuseCause;
	/** One sentence about the cause, for people; undefined for `right`. */
	readonly why: string | undefined;
}

/** What a whole fused model is, against base + adapters. */
export interface VerifyReport {
	readonly schema: 'lora.verify/1';
	/** True when every touched tensor is within one step and nothing else changed or is missing. */
	readonly ok: boolean;
	/** Touched tensors, in the order of the base. */
	readonly modules: readonly VerifyModule[];
	/** Over all touched tensors together. */
	readonly gain: number;
	readonly cosine: number;
	/** Largest of all. */
	readonly error: number;
	readonly steps: number;
	/** The cause that explains most of the wrong tensors; `right` when all are. */
	readonly cause: FuseCause;
	/** A sentence about it, or about other tensors where these are what is wrong; undefined when `ok`. */
	readonly why: string | undefined;
	/** Tensors that no module touches and that are other bytes, another dtype or shape in FUSED: `FILE:NAME`. */
	readonly changed: readonly string[];
	/** Tensors of the base that FUSED lacks, and the other way round. */
	readonly missing: readonly string[];
	readonly extra: readonly string[];
}
