#!/usr/bin/env node
/**
 * Trains on tiny-shapes with the settings of a recorded run (reference/training/shapes) and our own trainer, and prints its
 * fixed-noise loss beside the recorded curve:
 *
 *   node scripts/shapes/learn.mjs --run striped-lora|crescent-dreambooth|hexagon-inversion|hexagon-pivotal --out FOLDER
 *     [--seed 1] [--shapes ../shared/reference/training/shapes] [--threads 2] [--steps N]
 *
 * Draws are made as run.json says of the recorded ones (pictures, timesteps, noise, from one torch generator); `--seed 1`
 * repeats the recorded draws. `hexagon-pivotal` begins with an inversion of the same seed, or with --embedding FILE.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { createOnnxEngine } from '../../packages/runtime/dist/engines/onnx/index.js';
import * as runtime from '../../packages/runtime/dist/index.js';
import { decodePicture, openBase } from '../../packages/runtime/dist/io/index.js';
import * as trainer from '../../packages/trainer/dist/index.js';
import { recorded } from '../parity/runtime-library.mjs';

const ROOT = path.join(import.meta.dirname, '../..');
const { values: options } = parseArgs({
	options: {
		run: { type: 'string' },
		out: { type: 'string' },
		seed: { type: 'string', default: '1' },
		shapes: { type: 'string', default: path.join(ROOT, '../shared/reference/training/shapes') },
		threads: { type: 'string', default: '2' },
		steps: { type: 'string' },
		embedding: { type: 'string' },
		'recorded-start': { type: 'boolean', default: false },
	},
});
/** What differs between the runs. */
const SETS = {
	'striped-lora': { pictures: 'striped' },
	'crescent-dreambooth': { pictures: 'crescent', classes: true },
	'hexagon-inversion': { pictures: 'hexagon', token: '<hex>', word: 'hexagon' },
	'hexagon-pivotal': { pictures: 'hexagon', token: '<hex>', word: 'hexagon' },
};
/** Fixed draws of the validation: 64 timesteps, then 64 noises, from this seed; picture i is i modulo their number. */
const VALIDATION = { seed: 99, count: 64, every: 100 };
const BATCH = 8;

const set = SETS[options.run];
if (set === undefined || options.out === undefined) {
	console.error(`usage: learn.mjs --run ${Object.keys(SETS).join('|')} --out FOLDER`);
	process.exit(2);
}
const seed = Number(options.seed);
const record = JSON.parse(readFileSync(path.join(options.shapes, options.run, 'run.json'), 'utf8'));
const base = await openBase(path.join(ROOT, 'fixtures/runtime/tiny-shapes'));
const engine = await createOnnxEngine({ threads: Number(options.threads) });
const [t] = base.tokenizers;
const plainTokenizer = runtime.createClipTokenizer({
	vocab: t.vocab,
	merges: t.merges,
	config: t.tokenizerConfig,
	specialTokens: t.specialTokensMap,
	addedTokens: t.addedTokens,
});
const tokenizer = set.token === undefined ? plainTokenizer : plainTokenizer.addTokens([set.token]);
const [textEncoder] = base.textEncoders;
const schedule = runtime.noiseSchedule(base.scheduler.config);

const own = await latentsOf(path.join(options.shapes, set.pictures));
const classes = set.classes ? await latentsOf(path.join(options.shapes, 'class')) : undefined;
const idsOf = (caption) => [...tokenizer.encode(set.word === undefined ? caption : caption.replaceAll(set.word, set.token)).ids];
const captions = record.instance_prompt === undefined ? own.captions : own.captions.map(() => record.instance_prompt);
const ids = captions.map(idsOf);
const classIds = classes?.captions.map(idsOf);
mkdirSync(options.out, { recursive: true });

if (options.run === 'hexagon-inversion') await inversion();
else if (options.run === 'hexagon-pivotal') await pivotal();
else await adapter();
await base.close();
process.exit(0);

async function adapter() {
	const modules = targets(record.text_targets === undefined ? undefined : 'attention');
	const tensors = await trainer.initialTensors(modules, { seed }, { read: notRead, stored: () => undefined });
	const rates = { unet: record.lr, text_encoder: record.text_lr };
	await train(modules, tensors, rates, runtime.createTorchGenerator(seed), record);
	saveAdapter(tensors);
}

async function inversion() {
	const rows = await firstRow();
	await train([], [rows], { tokens: record.lr }, runtime.createTorchGenerator(seed), record, 0);
	saveRow(rows);
}

async function pivotal() {
	const first = JSON.parse(readFileSync(path.join(options.shapes, 'hexagon-inversion/run.json'), 'utf8'));
	const generator = runtime.createTorchGenerator(seed);
	let rows;
	if (options.embedding === undefined) {
		rows = await firstRow();
		await train([], [rows], { tokens: first.lr }, generator, first, 0);
	} else {
		rows = trainer.tokenRows(Float32Array.from(recorded(options.embedding).get(set.token).data), 1);
		// The generator goes on from the inversion.
		for (let i = 0; i < first.steps; i++) draw(generator);
	}
	const modules = targets(undefined);
	const tensors = [...(await trainer.initialTensors(modules, { seed }, { read: notRead, stored: () => undefined }))];
	if (options['recorded-start']) {
		const init = recorded(path.join(options.shapes, options.run, 'init.safetensors'));
		for (const { name, values } of tensors) {
			const key = name.slice('unet.'.length).replace(':down', '.lora_A.default.weight').replace(':up', '.lora_B.default.weight');
			values.set(init.get(key).data);
		}
	}
	await train(modules, [...tensors, rows], { unet: record.lr, tokens: record.row_lr }, generator, record);
	saveAdapter(tensors);
	saveRow(rows);
}

function targets(text) {
	return trainer.targetModules(trainer.modulesOf(base), { rank: record.rank, alpha: record.alpha, unet: 'attention', textEncoder: text });
}

function notRead(name) {
	throw new Error(`${name} is not needed`);
}

/** Captions and mean latents of a folder, scaled. */
async function latentsOf(folder) {
	const lines = readFileSync(path.join(folder, 'metadata.jsonl'), 'utf8')
		.trim()
		.split('\n')
		.map((line) => JSON.parse(line));
	const side = 64;
	const pixels = new Float32Array(lines.length * 3 * side * side);
	for (const [i, { file_name }] of lines.entries()) {
		const { data } = await decodePicture(readFileSync(path.join(folder, file_name)), { name: file_name });
		for (let k = 0; k < side * side; k++) for (let c = 0; c < 3; c++) pixels[(3 * i + c) * side * side + k] = data[3 * k + c] / 127.5 - 1;
	}
	const encoder = runtime.createComponent('vae', engine, base.weights);
	const { mean } = await runtime.encodePixels(encoder, base.vae, runtime.f32Tensor([lines.length, 3, side, side], pixels));
	await encoder.release();
	const scale = Math.fround(base.vae.scalingFactor);
	const shape = mean.shape.slice(1);
	const size = mean.data.length / lines.length;
	return {
		captions: lines.map(({ text }) => text),
		shape,
		latents: lines.map((_, i) => mean.data.slice(i * size, (i + 1) * size).map((x) => x * scale)),
	};
}

/** The id of a word that is one token. */
function onlyToken(word) {
	const [, id, end] = tokenizer.encode(word).ids;
	if (end !== tokenizer.eos) throw new Error(`${word} is not one token`);
	return id;
}

async function firstRow() {
	const id = onlyToken(record.initial_token);
	const source = runtime.parameterSource({ parameters: [], values: [] }, base.weights);
	const all = await source.read('text_encoder.text_model.embeddings.token_embedding.weight');
	return trainer.tokenRows(all.slice(id * textEncoder.hiddenSize, (id + 1) * textEncoder.hiddenSize), 1);
}

/** What the recorded runs drew for a step, in their order. */
function draw(generator) {
	const half = classes === undefined ? BATCH : BATCH / 2;
	const pictures = [...generator.randint(0, ids.length, half)];
	const others = classes === undefined ? [] : [...generator.randint(0, classIds.length, half)];
	const timesteps = [...generator.randint(0, schedule.alphasCumprod.length, BATCH)];
	return { pictures, others, timesteps, noise: generator.randn(BATCH * own.latents[0].length) };
}

function batchOf({ pictures, others, timesteps, noise }) {
	const members = [...pictures.map((i) => [own.latents[i], ids[i]]), ...others.map((i) => [classes.latents[i], classIds[i]])];
	const shape = [members.length, ...own.shape];
	return {
		latents: runtime.f32Tensor(shape, Float32Array.from(members.flatMap(([latents]) => [...latents]))),
		noise: runtime.f32Tensor(shape, noise),
		timesteps,
		text: { ids: members.map(([, row]) => row) },
		weights: members.map((_, i) => (i < pictures.length ? 1 / pictures.length : 1 / others.length)),
	};
}

function validationBatches() {
	const generator = runtime.createTorchGenerator(VALIDATION.seed);
	const timesteps = [...generator.randint(0, schedule.alphasCumprod.length, VALIDATION.count)];
	const size = own.latents[0].length;
	const noise = generator.randn(VALIDATION.count * size);
	return Array.from({ length: VALIDATION.count / BATCH }, (_, k) => {
		const rows = Array.from({ length: BATCH }, (_, i) => k * BATCH + i);
		return batchOf({
			pictures: rows.map((i) => i % ids.length),
			others: [],
			timesteps: rows.map((i) => timesteps[i]),
			noise: noise.slice(k * BATCH * size, (k + 1) * BATCH * size),
		});
	});
}

async function train(modules, tensors, rates, generator, facts, weightDecay) {
	const model = trainer.createTrainingModel({
		unet: base.unet,
		weights: base.weights,
		textEncoder,
		engine: trainer.engineGradients(engine),
		modules,
		tensors,
		prediction: 'epsilon',
		schedule,
		memory: 'fast',
	});
	const optimizer = trainer.createOptimizer(
		{ kind: 'adamw', ...(weightDecay === undefined ? {} : { weight_decay: weightDecay }) },
		tensors,
	);
	const steps = Number(options.steps ?? facts.steps);
	const fixed = validationBatches();
	const losses = [];
	const curve = [];
	const began = performance.now();
	const measure = async (step) => {
		let sum = 0;
		for (const batch of fixed) for (const error of (await model.loss(batch)).errors) sum += error;
		const loss = sum / VALIDATION.count;
		const theirs = facts.validation.find(([at]) => at === step)?.[1];
		curve.push([step, loss, theirs]);
		console.log(
			`${options.run} seed ${seed} step ${step}: fixed-noise loss ${loss.toFixed(5)}, recorded ${theirs?.toFixed(5)}, ratio ${(loss / theirs).toFixed(4)}`,
		);
	};
	for (let step = 0; step < steps; step++) {
		if (step % VALIDATION.every === 0) await measure(step);
		const { loss, gradients } = await model.gradients(batchOf(draw(generator)));
		trainer.clipGradients(gradients, 1);
		optimizer.step(gradients, rates);
		losses.push(loss);
	}
	await measure(steps);
	const apart = losses.map((loss, i) => Math.abs(loss - facts.losses[i]));
	console.log(
		`${options.run} seed ${seed}: ${((performance.now() - began) / 1000).toFixed(1)} s; first losses ${losses.slice(0, 3).map((x) => x.toFixed(5))}, recorded ${facts.losses.slice(0, 3)}; within 1e-4 of the recorded ones for ${apart.findIndex((d) => d > 1e-4)} steps`,
	);
	writeFileSync(
		path.join(options.out, `${facts.token === undefined ? 'run' : modules.length === 0 ? 'inversion' : 'pivotal'}.json`),
		`${JSON.stringify({ seed, seconds: (performance.now() - began) / 1000, curve, losses })}\n`,
	);
	await model.close();
}

/** diffusers' names; alpha is the rank. */
function saveAdapter(tensors) {
	const named = tensors
		.filter(({ group }) => group !== 'tokens')
		.map(({ name, shape, values }) => [name.replace(':down', '.lora_A.weight').replace(':up', '.lora_B.weight'), shape, values]);
	save('pytorch_lora_weights.safetensors', named);
}

function saveRow({ values }) {
	save('learned_embeds.safetensors', [[set.token, [values.length], values]]);
}

/** A safetensors file of float32 tensors. */
function save(name, tensors) {
	let end = 0;
	const entries = tensors.map(([key, shape, values]) => {
		const start = end;
		end += values.byteLength;
		return [key, { dtype: 'F32', shape, data_offsets: [start, end] }];
	});
	const text = JSON.stringify(Object.fromEntries(entries));
	const header = Buffer.from(text.padEnd(Math.ceil(Buffer.byteLength(text) / 8) * 8));
	const length = Buffer.alloc(8);
	length.writeBigUInt64LE(BigInt(header.length));
	const data = tensors.map(([, , values]) => Buffer.from(values.buffer, values.byteOffset, values.byteLength));
	writeFileSync(path.join(options.out, name), Buffer.concat([length, header, ...data]));
}
