import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { apart, enginesOf, openModel, pictureOf, recorded, runtime, within } from './runtime-library.mjs';

const load = (name) => import(new URL(`../../packages/runtime/dist/${name}`, import.meta.url).href);

const LATENTS = 5e-4;
const PROBABILITIES = 1e-5;
const GREY_LEVELS = 1;
const SIZE = [64, 64];

/**
 * `attention.safetensors`: cross-attention probabilities of a run, and a word replaced in the manner of
 * Prompt-to-Prompt. Recorded with attention written out, not with torch's fused kernel.
 * @param {import('./checks.mjs').Checks} checks @param {string} root
 */
export async function partAttention(checks, root) {
	const { attention: entry, profile } = JSON.parse(readFileSync(path.join(root, 'manifest.json'), 'utf8'));
	if (entry === undefined || !existsSync(path.join(root, entry.file))) return;
	const want = recorded(path.join(root, entry.file));
	const attention = await load('attention/index.js');
	const { encodePrompts } = await load('pipeline/encode-prompts.js');
	for (const [name, engine] of await enginesOf()) {
		const { base, tokenizers } = await openModel(path.dirname(root), 'tiny-sd');
		const model = runtime.createStableDiffusion(base, engine, { tokenizers });
		const context = { checks, root, model, attention, encodePrompts, want, entry, profile, where: `attention/${name}` };
		await maps(context);
		await wordSwap(context);
		await model.close();
		await base.close();
	}
}

/** Denoise, and how far each call's latents are from the record. @returns {Promise<{ worst: number, result: any }>} */
async function follow(model, latents, request) {
	const [height, width] = SIZE;
	const loop = runtime.generate(model, {
		scheduler: 'dpmsolver++',
		steps: latents.shape[0],
		guidance: 7.5,
		height,
		width,
		...request,
	});
	const per = latents.data.length / latents.shape[0];
	let worst = 0;
	for (let calls = 0; ; calls++) {
		const { value, done } = await loop.next();
		if (done) return { worst: calls === latents.shape[0] ? worst : Number.POSITIVE_INFINITY, result: value };
		worst = Math.max(worst, apart(value.latents, latents.data.subarray(calls * per, (calls + 1) * per)));
	}
}

async function maps({ checks, model, attention, want, entry, profile, where }) {
	const latents = want.get('run_latents');
	const [height, width] = SIZE;
	const prompt = await model.encodePrompt(profile.prompt, undefined, { height, width });
	const ways = [
		['whole', undefined],
		['in 3 pieces', 3],
	];
	/** @type {Map<string, Float32Array>[]} */
	const means = [];
	for (const [label, slices] of ways) {
		await checks.run(where, `maps, ${label}`, async () => {
			const collector = attention.collectMaps(model.base.unet, { slices });
			let first;
			const control = {
				...collector,
				seen(call, taps) {
					collector.seen(call, taps);
					first ??= collector.last();
				},
			};
			const { worst } = await follow(model, latents, { prompt, generators: [runtime.createTorchGenerator(profile.run_seed)], control });
			checks.check(where, `latents of the run, ${label}`, within(worst, LATENTS));
			const parts = [
				['step0', first],
				['mean', collector.mean()],
			];
			const errors = parts.map(([part, got]) => {
				const keys = [...want.keys()].filter((key) => key.startsWith(`${part}/`));
				checks.check(where, `layers of ${part}, ${label}`, keys.length === got.size ? undefined : `${got.size}, not ${keys.length}`);
				let most = 0;
				for (const key of keys) {
					const { shape, data } = want.get(key);
					const own = firstTokens(got.get(`${key.slice(part.length + 1)}.transformer_blocks.0.attn2`), shape);
					most = Math.max(most, apart(own, data));
				}
				checks.check(where, `probabilities ${part}, ${label}`, within(most, PROBABILITIES));
				return `${part} ${most.toExponential(2)}`;
			});
			means.push(new Map([...collector.mean()].map(([layer, { data }]) => [layer, data])));
			console.log(
				`  ${where}, ${label}: probabilities ${errors.join(', ')} (bar ${PROBABILITIES.toExponential(0)}; torch's fused against written out: ${entry.plain_vs_sdpa.toExponential(2)}), latents ${worst.toExponential(2)} (bar ${LATENTS.toExponential(0)})`,
			);
		});
	}
	const [whole, pieces] = means;
	const between = Math.max(...[...whole].map(([layer, data]) => apart(pieces.get(layer), data)));
	checks.check(where, 'in pieces equals whole', within(between, PROBABILITIES));
	for (const slices of [1, 3]) {
		const { worst } = await follow(model, latents, {
			prompt,
			generators: [runtime.createTorchGenerator(profile.run_seed)],
			control: { key: `fused in ${slices}`, processor: runtime.fusedAttention(slices) },
		});
		checks.check(where, `latents, fused, ${slices} piece(s)`, within(worst, LATENTS));
		console.log(`  ${where}, fused, ${slices} piece(s): latents ${worst.toExponential(2)} (bar ${LATENTS.toExponential(0)})`);
	}
	console.log(`  ${where}: maps in pieces against whole ${between.toExponential(2)}`);
}

/** The first tokens of each place of the first picture. */
function firstTokens({ shape: [, places, tokens], data }, [, kept]) {
	return Float32Array.from({ length: places * kept }, (_, i) => data[Math.floor(i / kept) * tokens + (i % kept)]);
}

async function wordSwap({ checks, root, model, attention, encodePrompts, want, entry, profile, where }) {
	const [source, edited] = profile.p2p;
	checks.check(where, 'prompts', source === entry.p2p.source && edited === entry.p2p.edited ? undefined : 'manifest and profile differ');
	const [height, width] = SIZE;
	const prompt = await encodePrompts(model, [source, edited], undefined, { height, width });
	for (const key of want.keys()) {
		const cross = /^p2p\/replace([\d.]+)\/latents$/.exec(key)?.[1];
		if (cross === undefined) continue;
		await checks.run(`${where}/replace${cross}`, 'runs', async () => {
			const control = attention.promptToPrompt({
				tokenizer: model.tokenizers[0],
				source,
				edits: [{ kind: 'replace', prompt: edited, cross: Number(cross), self: 0 }],
			});
			// Equal initial latents: each picture draws from a generator of its own with the run's seed.
			const generators = [source, edited].map(() => runtime.createTorchGenerator(profile.run_seed));
			const { worst, result } = await follow(model, want.get(key), { prompt, generators, count: 2, control });
			checks.check(`${where}/replace${cross}`, 'latents', within(worst, LATENTS));
			const grey = ['source', 'edited'].map((which, i) =>
				apart(result.pictures[i], pictureOf(path.join(root, `png/p2p-${cross}-${which}.png`)).data),
			);
			checks.check(`${where}/replace${cross}`, 'pictures', Math.max(...grey) <= GREY_LEVELS ? undefined : `${grey} grey levels`);
			console.log(
				`  ${where}/replace${cross}: latents ${worst.toExponential(2)} (bar ${LATENTS.toExponential(0)}), pictures ${grey} grey level(s) apart`,
			);
		});
	}
}
