import type { Role, TargetModule } from '../../adapter.js';
import { product } from '../../families/matrix.js';
import { topSvd } from '../../linalg/top-svd.js';
import type { Tensor } from '../../tensor.js';
import { weightShape } from '../product/delta-product-shape.js';
import { balanced } from './merge-balance.js';
import { arrayError } from './merge-error.js';
import { scalingFields, shapesDiffer, widest } from './merge-low-rank.js';
import { isSum, mergeTasks } from './merge-method.js';
import { isWhole, readDense, requireFinite, weightKind } from './merge-part.js';
import { type GroupPlan, rankFor } from './merge-plan.js';
import { derivationOf, type ModuleContext, type ModuleResult, moduleShell, reportHead, storeArray } from './merge-shell.js';
import { asFactors } from './merge-truncate.js';

/** Fields of a module that is a whole difference. */
export const NO_SCALING: Pick<TargetModule, 'rank' | 'alpha' | 'alphaSource' | 'alphaTensor' | 'scaleTensor' | 'rule' | 'scaling'> = {
	rank: undefined,
	alpha: null,
	alphaSource: 'none',
	alphaTensor: undefined,
	scaleTensor: undefined,
	rule: 'none',
	scaling: 1,
};

/**
 * Whole differences, element by element: for families that are no product, and for methods that look at elements. Then a LoRA of the
 * wanted rank by the SVD's first triples, where a rank is wanted; else the difference itself.
 *
 * @throws {FormatError} `E_BASE_MISMATCH` (a base is needed), `E_LORA_SHAPE`, `E_NONFINITE`, `E_LIMIT`, and of reading.
 */
export async function mergeDense(plan: GroupPlan, context: ModuleContext): Promise<ModuleResult> {
	const { settings, dtype } = context;
	const { weight, shape, bias } = await (isSum(settings.method) || settings.on === 'factors'
		? summed(plan, context)
		: elementwise(plan, context));
	const where = `${plan.group.component} ${plan.group.path}`;
	const [first] = plan.parts;
	if (first === undefined) throw new TypeError('nothing to merge');
	if (weight !== undefined) requireFinite(first.part, weight);
	if (bias !== undefined) requireFinite(first.part, bias);
	const whole =
		plan.kind === 'whole' ||
		settings.rank === 'full' ||
		(isSum(settings.method) && settings.rank === undefined && settings.method !== 'svd');
	const norm = plan.parts.every(({ part }) => part.module.family === 'norm');
	const factors: Partial<Record<Role, Tensor>> = {};
	let error: number | null = 0;
	let truncation = 0;
	let underflow = 0;
	let fields: Pick<TargetModule, keyof typeof NO_SCALING> = NO_SCALING;
	let family: TargetModule['family'] = norm ? 'norm' : 'full';
	if (bias !== undefined) {
		const stored = storeArray(plan, dtype, [bias.length], bias, 'biases merged');
		factors[norm ? 'b_norm' : 'diff_b'] = stored.tensor;
		underflow += stored.underflow;
		if (weight === undefined) error = stored.error;
	}
	if (weight !== undefined && whole) {
		const role: Role = norm ? 'w_norm' : plan.parts.some(({ part }) => part.module.factors.diff_m !== undefined) ? 'diff_m' : 'diff';
		const stored = storeArray(plan, dtype, shape, weight, `${settings.method} of whole differences`);
		factors[role] = stored.tensor;
		underflow += stored.underflow;
		error = stored.error;
	} else if (weight !== undefined) {
		const matrix = { rows: shape[0] ?? 1, cols: product(shape.slice(1)), data: weight };
		const rank = Math.min(rankFor(plan.parts, settings), matrix.rows, matrix.cols);
		const svd = topSvd(matrix, rank, where);
		const stored = balanced(where, svd, dtype);
		const embedding = plan.parts.every(({ part }) => part.module.family === 'embedding');
		const made = asFactors(
			where,
			stored.up,
			stored.down,
			stored.rank,
			shape,
			dtype,
			derivationOf(plan, `${settings.method}, truncated to rank ${rank}`),
			embedding,
		);
		Object.assign(factors, made.factors);
		family = made.family;
		fields = scalingFields(stored.rank);
		error = arrayError(weight, stored.product());
		truncation = arrayError(weight, stored.exactProduct()) ?? 0;
		underflow += stored.underflow;
	}
	return {
		module: { ...moduleShell(plan), family, factors, ...fields },
		report: {
			...reportHead(plan),
			family,
			how: whole || weight === undefined ? 'dense' : 'svd',
			rank: fields.rank ?? null,
			error,
			truncation,
		},
		underflow,
	};
}

interface Dense {
	readonly weight: Float64Array | undefined;
	readonly shape: readonly number[];
	readonly bias: Float64Array | undefined;
}

/** The sum, one adapter after the other: two arrays are alive at a time. */
async function summed(plan: GroupPlan, { settings }: ModuleContext): Promise<Dense> {
	let weight: Float64Array | undefined;
	let bias: Float64Array | undefined;
	let shapes: (readonly number[])[] = [];
	for (const { part, weight: by } of plan.parts) {
		const own = await readDense(part, by, settings.base);
		if (own.weight !== undefined) {
			const { data } = own.weight;
			const shape = weightShape(part.module, own.weight.shape, settings.base?.inventory);
			if (weight === undefined) weight = data.slice();
			else {
				fits(plan, shapes[0], part, shape);
				for (let i = 0; i < weight.length; i++) weight[i] = (weight[i] ?? 0) + (data[i] ?? 0);
			}
			shapes = [...shapes, shape];
		}
		if (own.bias === undefined) continue;
		if (bias === undefined) bias = own.bias.slice();
		else {
			fits(plan, [bias.length], part, [own.bias.length]);
			for (let i = 0; i < bias.length; i++) bias[i] = (bias[i] ?? 0) + (own.bias[i] ?? 0);
		}
	}
	return { weight, shape: widest(shapes), bias };
}

/** Methods that need every adapter's element at once. The user's strengths are weights, as in PEFT: they come after the choice. */
async function elementwise(plan: GroupPlan, { settings }: ModuleContext): Promise<Dense> {
	const weights: { readonly values: Float64Array; readonly shape: readonly number[]; readonly by: number; readonly input: number }[] = [];
	const biases: { readonly values: Float64Array; readonly by: number; readonly input: number }[] = [];
	for (const { part, weight: by } of plan.parts) {
		const own = await readDense(part, 1, settings.base);
		if (own.weight !== undefined) {
			fits(plan, weights[0]?.shape ?? own.weight.shape, part, own.weight.shape);
			weights.push({
				values: own.weight.data,
				shape: weightShape(part.module, own.weight.shape, settings.base?.inventory),
				by,
				input: part.input,
			});
		}
		if (own.bias !== undefined) {
			fits(plan, [biases[0]?.values.length ?? own.bias.length], part, [own.bias.length]);
			biases.push({ values: own.bias, by, input: part.input });
		}
	}
	const { component, path } = plan.group;
	const merge = (
		tasks: readonly { readonly values: Float64Array; readonly by: number; readonly input: number }[],
		what: 'delta' | 'bias',
	): Float64Array | undefined =>
		tasks.length === 0
			? undefined
			: mergeTasks(
					settings,
					tasks.map((t) => t.values),
					tasks.map((t) => t.by),
					{ component, path, what, inputs: tasks.map((t) => t.input) },
				);
	return { weight: merge(weights, 'delta'), shape: widest(weights.map((w) => w.shape)), bias: merge(biases, 'bias') };
}

function fits(
	plan: GroupPlan,
	first: readonly number[] | undefined,
	part: GroupPlan['parts'][number]['part'],
	shape: readonly number[],
): void {
	if (first === undefined || (first[0] === shape[0] && product(first) === product(shape))) return;
	throw shapesDiffer(`${plan.group.component} ${plan.group.path}`, plan.parts[0]?.part, first, part, shape);
}

/** True when a part's family means nothing without the base, so that the result is right for that base alone. */
export function dependsOnBase(plan: GroupPlan): boolean {
	return plan.kind === 'dense' && plan.parts.some(({ part }) => weightKind(part.module) === 'dense' && !isWhole(part.module));
}
