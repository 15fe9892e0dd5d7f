import { describe, expect, it } from 'vitest';
import { type EncodedPrompt, f32Tensor, type HostTensor } from '../../src/index.js';
import { joinPrompts } from '../../src/pipeline/encode-prompts.js';

/** A prompt whose states are all `own`, and -`own` in the unconditional half. */
function encoded(own: number, { tokens = 2, pooled = false } = {}): EncodedPrompt {
	const of = (guided: boolean, ...rest: number[]): HostTensor => {
		const size = rest.reduce((a, b) => a * b, 1);
		const half = (value: number): Float32Array => new Float32Array(size).fill(value);
		return guided ? f32Tensor([2, ...rest], Float32Array.of(...half(-own), ...half(own))) : f32Tensor([1, ...rest], half(own));
	};
	return {
		conditioning: {
			states: (guided) => of(guided, tokens, 1),
			...(pooled ? { added: (guided: boolean) => of(guided, 1) } : {}),
		},
		truncated: [`rest of ${own}`],
		ids: [[Int32Array.of(own, 0), Int32Array.of(-own, 0)]],
	};
}

describe('prompts of one batch', () => {
	it('have all unconditional rows first, then all of the prompts, in order', () => {
		const { conditioning, truncated, ids } = joinPrompts([1, 2, 3].map((own) => encoded(own, { pooled: true })));
		const states = conditioning.states(true);
		expect(states.shape).toEqual([6, 2, 1]);
		expect([...states.data]).toEqual([-1, -1, -2, -2, -3, -3, 1, 1, 2, 2, 3, 3]);
		expect([...conditioning.states(false).data]).toEqual([1, 1, 2, 2, 3, 3]);
		expect(conditioning.added?.(true)).toEqual(f32Tensor([6, 1], Float32Array.of(-1, -2, -3, 1, 2, 3)));
		expect(conditioning.added?.(false)).toEqual(f32Tensor([3, 1], Float32Array.of(1, 2, 3)));
		expect(truncated).toEqual(['rest of 1', 'rest of 2', 'rest of 3']);
		expect(ids.map(([own, other]) => [[...own], [...other]])).toEqual([
			[
				[1, 0, 2, 0, 3, 0],
				[-1, 0, -2, 0, -3, 0],
			],
		]);
	});

	it('are refused when there are none, or of other lengths', () => {
		expect(() => joinPrompts([])).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
		const uneven = joinPrompts([encoded(1), encoded(2, { tokens: 4 })]);
		expect(uneven.conditioning.added).toBeUndefined();
		expect(() => uneven.conditioning.states(true)).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
	});
});
