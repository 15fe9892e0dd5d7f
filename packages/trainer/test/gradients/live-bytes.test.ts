import { createGraphBuilder, type Graph, type Value } from '@lorakit/runtime';
import { add, mul, reshape, sum } from '@lorakit/runtime/ops';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { peakLiveBytes } from '../../src/gradients/live-bytes.js';

/** The same by another way: at every node all values are looked through. */
function slowPeak({ nodes, values, inputs, parameters, constants, outputs }: Graph): number {
	const given = new Set([...inputs, ...parameters, ...constants].map(({ value }) => value));
	const memory = (id: number): number => {
		const maker = nodes.find(({ output }) => output === id);
		const shares = maker !== undefined && ['reshape', 'after', 'stopGradient'].includes(maker.op);
		return shares ? memory(maker.inputs[0] ?? -1) : id;
	};
	let peak = 0;
	for (const [i] of nodes.entries()) {
		const held = new Set<number>();
		for (const [k, { output }] of nodes.entries()) {
			const used = nodes.some(({ inputs: ids }, n) => n >= i && ids.includes(output)) || outputs.some(({ value }) => value === output);
			if (k <= i && (used || k === i)) held.add(memory(output));
		}
		const bytes = [...held]
			.filter((id) => !given.has(id))
			.map((id) => 4 * (values[id]?.shape ?? []).reduce<number>((p, d) => p * Number(d), 1));
		peak = Math.max(
			peak,
			bytes.reduce((a, b) => a + b, 0),
		);
	}
	return peak;
}

describe('the most bytes of values at one time', () => {
	it('counts from the node that makes a value to the last that uses it, shared memory once', () => {
		const ops = createGraphBuilder();
		const x = ops.input('x', [1000]);
		const a = add(ops, x, x);
		// a, b and its other shape: 2,000 numbers; then c beside b: a is gone.
		const b = reshape(ops, mul(ops, a, a), [10, 100]);
		const c = add(ops, b, b);
		ops.output('y', sum(ops, c, 0, 1));
		expect(peakLiveBytes(ops.graph())).toBe(4 * 2000);
		// The last sum runs with c alone and takes 5,000 bytes besides.
		expect(peakLiveBytes(ops.graph(), ({ op }) => (op === 'sum' ? 5000 : 0))).toBe(4 * 1001 + 5000);
	});

	it('keeps outputs to the end, and gives up at once what nothing uses', () => {
		const ops = createGraphBuilder();
		const x = ops.input('x', [100]);
		const kept = add(ops, x, x);
		ops.output('kept', reshape(ops, kept, [10, 10]));
		mul(ops, x, x);
		const a = mul(ops, x, x);
		ops.output('y', add(ops, a, a));
		expect(peakLiveBytes(ops.graph())).toBe(4 * 300);
	});

	it('is what looking through all values at each node gives', () => {
		fc.assert(
			fc.property(fc.array(fc.tuple(fc.nat(50), fc.nat(50), fc.nat(9)), { minLength: 1, maxLength: 25 }), (steps) => {
				const ops = createGraphBuilder();
				const made: Value[] = [ops.input('x', [6, 4]), ops.parameter('w', [6, 4])];
				for (const [i, j, kind] of steps) {
					const [a, b] = [made[i % made.length], made[j % made.length]];
					if (a === undefined || b === undefined) continue;
					const same = a.shape.join() === b.shape.join();
					if (kind < 2)
						made.push(
							reshape(ops, a, a.shape.length === 2 ? [a.shape.reduce<number>((p, d) => p * Number(d), 1)] : [1, Number(a.shape[0])]),
						);
					else if (kind < 4) made.push(ops.apply('after', [a, b], {}));
					else if (kind === 4) made.push(ops.apply('stopGradient', [a], {}));
					else if (kind === 5) made.push(sum(ops, a, 0));
					else made.push(same ? mul(ops, a, b) : add(ops, a, a));
				}
				for (const [n, value] of made.slice(-2).entries()) ops.output(`y${n}`, value);
				const graph = ops.graph();
				expect(peakLiveBytes(graph)).toBe(slowPeak(graph));
			}),
			{ numRuns: 200, seed: 3 },
		);
	});
});
