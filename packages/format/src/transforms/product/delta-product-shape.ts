import type { Role, TargetModule } from '../../adapter.js';
import { product } from '../../families/matrix.js';
import type { BaseInventory } from '../../modules/inventory.js';
import { isProduct } from './delta-product.js';

/** What the shapes of the factors say about the product that `productOf` would make; nothing is read. */
export interface ProductShape {
	/** (out, in) or (out, in, kh, kw): that of the delta. */
	readonly shape: readonly number[];
	/** Rank of the product. */
	readonly rank: number;
	/** min(out, in * kernel). */
	readonly shorter: number;
}

/** Undefined where `isProduct` is false or a factor is missing. Factors that do not fit each other are found when they are read. */
export function productShape(module: TargetModule): ProductShape | undefined {
	if (!isProduct(module)) return undefined;
	const of = (role: Role): readonly number[] | undefined => module.factors[role]?.shape;
	const found = shapeOf(module, of);
	if (found === undefined) return undefined;
	const [out = 1, ...rest] = found.shape;
	return { ...found, shorter: Math.min(out, product(rest)) };
}

type ShapeOf = (role: Role) => readonly number[] | undefined;

function shapeOf(module: TargetModule, of: ShapeOf): Omit<ProductShape, 'shorter'> | undefined {
	switch (module.family) {
		case 'loha': {
			const one = tucker(of, 'hada_w1_a', 'hada_w1_b', 'hada_t1');
			const two = tucker(of, 'hada_w2_a', 'hada_w2_b', 'hada_t2');
			return one === undefined || two === undefined ? undefined : { shape: one.shape, rank: one.rank * two.rank };
		}
		case 'lokr': {
			const one = whole(of('lokr_w1')) ?? tucker(of, 'lokr_w1_a', 'lokr_w1_b', 'lokr_t1');
			const two = whole(of('lokr_w2')) ?? tucker(of, 'lokr_w2_a', 'lokr_w2_b', 'lokr_t2');
			if (one === undefined || two === undefined) return undefined;
			const [a = 1, c = 1] = one.shape;
			const [b = 1, d = 1, ...kernel] = two.shape;
			return { shape: [a * b, c * d, ...kernel], rank: one.rank * two.rank };
		}
		case 'embedding': {
			const [up, down] = [of('embedding_up'), of('embedding_down')];
			return up === undefined || down === undefined ? undefined : { shape: [down[1] ?? 1, up[0] ?? 1], rank: down[0] ?? 1 };
		}
		default: {
			const [up, down, mid] = [of('up'), of('down'), of('mid')];
			if (up === undefined || down === undefined) return undefined;
			return { shape: [up[0] ?? 1, down[1] ?? 1, ...(mid ?? down).slice(2)], rank: up[1] ?? 1 };
		}
	}
}

function tucker(of: ShapeOf, a: Role, b: Role, t: Role): Omit<ProductShape, 'shorter'> | undefined {
	const [left, right, core] = [of(a), of(b), of(t)];
	if (left === undefined || right === undefined) return undefined;
	return core === undefined
		? { shape: [left[0] ?? 1, ...right.slice(1)], rank: right[0] ?? 1 }
		: { shape: [left[1] ?? 1, right[1] ?? 1, ...core.slice(2)], rank: left[0] ?? 1 };
}

function whole(shape: readonly number[] | undefined): Omit<ProductShape, 'shorter'> | undefined {
	if (shape === undefined) return undefined;
	const [rows = 1, ...rest] = shape;
	return { shape: shape.length < 2 ? [rows, 1] : shape, rank: Math.min(rows, product(rest)) };
}

/** Convolutions of a UNet that are 3 x 3 in every Stable Diffusion: their kernel is known although the factors are flattened. */
const THREE_BY_THREE = /(^|\.)(conv1|conv2|conv_in|conv_out|(down|up)samplers\.\d+\.conv)$/;

/**
 * The shape that a LoRA's factors must have to be read as the weight's: LyCORIS stores LoHa and LoKr of convolutions
 * flattened (out, in * kernel), and a LoRA must say (in, kh, kw). The base says; without one, the UNet's 3 x 3
 * convolutions are known by name.
 */
export function weightShape(module: TargetModule, shape: readonly number[], base: BaseInventory | undefined): readonly number[] {
	const known = base?.components.get(module.component)?.find(({ path }) => path === module.path)?.shape;
	if (known !== undefined && product(known) === product(shape) && known[0] === shape[0]) return known;
	const [out = 1, columns = 1] = shape;
	if (shape.length !== 2 || module.component !== 'unet' || columns % 9 !== 0 || !THREE_BY_THREE.test(module.path)) return shape;
	return [out, columns / 9, 3, 3];
}
