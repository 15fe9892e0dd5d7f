import { expect, test } from 'vitest';
import { inspect } from '../../src/inspect.js';
import { inspectText } from '../../src/inspect-text.js';
import { fluxBfl, fluxDiffusers, llm, unet } from './inventories.js';
import { dottedState, flat, State } from './state.js';

/** Lines of the report that begin with one of the labels. */
function said(state: State, metadata: Readonly<Record<string, string>>, ...labels: readonly string[]): string[] {
	const lines = inspectText(inspect(state.input(metadata))).split('\n');
	return lines.filter((l) => labels.some((label) => l.startsWith(label))).map((l) => l.replace(/ {2,}/g, '  '));
}

test('full differences are no LoRA of a rank', () => {
	const state = new State();
	for (const m of fluxDiffusers(3072, 2, 2)) state.put(`transformer.${m.path}.lora_A.weight`, [m.out, m.in]);
	expect(said(state, {}, 'what', 'families', 'rank', 'alpha')).toEqual([
		'what  An adapter (full differences, no low rank) for FLUX.1, in the native-dotted layout.',
		'families  full differences, no low rank',
		'alpha  said nowhere',
	]);
});

test('a kind of model gets an article', () => {
	expect(said(dottedState(new State(), llm(), 'base_model.model.'), {}, 'what')).toEqual([
		'what  A LoRA for a language model, in the peft layout.',
	]);
});

test('LoKr is called so', () => {
	const state = new State();
	for (const m of unet('sd1').filter((x) => x.group === 'attn'))
		state.put(`lora_unet_${flat(m.path)}.lokr_w1`, [8, 8]).put(`lora_unet_${flat(m.path)}.lokr_w2`, [m.out / 8, m.in / 8]);
	expect(said(state, {}, 'what', 'families')).toEqual([
		'what  An adapter (LoKr) for Stable Diffusion 1.x or 2.x, in the kohya layout.',
		'families  LoKr',
	]);
});

test('split_qkv is told from the header', () => {
	const state = new State();
	for (const m of fluxBfl(3072, 1, 1)) {
		const n = `lora_unet_${flat(m.path)}`;
		state.pair(n, m, m.path.endsWith('qkv') ? 12 : m.path.endsWith('linear1') ? 16 : 4).value(`${n}.alpha`, 4);
	}
	const args = { ss_network_args: '{"train_blocks": "all", "split_qkv": "True"}' };
	expect(said(state, args, 'W_SPLIT_QKV')[0]).toContain('3 fused projections were trained as 3 or 4 parts');
	expect(said(state, { ss_network_args: '{"split_qkv": "False"}' }, 'W_SPLIT_QKV')).toEqual([]);
});
