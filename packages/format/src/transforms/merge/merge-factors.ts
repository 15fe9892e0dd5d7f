import type { Role } from '../../adapter.js';
import { FormatError } from '../../errors.js';
import { flat, type Matrix } from '../../families/matrix.js';
import { decodeFloats } from '../../half.js';
import type { Tensor } from '../../tensor.js';
import { productDistance } from './merge-error.js';
import { readStack, scalingFields } from './merge-low-rank.js';
import { mergeTasks } from './merge-method.js';
import { requireFinite } from './merge-part.js';
import type { GroupPlan } from './merge-plan.js';
import { type ModuleContext, type ModuleResult, moduleShell, reportHead, storeArray, withBias } from './merge-shell.js';

/**
 * PEFT's plain variants: the method on the A factors and, apart from it, on the B factors, the root of each weight times scaling on both
 * and its sign on A. Rough: the product of two sums has cross terms that no adapter had. Kept because PEFT has it; `error` is against the sum.
 * Source: PEFT 0.21 tuners/lora/model.py _generalized_task_arithmetic_weighted_adapter.
 *
 * @throws {FormatError} `E_UNSUPPORTED_ADAPTER` for other families than plain LoRA, `E_LORA_RANK` for different ranks, `E_NONFINITE`.
 */
export async function mergeFactors(plan: GroupPlan, { settings, dtype }: ModuleContext): Promise<ModuleResult> {
	const where = `${plan.group.component} ${plan.group.path}`;
	const embedding = plan.parts.every(({ part }) => part.module.family === 'embedding');
	const [downRole, upRole]: readonly [Role, Role] = embedding ? ['embedding_down', 'embedding_up'] : ['down', 'up'];
	const downs = await read(plan, downRole, where);
	const ups = await read(plan, upRole, where);
	const weights = plan.parts.map(({ part, weight }) => weight * part.module.scaling);
	const { component, path } = plan.group;
	const inputs = plan.parts.map(({ part }) => part.input);
	const down = mergeTasks(
		settings,
		downs.map((d) => d.values),
		weights.map((w) => Math.sqrt(Math.abs(w)) * (w >= 0 ? 1 : -1)),
		{ component, path, what: 'down', inputs },
	);
	const up = mergeTasks(
		settings,
		ups.map((u) => u.values),
		weights.map((w) => Math.sqrt(Math.abs(w))),
		{ component, path, what: 'up', inputs },
	);
	const [downShape, upShape] = [downs[0]?.shape ?? [], ups[0]?.shape ?? []];
	const storedDown = storeArray(plan, dtype, downShape, down, `${settings.method} of ${downRole}`);
	const storedUp = storeArray(plan, dtype, upShape, up, `${settings.method} of ${upRole}`);
	const rank = downShape[0] ?? 1;
	const family = embedding ? 'embedding' : 'lora';
	return {
		module: {
			...moduleShell(plan),
			family,
			factors: await withBias(plan, dtype, { [downRole]: storedDown.tensor, [upRole]: storedUp.tensor }),
			...scalingFields(rank),
		},
		report: {
			...reportHead(plan),
			family,
			how: 'factors',
			rank,
			error: await distance(plan, where, storedUp.tensor, storedDown.tensor, embedding),
			truncation: 0,
		},
		underflow: storedDown.underflow + storedUp.underflow,
	};
}

/** How far the mixture is from the sum: cross terms and all. */
async function distance(plan: GroupPlan, where: string, up: Tensor, down: Tensor, embedding: boolean): Promise<number | null> {
	const exact = await readStack({ where, parts: plan.parts, common: undefined });
	const [b, a] = [await matrixOf(up), await matrixOf(down)];
	return productDistance(exact, embedding ? { up: turned(a), down: turned(b) } : { up: b, down: a });
}

async function matrixOf(tensor: Tensor): Promise<Matrix> {
	return flat({ shape: tensor.shape, data: decodeFloats(tensor.dtype, await tensor.read()) });
}

function turned(m: Matrix): Matrix {
	const data = new Float64Array(m.data.length);
	for (let i = 0; i < m.rows; i++) for (let j = 0; j < m.cols; j++) data[j * m.rows + i] = m.data[i * m.cols + j] ?? 0;
	return { rows: m.cols, cols: m.rows, data };
}

async function read(
	plan: GroupPlan,
	role: Role,
	where: string,
): Promise<readonly { readonly values: Float64Array; readonly shape: readonly number[] }[]> {
	const out: { values: Float64Array; shape: readonly number[] }[] = [];
	for (const { part } of plan.parts) {
		const { module, name } = part;
		const tensor = module.factors[role];
		const plain = (module.family === 'lora' || module.family === 'embedding') && module.factors.magnitude === undefined;
		if (tensor === undefined || !plain) {
			throw new FormatError(
				'E_UNSUPPORTED_ADAPTER',
				`${where} is ${module.family} in ${name}; methods on factors are for plain LoRA, so leave --on factors out.`,
				{
					at: module.path,
				},
			);
		}
		const [first] = out;
		if (first !== undefined && (first.shape.length !== tensor.shape.length || first.shape.some((d, i) => d !== tensor.shape[i]))) {
			throw new FormatError(
				'E_LORA_RANK',
				`${where} has a ${role} of (${first.shape.join(', ')}) in ${plan.parts[0]?.part.name ?? 'one adapter'} and (${tensor.shape.join(', ')}) in ${name}; methods on factors need equal ranks, so leave --on factors out.`,
				{ at: module.path },
			);
		}
		const values = decodeFloats(tensor.dtype, await tensor.read());
		requireFinite(part, values);
		out.push({ values, shape: tensor.shape });
	}
	return out;
}
