import type { Family, Role, ScaleRule } from './adapter.js';
import type { Tensor } from './tensor.js';

/**
 * THE alpha rule, written once (docs/alpha.md):
 *
 *  1. The rank is what the tensors say, never what metadata says.
 *  2. A `.scale` tensor beside the factors wins over alpha (A1111 network.py `calc_scale`, sd.cpp lora.hpp).
 *  3. alpha known, no rsLoRA: scaling = alpha / rank. alpha = 0 means 0: the module is off.
 *  4. rsLoRA (only a PEFT configuration can say so): scaling = alpha / sqrt(rank).
 *  5. Nobody says alpha: scaling = 1 (every reader: kohya networks/lora.py, diffusers peft_utils.py, ComfyUI).
 *  6. LoKr with both factors full: 1, alpha is ignored (LyCORIS lokr.py), unless a PEFT configuration says alpha / r, which PEFT applies.
 *  7. Norm, full difference, IA3, whole values: no scaling (1). OFT and BOFT: alpha is a constraint, not a scaling.
 */
export interface ScalingInput {
	readonly family: Family;
	readonly rank: number | undefined;
	/** null: nobody says it. */
	readonly alpha: number | null;
	readonly rslora: boolean;
	/** Value of the `.scale` tensor. */
	readonly scale: number | undefined;
	/** PEFT's LoKr: alpha / r of the configuration even where both factors are full. */
	readonly configRank: number | undefined;
	/** True when alpha stands in a tensor whose value was not fetched. */
	readonly unread: boolean;
}

export interface Scaling {
	readonly rule: ScaleRule;
	readonly scaling: number;
}

const UNSCALED: ReadonlySet<Family> = new Set<Family>(['full', 'norm', 'ia3', 'peft-ia3', 'whole', 'peft-oft', 'peft-boft']);

/** Apply the rule. Never throws; `unread` gives NaN. */
export function scalingOf(input: ScalingInput): Scaling {
	const { family, rank, alpha } = input;
	if (UNSCALED.has(family)) return { rule: 'none', scaling: 1 };
	if (family === 'oft' || family === 'boft') return { rule: 'constraint', scaling: 1 };
	if (input.scale !== undefined) return { rule: 'scale-tensor', scaling: input.scale };
	if (input.unread) return { rule: 'unread', scaling: Number.NaN };
	if (alpha === null) return { rule: 'one', scaling: 1 };
	if (rank === undefined) {
		if (input.configRank !== undefined && input.configRank > 0) return { rule: 'alpha/rank', scaling: alpha / input.configRank };
		return { rule: 'none', scaling: 1 };
	}
	if (input.rslora) return { rule: 'alpha/sqrt(rank)', scaling: alpha / Math.sqrt(rank) };
	return { rule: 'alpha/rank', scaling: alpha / rank };
}

/** Inner dimension of a family's factors from their shapes; undefined where it has none. Source: LAYOUTS §5. */
export function rankOf(family: Family, factors: Readonly<Partial<Record<Role, Tensor>>>): number | undefined {
	switch (family) {
		case 'lora':
		case 'locon':
			return factors.down?.shape[0];
		case 'loha':
			return factors.hada_w1_b?.shape[0];
		case 'lokr':
			// ComfyUI and LyCORIS: w2 decides where it is factored.
			return factors.lokr_w2_b?.shape[0] ?? factors.lokr_w1_b?.shape[0];
		case 'glora': {
			const { glora_a1: a1, glora_a2: a2, glora_b1: b1, glora_b2: b2 } = factors;
			if (a1 === undefined || a2 === undefined || b1 === undefined || b2 === undefined) return undefined;
			return isOldGlora(a1, a2, b1, b2) ? a1.shape[0] : a2.shape[0];
		}
		case 'embedding':
			return factors.embedding_down?.shape[0];
		default:
			return undefined;
	}
}

/**
 * Old LyCORIS files hold GLoRA's factors the other way round. The new reading wins where both fit.
 * Source: comfy/weight_adapter/glora.py (as described in LAYOUTS §5.10).
 */
export function isOldGlora(a1: Tensor, a2: Tensor, b1: Tensor, b2: Tensor): boolean {
	const fresh = b2.shape[0] === b1.shape[1] && b1.shape[1] === a1.shape[1] && a1.shape[1] === a2.shape[0];
	const old = b2.shape[1] === b1.shape[0] && b1.shape[0] === a1.shape[0] && a1.shape[0] === a2.shape[1];
	return old && !fresh;
}
