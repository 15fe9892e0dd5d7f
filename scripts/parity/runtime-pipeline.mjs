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
				// Fused by diffusers: fused by us, in memory.
				const fused = run.fused === true || /-fused-/.test(name) ? await runtime.fuseBase(base, uses) : undefined;
				const used = fused === undefined ? model : runtime.createStableDiffusion(fused.base, engine, { tokenizers });
				await used.setAdapters(fused === undefined ? uses : []);
				const { worst, result } = await replay(checks, where, used, run, (part) => want.get(`${name}/${part}`));
				if (used !== model) await used.close();
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

/**
 * A run from recorded initial latents: the error after each call.
 * @returns {Promise<number[]>}
 */
async function fromLatents(model, kind, { prompt, steps, guidance, initial, latents, size }) {
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
	const errors = [];
	for await (const step of loop) {
		errors.push(apart(step.latents, latents.data.subarray(errors.length * per, (errors.length + 1) * per)));
	}
	return errors;
}

/**
 * Bars for runs whose float32 error the set does not record (sd2, sdxl: random weights, latents that any rounding drives
 * apart): after each call the larger of 5e-4 and 3 x torch's own error so far. That is the larger of two distances: of a
 * float64 run from the record, and of float64 runs whose every UNet output is off by what the manifest says that torch's is
 * (`f32_vs_f64_unet`) from the float64 run.
 */
async function barsOf(model, kind, run, errors64, unetError) {
	let worst = 0;
	const plain = await latentsOf(model, kind, run);
	const shaken = [];
	for (const seed of [1, 2, 3]) shaken.push(await latentsOf(shakenModel(model, unetError, seed), kind, run));
	return errors64.map((error, call) => {
		worst = Math.max(worst, error, ...shaken.map((latents) => apart(latents[call], plain[call])));
		return Math.max(LATENTS, 3 * worst);
	});
}

/** The latents after each call. */
async function latentsOf(model, kind, { prompt, steps, guidance, initial, size }) {
	const generators = [{ randn: (n) => Float32Array.from(initial.data.subarray(0, n)) }];
	const all = [];
	for await (const step of runtime.generate(model, {
		prompt,
		scheduler: kind,
		steps,
		guidance,
		height: size[0],
		width: size[1],
		generators,
	})) {
		all.push(step.latents);
	}
	return all;
}

/** The model with a UNet whose outputs are off by up to `error`. */
function shakenModel(model, error, seed) {
	let state = seed;
	const next = () => {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		return (state / 2 ** 31 - 1) * error;
	};
	const unet = {
		...model.unet,
		async run(...args) {
			const result = await model.unet.run(...args);
			return { ...result, sample: { ...result.sample, data: Float64Array.from(result.sample.data, (x) => x + next()) } };
		},
	};
	return { ...model, unet };
}

/** @returns {string} how it went, for the summary */
function judge(checks, where, errors, bars, calls) {
	checks.check(where, `${calls} calls`, errors.length === calls ? undefined : `${errors.length}`);
	const bad = errors.findIndex((error, call) => !(error <= bars[call]));
	checks.check(
		where,
		'latents after every call',
		bad < 0 ? undefined : `call ${bad + 1}: ${errors[bad].toExponential(2)} > ${bars[bad].toExponential(1)}`,
	);
	const share = errors.reduce((most, error, call) => Math.max(most, error / bars[call]), 0);
	return `${errors[0].toExponential(1)} after one call, ${Math.max(...errors).toExponential(1)} at most (${(100 * share).toFixed(0)} % of its bar)`;
}

/** Models of one base on float64 and on every engine, and `use` of each. */
async function onEngines(home, name, use) {
	const bars = new Map();
	for (const [engineName, engine] of [['float64', runtime.createFloat64Engine()], ...(await enginesOf())]) {
		const { base, tokenizers } = await openModel(home, name);
		const model = runtime.createStableDiffusion(base, engine, { tokenizers });
		await use(engineName, model, bars);
		await model.close();
		await base.close();
	}
}

export async function secondGeneration(checks, root) {
	const { sd2, profile } = manifestOf(root);
	if (sd2 === undefined) return;
	const want = recorded(path.join(root, sd2.file));
	const kinds = { ddim: 'ddim', dpm: 'dpmsolver++', euler: 'euler' };
	await onEngines(path.dirname(root), path.basename(sd2.folder), async (engineName, model, bars) => {
		const where = `sd2/${engineName}`;
		const [text] = await model.encodeIds([Int32Array.from(want.get('text/ids').data)]);
		checks.check(where, 'text states', within(apart(text.states.data, want.get('text/last_hidden_state').data), 3e-5));
		for (const key of want.keys()) {
			const name = /^(.+)\/latents$/.exec(key)?.[1];
			if (name === undefined) continue;
			await checks.run(`${where}/${name}`, 'runs', async () => {
				const lora = name.startsWith('lora-')
					? [await useOf(path.join(root, 'lora/sd2-attn-te-peft.safetensors'), sd2.lora_scale ?? 1)]
					: [];
				await model.setAdapters(lora);
				const [, kind, steps] = /^(?:lora-)?(\D+)(\d+)$/.exec(name);
				const run = {
					prompt: await model.encodePrompt(sd2.prompt ?? profile.prompt, sd2.negative ?? profile.negative, { height: 64, width: 64 }),
					steps: Number(steps),
					guidance: sd2.guidance ?? 7.5,
					initial: want.get(`${name}/initial_latents`),
					latents: want.get(`${name}/latents`),
					size: [64, 64],
				};
				const errors = await fromLatents(model, kinds[kind], run);
				if (engineName === 'float64')
					bars.set(name, await barsOf(model, kinds[kind], run, errors, sd2.f32_vs_f64_unet ?? sd2.runs?.f32_vs_f64_unet));
				console.log(`  ${where}/${name}: ${judge(checks, `${where}/${name}`, errors, bars.get(name), run.latents.shape[0])}`);
			});
		}
	});
}

export async function sdxl(checks, root) {
	const { sdxl: set, sd2 } = manifestOf(root);
	if (set === undefined) return;
	const want = recorded(path.join(root, set.file));
	await onEngines(path.dirname(root), path.basename(set.folder ?? 'base/tiny-sdxl'), async (engineName, model, bars) => {
		const where = `sdxl/${engineName}`;
		await checks.run(where, 'runs', async () => {
			const prompt = await model.encodePrompt(set.prompt, undefined, { height: 64, width: 64 });
			const states = prompt.conditioning.states(true);
			const half = states.data.length / 2;
			checks.check(where, 'negative states', within(apart(states.data.subarray(0, half), want.get('negative_prompt_embeds').data), 3e-5));
			checks.check(where, 'prompt states', within(apart(states.data.subarray(half), want.get('prompt_embeds').data), 3e-5));
			const run = {
				prompt,
				steps: set.steps,
				guidance: set.guidance,
				initial: want.get('initial_latents'),
				latents: want.get('latents'),
				size: [64, 64],
			};
			const errors = await fromLatents(model, 'euler', run);
			// The set says nothing of SDXL's UNet; SD2's is the other random one.
			if (engineName === 'float64')
				bars.set('', await barsOf(model, 'euler', run, errors, set.f32_vs_f64_unet ?? sd2?.f32_vs_f64_unet ?? sd2?.runs?.f32_vs_f64_unet));
			console.log(`  ${where}: ${judge(checks, where, errors, bars.get(''), run.latents.shape[0])}`);
		});
	});
}
