import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { TargetModule } from '../../../src/adapter.js';
import { mergeAdapters } from '../../../src/transforms/merge/merge-adapters.js';
import type { MaskRequest, MergeMethod, MergeOptions } from '../../../src/transforms/merge/merge-types.js';
import { f64, moduleOf } from '../../families/helpers.js';
import { adapterOf, distance, moduleAt, numbers, useOf, weightOf } from './merge-helpers.js';

interface Numbers {
	readonly shape: readonly number[];
	readonly data: readonly number[];
}
interface PeftFile {
	readonly weights: readonly number[];
	readonly order: readonly string[];
	readonly sets: Readonly<
		Record<
			string,
			Readonly<
				Record<
					string,
					{
						readonly rank: number;
						readonly alpha: number;
						readonly modules: Readonly<Record<string, Readonly<Record<'lora_A' | 'lora_B', Numbers>>>>;
					}
				>
			>
		>
	>;
	readonly cases: readonly {
		readonly id: string;
		readonly set: string;
		readonly combination: string;
		readonly options: { readonly density?: number; readonly svd_rank?: number; readonly majority_sign_method?: 'total' | 'frequency' };
		readonly masks: readonly string[];
		readonly merged: Readonly<Record<string, { readonly delta?: Numbers; readonly A?: Numbers; readonly B?: Numbers }>>;
	}[];
}

const peft = JSON.parse(readFileSync(new URL('../../../../../fixtures/merge/peft.json', import.meta.url), 'utf8')) as PeftFile;

function usesOf(set: string) {
	return Object.entries(peft.sets[set] ?? {}).map(([name, { rank, alpha, modules }], i) => {
		const made = Object.entries(modules).map(
			([path, { lora_A: a, lora_B: b }]): TargetModule =>
				moduleOf(
					'lora',
					{ down: f64(a.shape, a.data), up: f64(b.shape, b.data) },
					{ path, rank, alpha, scaling: alpha / rank, rule: 'alpha/rank' },
				),
		);
		return useOf(adapterOf(made), name, peft.weights[i] ?? 1);
	});
}

const METHODS: ReadonlyMap<string, MergeMethod> = new Map<string, MergeMethod>([
	['cat', 'concat'],
	['svd', 'svd'],
	['linear', 'linear'],
	['ties', 'ties'],
	['magnitude_prune', 'magnitude-prune'],
	['dare_linear', 'dare-linear'],
	['dare_ties', 'dare-ties'],
]);

/** PEFT draws masks module by module; in each for A of every adapter and then for B, or once for each delta. */
function masksOf(drawn: readonly string[], onFactors: boolean) {
	const sides: readonly MaskRequest['what'][] = onFactors ? ['down', 'up'] : ['delta'];
	return ({ path, input, what }: MaskRequest): Uint8Array | undefined => {
		const module = peft.order.indexOf(path);
		const text = drawn[(module * sides.length + sides.indexOf(what)) * 3 + input];
		return text === undefined ? undefined : Uint8Array.from(text, Number);
	};
}

describe('mergeAdapters does what PEFT does', () => {
	it.each(peft.cases.map((c) => [c.id, c] as const))('%s', async (_, { set, combination, options, masks, merged }) => {
		const svd = combination.endsWith('_svd');
		const method = METHODS.get(combination.replace(/_svd$/, '')) ?? 'concat';
		const onFactors = !svd && combination !== 'cat' && combination !== 'svd';
		const how: MergeOptions = {
			method,
			rank: options.svd_rank,
			density: options.density,
			majoritySign: options.majority_sign_method,
			on: onFactors ? 'factors' : 'delta',
			...(masks.length > 0 ? { mask: masksOf(masks, onFactors) } : {}),
		};
		const { adapter, modules } = await mergeAdapters(usesOf(set), how);
		for (const [path, expected] of Object.entries(merged)) {
			const module = moduleAt(adapter, path);
			if (expected.delta !== undefined) expect(distance(await weightOf(module), expected.delta.data), path).toBeLessThan(1e-12);
			if (expected.A !== undefined) expect(distance(await numbers(module.factors.down), expected.A.data), path).toBeLessThan(1e-14);
			if (expected.B !== undefined) expect(distance(await numbers(module.factors.up), expected.B.data), path).toBeLessThan(1e-14);
			expect(module.scaling).toBe(1);
		}
		expect(modules.every((m) => m.error !== null)).toBe(true);
	});
});
