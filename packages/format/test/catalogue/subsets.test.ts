import { describe, expect, test } from 'vitest';
import { decodeAdapter } from '../../src/detect.js';
import { inspect } from '../../src/inspect.js';
import {
	fluxBfl,
	fluxDiffusers,
	hunyuanVideo,
	type Mod,
	qwenImage,
	sd3Diffusers,
	sd3Sai,
	unet,
	wan,
	wanDiffusers,
	zImage,
} from './inventories.js';
import { dottedState, kohyaState, State } from './state.js';

/** What people train when they do not train everything. */
const SUBSETS: readonly (readonly [string, RegExp])[] = [
	['attention projections', /to_q$|to_k$|to_v$|qkv$|\.q$|\.k$|\.v$|linear1$/],
	['the MLP', /ff\.net|mlp|ffn|feed_forward|linear2$|proj_mlp/],
	['one block', /(^|_)blocks\.7\.|layers\.7\.|up_blocks\.1\./],
	['the output projection', /to_out\.0$|attn\.proj$|attn_proj$|\.o$|linear2$|attention\.out$/],
];

const MODELS: readonly (readonly [base: string, layout: string, mods: readonly Mod[], state: (mods: readonly Mod[]) => State])[] = [
	['flux', 'kohya', fluxBfl(), (m) => kohyaState(new State(), m, 'lora_unet')],
	['flux', 'native-dotted', fluxBfl(), (m) => dottedState(new State(), m, 'diffusion_model.')],
	['flux', 'diffusers', fluxDiffusers(), (m) => dottedState(new State(), m, 'transformer.')],
	['flux', 'kohya', fluxDiffusers(), (m) => kohyaState(new State(), m, 'lora_transformer')],
	['sd3', 'kohya', sd3Sai(), (m) => kohyaState(new State(), m, 'lora_unet')],
	['sd3', 'diffusers', sd3Diffusers(), (m) => dottedState(new State(), m, 'transformer.')],
	['wan', 'kohya', wan(), (m) => kohyaState(new State(), m, 'lora_unet')],
	['wan', 'native-dotted', wan(), (m) => dottedState(new State(), m, 'diffusion_model.')],
	['wan', 'diffusers', wanDiffusers(), (m) => dottedState(new State(), m, 'transformer.')],
	['qwen-image', 'diffusers', qwenImage(), (m) => dottedState(new State(), m, 'transformer.')],
	['qwen-image', 'kohya', qwenImage(), (m) => kohyaState(new State(), m, 'lora_unet')],
	['hunyuan-video', 'kohya', hunyuanVideo(), (m) => kohyaState(new State(), m, 'lora_unet')],
	['z-image', 'native-dotted', zImage(true), (m) => dottedState(new State(), m, 'diffusion_model.')],
	['z-image', 'diffusers', zImage(false), (m) => dottedState(new State(), m, 'transformer.')],
	['sdxl', 'kohya', unet('sdxl'), (m) => kohyaState(new State(), m, 'lora_unet', { own: true })],
	['sdxl', 'diffusers', unet('sdxl'), (m) => dottedState(new State(), m, 'unet.')],
	['sd1', 'kohya', unet('sd1'), (m) => kohyaState(new State(), m, 'lora_unet')],
	['sd2', 'diffusers', unet('sd2'), (m) => dottedState(new State(), m, 'unet.')],
];

describe.each(MODELS)('%s in %s', (base, layout, mods, state) => {
	test.each(SUBSETS)('%s', (_, pattern) => {
		const some = mods.filter((m) => pattern.test(m.path));
		if (some.length === 0) return;
		const input = state(some).input();
		const decoded = decodeAdapter(input);
		expect(decoded.layout.id).toBe(layout);
		expect(decoded.adapter.modules.length).toBe(some.length);
		expect(decoded.adapter.modules.every((m) => m.resolved)).toBe(true);
		expect(decoded.adapter.unknown.size).toBe(0);
		// Without a module that reads the text, SD1 and SD2 are one.
		const alike = (base === 'sd1' || base === 'sd2') && !some.some((m) => /attn2\.to_[kv]$/.test(m.path));
		expect(decoded.adapter.base.family).toBe(alike ? 'sd1or2' : base);
		expect(inspect(input).errors).toEqual([]);
	});
});
