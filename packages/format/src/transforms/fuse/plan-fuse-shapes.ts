import type { TargetModule } from '../../adapter.js';
import { numel } from '../../dtype.js';
import { isOldGlora } from '../../scaling.js';
import type { Tensor } from '../../tensor.js';

/** Shape of a module's weight as its factors say it; undefined where they do not (IA3, OFT, GLoRA's a). No data is read. */
export function weightShape(module: TargetModule): readonly number[] | undefined {
	const f = module.factors;
	switch (module.family) {
		case 'lora':
		case 'locon':
			return outer(f.up, f.mid === undefined ? f.down?.shape.slice(1) : [f.down?.shape[1] ?? 0, ...f.mid.shape.slice(2)]);
		case 'loha':
			return f.hada_t1 === undefined
				? outer(f.hada_w1_a, f.hada_w1_b?.shape.slice(1))
				: [f.hada_w1_a?.shape[1] ?? 0, f.hada_w1_b?.shape[1] ?? 0, ...f.hada_t1.shape.slice(2)];
		case 'lokr':
			return kronShape(module);
		case 'full':
			return (f.diff ?? f.diff_m)?.shape;
		case 'norm':
			return f.w_norm?.shape;
		case 'whole':
			return (f.set_weight ?? f.weight)?.shape;
		case 'embedding':
			return f.embedding_down === undefined || f.embedding_up === undefined
				? undefined
				: [f.embedding_down.shape[1] ?? 0, f.embedding_up.shape[0] ?? 0];
		case 'glora': {
			const { glora_a1: a1, glora_a2: a2, glora_b1: b1, glora_b2: b2 } = f;
			if (a1 === undefined || a2 === undefined || b1 === undefined || b2 === undefined) return undefined;
			return isOldGlora(a1, a2, b1, b2) ? outer(b2, b1.shape.slice(1)) : outer(b1, b2.shape.slice(1));
		}
		default:
			return undefined;
	}
}

/** Numbers in the module's bias where it changes one whatever the base. */
export function biasLength(module: TargetModule): number | undefined {
	const f = module.factors;
	const bias = module.family === 'whole' ? f.bias : (f.up_bias ?? f.diff_b ?? f.b_norm);
	return bias === undefined ? undefined : numel(bias.shape);
}

/** True when the module changes its weight (a full difference may be of the bias alone). */
export function changesWeight(module: TargetModule): boolean {
	if (module.family === 'full' || module.family === 'norm' || module.family === 'whole') return weightShape(module) !== undefined;
	return true;
}

/** True when the module changes the bias wherever the base has one: PEFT's IA3 over outputs. */
export function changesAnyBias(module: TargetModule): boolean {
	const l = module.factors.ia3_l;
	return module.family === 'peft-ia3' && l !== undefined && !(l.shape.length === 2 && l.shape[0] === 1 && numel(l.shape) !== 1);
}

/** True when a delta of this shape is one of a weight of that shape: a kernel may be flattened. */
export function fits(delta: readonly number[], weight: readonly number[]): boolean {
	if (numel(delta) !== numel(weight)) return false;
	if (delta.length < 2 && weight.length < 2) return true;
	if (delta[0] !== weight[0]) return false;
	return delta.length <= 2 || weight.length <= 2 || delta.every((d, i) => d === weight[i]);
}

/** What does not fit in a family whose factors only say one side of the weight; undefined when it fits. */
export function misfitOf(module: TargetModule, weight: readonly number[]): string | undefined {
	const f = module.factors;
	const [out = 1, inner = 1] = weight;
	const columns = (numel(weight) ?? 0) / out;
	if (f.ia3_weight !== undefined && ![out, inner].includes(numel(f.ia3_weight.shape) ?? -1)) return described('a vector', f.ia3_weight);
	if (f.ia3_l !== undefined && ![out, inner].includes(numel(f.ia3_l.shape) ?? -1)) return described('a vector', f.ia3_l);
	if (f.oft_blocks !== undefined) {
		const [n = 0, b = 0] = f.oft_blocks.shape.slice(-3);
		if (n * b !== out) return described('rotations', f.oft_blocks);
	}
	if (f.boft_R !== undefined) {
		const [n = 0, b = 0] = f.boft_R.shape.slice(-3);
		if (n * b !== columns) return described('rotations', f.boft_R);
	}
	if (f.magnitude !== undefined) {
		const axis = module.family === 'embedding' ? 'in' : (module.magnitudeAxis ?? 'out');
		if (numel(f.magnitude.shape) !== (axis === 'out' ? out : inner)) return described('a magnitude', f.magnitude);
	}
	return undefined;
}

function described(what: string, tensor: Tensor): string {
	return `${what} of (${tensor.shape.join(', ')})`;
}

function outer(up: Tensor | undefined, rest: readonly number[] | undefined): readonly number[] | undefined {
	const rows = up?.shape[0];
	return rows === undefined || rest === undefined ? undefined : [rows, ...rest];
}

function kronShape({ factors: f }: TargetModule): readonly number[] | undefined {
	const a = f.lokr_w1?.shape[0] ?? f.lokr_w1_a?.shape[0];
	const c = f.lokr_w1?.shape[1] ?? f.lokr_w1_b?.shape[1];
	const b = f.lokr_w2?.shape[0] ?? (f.lokr_t2 === undefined ? f.lokr_w2_a?.shape[0] : f.lokr_w2_a?.shape[1]);
	const d = f.lokr_w2?.shape[1] ?? f.lokr_w2_b?.shape[1];
	const kernel = f.lokr_w2?.shape.slice(2) ?? f.lokr_t2?.shape.slice(2) ?? f.lokr_w2_b?.shape.slice(2) ?? [];
	return a === undefined || b === undefined || c === undefined || d === undefined ? undefined : [a * b, c * d, ...kernel];
}
