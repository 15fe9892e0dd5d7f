import { FormatError } from '@lorakit/format';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ModuleShape, targetModules } from '../../src/model/target-modules.js';

const PATHS = [
	'down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q',
	'down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0',
	'down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj',
	'down_blocks.0.resnets.0.conv1',
	'mid_block.attentions.0.transformer_blocks.0.attn2.to_k',
];
const modules: readonly ModuleShape[] = [
	...PATHS.map((path) => ({ component: 'unet', path, inner: [8], out: 8 })),
	{ component: 'text_encoder', path: 'text_model.encoder.layers.0.self_attn.q_proj', inner: [8], out: 8 },
];

const chosen = (pattern: string): readonly string[] => {
	try {
		return targetModules(modules, { rank: 4, include: [pattern] }).map(({ component, path }) => `${component}.${path}`);
	} catch (error) {
		if (error instanceof FormatError && error.code === 'E_CONFIG') return [];
		throw error;
	}
};

describe('target patterns', () => {
	it('fit as the expression in which a star is anything and every other character itself', () => {
		const pieces = fc.constantFrom('*', 'unet', '.', 'attn', '1', 'to_', 'q', 'mid', 'block', '0', '(', '+', '$', '\\', 'x');
		fc.assert(
			fc.property(fc.array(pieces, { minLength: 1, maxLength: 7 }), (parts) => {
				const expression = new RegExp(parts.map((part) => (part === '*' ? '.*' : part.replace(/[.\\+?^${}()|[\]]/g, '\\$&'))).join(''));
				const want = modules.map(({ component, path }) => `${component}.${path}`).filter((name) => expression.test(name));
				expect(chosen(parts.join(''))).toEqual(want);
			}),
		);
	});

	it('of many stars are answered: an expression would try every way to place them', () => {
		expect(chosen(`${'*a'.repeat(1000)}`)).toEqual([]);
		expect(chosen(`${'*t'.repeat(7)}*Z`)).toEqual([]);
		expect(chosen('*'.repeat(4096)).length).toBe(modules.length);
	});

	it('give the last rank and alpha that fit, each for itself, and the scaling of both rules', () => {
		const options = {
			rank: 4,
			unet: 'attention',
			patterns: [
				{ pattern: 'attn', rank: 8 },
				{ pattern: 'mid_block', alpha: 2 },
				{ pattern: 'mid_block*to_k', rank: 16 },
			],
		} as const;
		const of = (rankStabilised: boolean) => targetModules(modules, { ...options, rankStabilised }).map((m) => [m.rank, m.alpha, m.scaling]);
		expect(of(false)).toEqual([
			[8, 8, 1],
			[8, 8, 1],
			[16, 2, 0.125],
		]);
		expect(of(true)).toEqual([
			[8, 8, 8 / Math.sqrt(8)],
			[8, 8, 8 / Math.sqrt(8)],
			[16, 2, 0.5],
		]);
	});
});
