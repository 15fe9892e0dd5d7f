import { type FormOf, inputName, type ModuleForm, type ModulePart, type RankOf } from '../adapters/module-form.js';
import type { ConvAttributes, Ops, Value } from '../graph/index.js';
import { add, convAttributes, div, matmul, mul, reshape, sizeOf, sum } from '../graph/ops.js';

/**
 * The layers a model is made of, by their path in one component. **This is the one place where adapters touch a
 * model**: a layer whose form says so takes factors, scales or a whole weight as inputs of the graph.
 */
export interface Net {
	readonly ops: Ops;
	readonly component: string;
	/** x (..., in) -> (..., out) */
	linear(path: string, x: Value, out: number, options?: { readonly bias?: boolean }): Value;
	/** x (b, in, h, w) -> (b, out, h', w'), square kernel */
	conv(path: string, x: Value, out: number, options: { readonly kernel: number } & Partial<ConvAttributes>): Value;
	groupNorm(path: string, x: Value, groups: number, epsilon: number): Value;
	layerNorm(path: string, x: Value, epsilon: number): Value;
	/** A table of its own: embeddings, `text_projection`. */
	weight(name: string, shape: readonly number[]): Value;
	/** Run `part` as the module `path`, whose output can be asked for under `component.path`. */
	module(path: string, part: () => Value): Value;
}

export function createNet(ops: Ops, component: string, formOf: FormOf, rankOf?: RankOf): Net {
	const parameter = (name: string, shape: readonly number[]): Value => ops.parameter(`${component}.${name}`, shape);
	const input = (path: string, part: ModulePart, shape: readonly (number | string)[]): Value =>
		ops.input(inputName(component, path, part), shape);
	const layer = (path: string, part: () => Value): Value => ops.tap(`${component}.${path}`, ops.scope(path, part));
	const rank = (path: string): number | string => rankOf?.(component, path) ?? `rank:${component}.${path}`;

	function weightOf(path: string, form: ModuleForm, shape: readonly number[]): Value {
		return form === 'dense' ? input(path, 'weight', shape) : parameter(`${path}.weight`, shape);
	}

	/** The base's bias and what the adapters add to it. `spread` brings a vector over channels to the axes of `y`. */
	function withBias(path: string, y: Value, out: number, bias: boolean, spread: (v: Value) => Value): Value {
		const own = bias ? add(ops, y, spread(parameter(`${path}.bias`, [out]))) : y;
		return add(ops, own, spread(input(path, 'bias', [out])));
	}

	function vector(path: string, kind: 'weight' | 'bias', form: ModuleForm, size: number): Value {
		if (form !== 'dense' && form !== 'scaled') return parameter(`${path}.${kind}`, [size]);
		return kind === 'weight' ? input(path, 'weight', [size]) : add(ops, parameter(`${path}.bias`, [size]), input(path, 'bias', [size]));
	}

	/** y times magnitude / norm, row by row of the weight that the factors are added to; bias apart. `spread` as above. */
	function withMagnitude(path: string, y: Value, weight: Value, factors: readonly [Value, Value], spread: (v: Value) => Value): Value {
		const [out, ...inner] = weight.shape.map(Number);
		const columns = inner.reduce((p, d) => p * d, 1);
		const [down, up] = factors.map((v) => reshape(ops, v, [v.shape[0] ?? 1, v === factors[0] ? columns : (v.shape[1] ?? 1)]));
		if (out === undefined || down === undefined || up === undefined) throw new TypeError('a weight has rows');
		const whole = add(ops, reshape(ops, weight, [out, columns]), matmul(ops, up, down));
		const norm = ops.apply('sqrt', [sum(ops, mul(ops, whole, whole), 1)], {});
		const fixed = ops.apply('stopGradient', [reshape(ops, norm, [out])], {});
		return mul(ops, y, spread(div(ops, input(path, 'magnitude', [out]), fixed)));
	}

	/** Norms have no factors: `low-rank` is plain for them. */
	const normForm = (path: string): ModuleForm => (formOf(component, path) === 'dense' ? 'dense' : 'plain');

	return {
		ops,
		component,
		linear(path, x, out, { bias = true } = {}) {
			const form = formOf(component, path);
			const inn = sizeOf(x, -1);
			return layer(path, () => {
				const weight = weightOf(path, form, [out, inn]);
				const own = form === 'plain' || form === 'low-rank';
				if (form === 'dora') {
					const factors = [input(path, 'down', [rank(path), inn]), input(path, 'up', [out, rank(path)])] as const;
					const sum = ops.apply('lowRank', [ops.apply('linear', [x, weight], {}), x, ...factors], {});
					const y = withMagnitude(path, sum, weight, factors, (v) => v);
					return bias ? add(ops, y, parameter(`${path}.bias`, [out])) : y;
				}
				const from = form === 'scaled' ? mul(ops, x, input(path, 'column', [inn])) : x;
				let y = ops.apply('linear', own && bias ? [from, weight, parameter(`${path}.bias`, [out])] : [from, weight], {});
				if (form === 'scaled') y = mul(ops, y, input(path, 'row', [out]));
				if (form === 'low-rank' || form === 'scaled') {
					const r = rank(path);
					y = ops.apply('lowRank', [y, x, input(path, 'down', [r, inn]), input(path, 'up', [out, r])], {});
				}
				return own ? y : withBias(path, y, out, bias, (v) => v);
			});
		},
		conv(path, x, out, { kernel, ...given }) {
			const form = formOf(component, path);
			const inn = sizeOf(x, 1);
			const attributes: ConvAttributes = { ...convAttributes(1, (kernel - 1) / 2), ...given };
			return layer(path, () => {
				const weight = weightOf(path, form, [out, inn, kernel, kernel]);
				const spread = (v: Value): Value => reshape(ops, v, [sizeOf(v, 0), 1, 1]);
				const own = form === 'plain' || form === 'low-rank';
				if (form === 'dora') {
					const factors = [input(path, 'down', [rank(path), inn, kernel, kernel]), input(path, 'up', [out, rank(path), 1, 1])] as const;
					const sum = ops.apply('lowRankConv', [ops.apply('conv2d', [x, weight], attributes), x, ...factors], attributes);
					return add(ops, withMagnitude(path, sum, weight, factors, spread), spread(parameter(`${path}.bias`, [out])));
				}
				const from = form === 'scaled' ? mul(ops, x, spread(input(path, 'column', [inn]))) : x;
				let y = ops.apply('conv2d', own ? [from, weight, parameter(`${path}.bias`, [out])] : [from, weight], attributes);
				if (form === 'scaled') y = mul(ops, y, spread(input(path, 'row', [out])));
				if (form === 'low-rank' || form === 'scaled') {
					const r = rank(path);
					const factors = [input(path, 'down', [r, inn, kernel, kernel]), input(path, 'up', [out, r, 1, 1])];
					y = ops.apply('lowRankConv', [y, x, ...factors], attributes);
				}
				return own ? y : withBias(path, y, out, true, spread);
			});
		},
		groupNorm(path, x, groups, epsilon) {
			const form = normForm(path);
			const c = sizeOf(x, 1);
			return layer(path, () =>
				ops.apply('groupNorm', [x, vector(path, 'weight', form, c), vector(path, 'bias', form, c)], { groups, epsilon }),
			);
		},
		layerNorm(path, x, epsilon) {
			const form = normForm(path);
			const c = sizeOf(x, -1);
			return layer(path, () => ops.apply('layerNorm', [x, vector(path, 'weight', form, c), vector(path, 'bias', form, c)], { epsilon }));
		},
		weight(name, shape) {
			const path = name.replace(/\.weight$/, '');
			return formOf(component, path) === 'dense' ? input(path, 'weight', shape) : parameter(name, shape);
		},
		module(path, part) {
			return ops.tap(`${component}.${path}`, part());
		},
	};
}
