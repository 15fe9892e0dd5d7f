import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { apart, enginesOf, meanApart, openModel, pictureOf, recorded, runtime, useOf, within } from './runtime-library.mjs';

/** The manifest's bar for latents; the larger of it and 3 x torch's own float32 error holds. */
const LATENTS = 5e-4;
const PNG_MAX = 1;
const PNG_MEAN = 0.05;

const KINDS = {
	DPMSolverMultistepScheduler: (config) => (config.algorithm_type === 'sde-dpmsolver++' ? 'dpmsolver++-sde' : 'dpmsolver++'),
	DDIMScheduler: () => 'ddim',
	PNDMScheduler: () => 'pndm',
	EulerDiscreteScheduler: () => 'euler',
	EulerAncestralDiscreteScheduler: () => 'euler_a',
	HeunDiscreteScheduler: () => 'heun',
	LMSDiscreteScheduler: () => 'lms',
	DDPMScheduler: () => 'ddpm',
	UniPCMultistepScheduler: () => 'unipc',
	LCMScheduler: () => 'lcm',
};

/** What a run of the set says about its adapters: by name (`lora_ab-0.7-0.4-dpm20`), or as a list. */
function adaptersOf(name, run, home, root) {
	if (run.adapters !== undefined) {
		return run.adapters.map(({ file, scale }) => [path.join(home, 'training/shapes', file), scale]);
	}
	const lora = (file) => path.join(root, 'lora', file);
	const files = { a: lora('a-full-kohya.safetensors'), b: lora('b-attn-peft.safetensors'), c: lora('c-attn-te-peft.safetensors') };
	const both = /^lora_(\w)(\w)-([\d.]+)-([\d.]+)-/.exec(name);
	if (both !== null)
		return [
			[files[both[1]], Number(both[3])],
			[files[both[2]], Number(both[4])],
		];
	const one = /^lora_(\w)-(?:loaded|fused)-s([\d.]+)-/.exec(name);
	return one === null ? [] : [[files[one[1]], Number(one[2])]];
}

/** One recorded run, replayed: worst latents error, and the picture. */
async function replay(checks, where, model, run, pick) {
	const [height, width] = run.size;
	const count = run.extra?.num_images_per_prompt ?? 1;
	const generator = runtime.createTorchGenerator(run.seed_latents);
	const steps = runtime.createTorchGenerator(run.seed_step_noise ?? run.seed_latents);
	const prompt = await model.encodePrompt(run.prompt, run.negative ?? undefined, { count, height, width, clipSkip: run.extra?.clip_skip });
	const ids = pick('input_ids');
	if (ids !== undefined) {
		const [own, other] = prompt.ids[0];
		// Recorded: prompt first, negative second.
		checks.check(where, 'token ids', apart([...own, ...other].slice(0, ids.data.length), ids.data) === 0 ? undefined : 'differ');
	}
	const initial = pick('initial_latents');
	let first = true;
	const source = {
		...generator,
		randn(n) {
			if (!first) return steps.randn(n);
			first = false;
			return generator.randn(n);
		},
	};
	const kind = KINDS[run.scheduler](run.scheduler_config);
	const loop = runtime.generate(model, {
		prompt,
		scheduler: kind,
		schedulerConfig: runtime.schedulerConfigFor(kind, run.scheduler_config),
		steps: run.steps,
		guidance: run.guidance,
		guidanceRescale: run.extra?.guidance_rescale,
		eta: run.extra?.eta,
		height,
		width,
		count,
		generators: [source],
	});
	const latents = pick('latents');
	const per = latents.data.length / latents.shape[0];
	let worst = 0;
	let calls = 0;
	for (;;) {
		const { value, done } = await loop.next();
		if (done) {
			checks.check(where, `${latents.shape[0]} calls of the model`, calls === latents.shape[0] ? undefined : `${calls}`);
			return { worst, result: value, initial };
		}
		worst = Math.max(worst, apart(value.latents, latents.data.subarray(calls * per, (calls + 1) * per)));
		calls++;
	}
}

/** @param {string} root `inference` or `inference-shapes` @param {string} baseName */
async function runAll(checks, root, baseName, label) {
	const home = path.dirname(root);
	const { runs } = JSON.parse(readFileSync(path.join(root, 'pipeline.json'), 'utf8').replaceAll('-Infinity', '-1e999'));
	const want = recorded(path.join(root, 'pipeline.safetensors'));
	for (const [engineName, engine] of await enginesOf()) {
		const { base, tokenizers } = await openModel(home, baseName);
		const model = runtime.createStableDiffusion(base, engine, { tokenizers });
		let [most, picture] = [0, 0];
		let tightest = '';
		for (const [name, run] of Object.entries(runs)) {
			const where = `${label}/${engineName}/${name}`;
			await checks.run(where, 'runs', async () => {
				const uses = await Promise.all(adaptersOf(name, run, home, root).map(([file, scale]) => useOf(file, scale)));
				await model.setAdapters(uses);
				const { worst, result } = await replay(checks, where, model, run, (part) => want.get(`${name}/${part}`));
				const bar = Math.max(LATENTS, 3 * (run.f32_vs_f64?.latents ?? 0));
				checks.check(where, 'latents', within(worst, bar));
				if (worst / bar > most) [most, tightest] = [worst / bar, `${name} ${worst.toExponential(2)} of ${bar.toExponential(1)}`];
				const expected = pictureOf(path.join(root, run.png));
				const [own] = result.pictures;
				const [max, mean] = [apart(own, expected.data), meanApart(own, expected.data)];
				picture = Math.max(picture, max);
				checks.check(where, 'picture', max <= PNG_MAX && mean <= PNG_MEAN ? undefined : `max ${max}, mean ${mean.toFixed(3)}`);
			});
		}
		await model.close();
		await base.close();
		console.log(
			`  ${label} ${engineName}: ${Object.keys(runs).length} runs, nearest to its bar ${tightest}; pictures at most ${picture} grey level(s) apart`,
		);
	}
}

/** @param {import('./checks.mjs').Checks} checks @param {string} root */
export async function partPipeline(checks, root) {
	await runAll(checks, root, 'tiny-sd', 'inference');
	await imageToImage(checks, root);
	await secondGeneration(checks, root);
	await sdxl(checks, root);
}

/** @param {import('./checks.mjs').Checks} checks @param {string} root */
export async function partShapes(checks, root) {
	await runAll(checks, root, 'tiny-shapes', 'inference-shapes');
}

const manifestOf = (root) => JSON.parse(readFileSync(path.join(root, 'manifest.json'), 'utf8'));

async function imageToImage(checks, root) {
	const home = path.dirname(root);
	const manifest = manifestOf(root);
	const { img2img, profile } = manifest;
	if (img2img === undefined || !existsSync(path.join(root, 'img2img.safetensors'))) return;
	const want = recorded(path.join(root, 'img2img.safetensors'));
	const kinds = { dpm: 'dpmsolver++', ddim: 'ddim', pndm: 'pndm', euler: 'euler' };
	const input = pictureOf(path.join(root, img2img.input));
	for (const [engineName, engine] of await enginesOf()) {
		const { base, tokenizers } = await openModel(home, 'tiny-sd');
		const model = runtime.createStableDiffusion(base, engine, { tokenizers });
		let most = 0;
		const pixels = runtime.pixelsOf(input.data, input.height, input.width);
		checks.check(`img2img/${engineName}`, 'pixel values', within(apart(pixels, want.get('pixel_values').data), 1e-7));
		for (const name of Object.keys(img2img.runs)) {
			const where = `img2img/${engineName}/${name}`;
			await checks.run(where, 'runs', async () => {
				const [, kind, strength] = /^(\w+)-s([\d.]+)$/.exec(name);
				const { height, width } = input;
				const prompt = await model.encodePrompt(img2img.prompt ?? profile.prompt, img2img.negative ?? undefined, { height, width });
				const loop = runtime.generate(model, {
					prompt,
					scheduler: kinds[kind],
					steps: img2img.steps,
					guidance: img2img.guidance,
					height,
					width,
					generators: [runtime.createTorchGenerator(profile.run_seed)],
					init: { pixels: runtime.f32Tensor([1, 3, height, width], pixels), strength: Number(strength) },
				});
				const latents = want.get(`${name}/latents`);
				const per = latents.data.length / latents.shape[0];
				let [worst, calls] = [0, 0];
				for await (const step of loop) {
					worst = Math.max(worst, apart(step.latents, latents.data.subarray(calls * per, (calls + 1) * per)));
					calls++;
				}
				most = Math.max(most, worst);
				checks.check(where, `${latents.shape[0]} calls`, calls === latents.shape[0] ? undefined : `${calls}`);
				checks.check(where, 'latents', within(worst, LATENTS));
			});
		}
		await model.close();
		await base.close();
		console.log(
			`  img2img ${engineName}: ${Object.keys(img2img.runs).length} runs, worst latents ${most.toExponential(2)} (bar ${LATENTS.toExponential(0)})`,
		);
	}
}

/** Runs that give latents for text states of their own. */
async function fromLatents(checks, where, model, kind, { prompt, steps, guidance, initial, latents, size, bar = LATENTS }) {
	let first = true;
	const generators = [
		{
			randn(n) {
				if (!first) throw new Error('a draw that no run of these has');
				first = false;
				return Float32Array.from(initial.data.subarray(0, n));
			},
		},
	];
	const loop = runtime.generate(model, { prompt, scheduler: kind, steps, guidance, height: size[0], width: size[1], generators });
	const per = latents.data.length / latents.shape[0];
	let [worst, calls] = [0, 0];
	for await (const step of loop) {
		worst = Math.max(worst, apart(step.latents, latents.data.subarray(calls * per, (calls + 1) * per)));
		calls++;
	}
	checks.check(where, `${latents.shape[0]} calls`, calls === latents.shape[0] ? undefined : `${calls}`);
	checks.check(where, 'latents', within(worst, bar));
	return worst;
}

async function secondGeneration(checks, root) {
	const manifest = manifestOf(root);
	if (manifest.sd2 === undefined) return;
	const home = path.dirname(root);
	const want = recorded(path.join(root, manifest.sd2.file));
	const kinds = { ddim: 'ddim', dpm: 'dpmsolver++', euler: 'euler' };
	for (const [engineName, engine] of await enginesOf()) {
		const { base, tokenizers } = await openModel(home, path.basename(manifest.sd2.folder));
		const model = runtime.createStableDiffusion(base, engine, { tokenizers });
		const where = `sd2/${engineName}`;
		const ids = Int32Array.from(want.get('text/ids').data);
		const [text] = await model.encodeIds([ids]);
		checks.check(where, 'text states', within(apart(text.states.data, want.get('text/last_hidden_state').data), 3e-5));
		let most = 0;
		for (const key of want.keys()) {
			const name = /^(.+)\/latents$/.exec(key)?.[1];
			if (name === undefined) continue;
			await checks.run(`${where}/${name}`, 'runs', async () => {
				const lora = name.startsWith('lora-')
					? [await useOf(path.join(root, 'lora/sd2-attn-te-peft.safetensors'), manifest.sd2.lora_scale ?? 1)]
					: [];
				await model.setAdapters(lora);
				const [, kind, steps] = /^(?:lora-)?(\D+)(\d+)$/.exec(name);
				const size = [64, 64];
				const prompt = await model.encodePrompt(
					manifest.sd2.prompt ?? manifest.profile.prompt,
					manifest.sd2.negative ?? manifest.profile.negative,
					{
						height: 64,
						width: 64,
					},
				);
				const initial = want.get(`${name}/initial_latents`);
				const worst = await fromLatents(checks, `${where}/${name}`, model, kinds[kind], {
					prompt,
					steps: Number(steps),
					guidance: manifest.sd2.guidance ?? 7.5,
					initial,
					latents: want.get(`${name}/latents`),
					size,
				});
				most = Math.max(most, worst);
			});
		}
		await model.close();
		await base.close();
		console.log(`  sd2 ${engineName}: worst latents ${most.toExponential(2)}`);
	}
}

async function sdxl(checks, root) {
	const manifest = manifestOf(root);
	if (manifest.sdxl === undefined) return;
	const home = path.dirname(root);
	const want = recorded(path.join(root, manifest.sdxl.file));
	for (const [engineName, engine] of await enginesOf()) {
		const { base, tokenizers } = await openModel(home, path.basename(manifest.sdxl.folder));
		const model = runtime.createStableDiffusion(base, engine, { tokenizers });
		const where = `sdxl/${engineName}`;
		await checks.run(where, 'runs', async () => {
			const prompt = await model.encodePrompt(manifest.sdxl.prompt, undefined, { height: 64, width: 64 });
			const states = prompt.conditioning.states(true);
			const half = states.data.length / 2;
			checks.check(where, 'negative states', within(apart(states.data.subarray(0, half), want.get('negative_prompt_embeds').data), 3e-5));
			checks.check(where, 'prompt states', within(apart(states.data.subarray(half), want.get('prompt_embeds').data), 3e-5));
			const run = {
				prompt,
				steps: manifest.sdxl.steps,
				guidance: manifest.sdxl.guidance,
				initial: want.get('initial_latents'),
				latents: want.get('latents'),
				size: [64, 64],
			};
			const bar = Math.max(LATENTS, 3 * (manifest.sdxl.f32_vs_f64?.latents ?? (await torchError(home, manifest, run))));
			const worst = await fromLatents(checks, where, model, 'euler', { ...run, bar });
			console.log(`  sdxl ${engineName}: worst latents ${worst.toExponential(2)} (bar ${bar.toExponential(1)})`);
		});
		await model.close();
		await base.close();
	}
}

/**
 * The set records no float32 error for its SDXL run, whose latents reach 47: the distance of a float64 run from the
 * record stands for it. Only where it is one of rounding: below 1e-4 of the largest latent.
 */
async function torchError(home, manifest, run) {
	const { base, tokenizers } = await openModel(home, path.basename(manifest.sdxl.folder));
	const model = runtime.createStableDiffusion(base, runtime.createFloat64Engine(), { tokenizers });
	const prompt = await model.encodePrompt(manifest.sdxl.prompt, undefined, { height: 64, width: 64 });
	const none = { check() {} };
	const error = await fromLatents(none, '', model, 'euler', { ...run, prompt, bar: Number.POSITIVE_INFINITY });
	await base.close();
	const largest = run.latents.data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
	console.log(
		`  sdxl: torch's own float32 error, by a float64 run: ${error.toExponential(2)}, ${(error / largest).toExponential(1)} of the largest latent`,
	);
	return error < 1e-4 * largest ? error : 0;
}
