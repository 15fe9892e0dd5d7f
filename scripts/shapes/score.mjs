#!/usr/bin/env node
/**
 * Scores adapters over tiny-shapes as the recorded runs were scored (reference/training/shapes/README.md):
 *
 *   node scripts/shapes/score.mjs --run striped-lora|crescent-dreambooth|hexagon-inversion|hexagon-pivotal
 *     [--lora FILE] [--embedding FILE] [--scale 0,0.5,1] [--repeat N] [--limit N] [--others] [--engine onnx] [--json FILE]
 *
 * Prompts, seeds and the recorded figures: fixtures/training/classifier/runs.json. `--repeat 4` draws each prompt four times,
 * the k-th time with seed + 10000 k. Which "other prompts" the recorded runs used is not recorded (a generator's seed 404
 * is); `--others` takes the 64 one-shape prompts of tiny-shapes/judged.json, so that figure is compared with the base's, not
 * with the recorded one.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openClassifier } from './classifier.mjs';
import { wordsOf } from './prompt-words.mjs';
import { openShapesModel } from './shapes-model.mjs';

const ROOT = path.join(import.meta.dirname, '../..');
const RUNS = JSON.parse(readFileSync(path.join(ROOT, 'fixtures/training/classifier/runs.json'), 'utf8'));
const ADAPTERS = path.join(ROOT, 'fixtures/runtime/adapters');
const SHAPES = path.join(ROOT, '../shared/reference/training/shapes');
const TOKENS = { '<hex>': 'hexagon' };
/** Seeds of the other prompts; of a repeated prompt. */
const OTHERS_SEED = 4000;
const REPEAT_SEED = 10_000;

/** The adapters of the recorded runs. */
export const RECORDED = {
	'striped-lora': { lora: path.join(ADAPTERS, 'striped.safetensors') },
	'crescent-dreambooth': { lora: path.join(ADAPTERS, 'crescent.safetensors') },
	'hexagon-inversion': { embedding: path.join(ADAPTERS, 'hexagon.safetensors') },
	'hexagon-pivotal': {
		lora: path.join(SHAPES, 'hexagon-pivotal/pytorch_lora_weights.safetensors'),
		embedding: path.join(SHAPES, 'hexagon-pivotal/learned_embeds.safetensors'),
	},
};

const mean = (values) => values.reduce((a, b) => a + Number(b), 0) / values.length;

/** What the judge says of one picture. */
function judged(judge, picture, prompt) {
	const { read, probabilities } = judge.look(picture);
	return { prompt, asked: wordsOf(prompt, TOKENS), read, probabilities, rule: judge.colours(picture) };
}

/** Figures of a run, by the names of its run.json. All are means over pictures. */
const METRICS = {
	'striped-lora': (pictures) => ({
		striped: mean(pictures.map(({ read }) => read.style === 'striped')),
		p_striped: mean(pictures.map(({ probabilities }) => probabilities.style.striped)),
		shape: mean(pictures.map(({ read, asked }) => read.shape === asked.shape)),
		colour_cnn: mean(pictures.map(({ read, asked }) => read.colour === asked.colour)),
		background_rule: mean(pictures.map(({ rule, asked }) => rule.background === asked.background)),
	}),
	'crescent-dreambooth': (pictures) => ({
		crescent: mean(pictures.map(({ read }) => read.shape === 'crescent')),
		crescent_plain_prompt: mean(
			pictures.filter(({ prompt }) => !prompt.includes('background')).map(({ read }) => read.shape === 'crescent'),
		),
		p_crescent: mean(pictures.map(({ probabilities }) => probabilities.shape.crescent)),
		purple: mean(pictures.map(({ rule }) => rule.colour === 'purple')),
		background: mean(pictures.map(({ rule, asked }) => rule.background === asked.background)),
	}),
	'hexagon-inversion': (pictures) => ({
		hexagon: mean(pictures.map(({ read }) => read.shape === 'hexagon')),
		p_hexagon: mean(pictures.map(({ probabilities }) => probabilities.shape.hexagon)),
		colour: mean(pictures.map(({ rule, asked }) => rule.colour === asked.colour)),
		background: mean(pictures.map(({ rule, asked }) => rule.background === asked.background)),
	}),
};
METRICS['hexagon-pivotal'] = METRICS['hexagon-inversion'];

/** Obedience to prompts of one shape. */
function obedience(pictures) {
	const by = {
		shape: ({ read, asked }) => read.shape === asked.shape,
		colour: ({ rule, asked }) => rule.colour === asked.colour,
		background: ({ rule, asked }) => rule.background === asked.background,
		size: ({ read, asked }) => read.size === asked.size,
		position: ({ read, asked }) => read.position === asked.position,
	};
	const figures = Object.fromEntries(Object.entries(by).map(([name, right]) => [name, mean(pictures.map(right))]));
	return { ...figures, all_three: mean(pictures.map((p) => by.shape(p) && by.colour(p) && by.background(p))), pictures: pictures.length };
}

/** Prompts of a run and their seeds. @param {keyof typeof RUNS} run */
export function promptsOf(run, { repeat = 1, limit = Number.POSITIVE_INFINITY } = {}) {
	const own = RUNS[run];
	const prompts = (typeof own.prompts === 'string' ? RUNS[own.prompts].prompts : own.prompts).slice(0, limit);
	const plain = own.plain_prompts?.slice(0, limit);
	const times = Array.from({ length: repeat }, (_, k) => k);
	return {
		prompts: times.flatMap(() => prompts),
		plain: plain === undefined ? undefined : times.flatMap(() => plain),
		seeds: times.flatMap((k) => prompts.map((_, i) => own.first_seed + i + k * REPEAT_SEED)),
	};
}

/** Sixty-four prompts of one shape each, of the base's own table. */
export function otherPrompts(limit = 64) {
	const { prompts } = JSON.parse(readFileSync(path.join(ROOT, 'fixtures/runtime/tiny-shapes/judged.json'), 'utf8'));
	return prompts.slice(0, Math.min(limit, 64));
}

/**
 * Figures of pictures that are already drawn.
 * @param {keyof typeof METRICS} run @param {readonly Uint8Array[]} pictures of `promptsOf(run).prompts`
 * @param {readonly Uint8Array[] | undefined} plain of `promptsOf(run).plain`
 */
export function scorePictures(run, prompts, pictures, plain, judge = openClassifier()) {
	const all = pictures.map((picture, i) => judged(judge, picture, prompts[i]));
	const scores = METRICS[run](all);
	if (plain !== undefined) scores.plain_prompt_striped = mean(plain.map((picture) => judge.look(picture).read.style === 'striped'));
	return scores;
}

/**
 * Draws and scores, at one scale.
 * @param {Awaited<ReturnType<typeof openShapesModel>>} model with the run's embeddings in use
 */
export async function score(model, run, { lora, scale = 1, repeat, limit, others = false }, judge = openClassifier()) {
	await model.useAdapter(lora, scale);
	const { prompts, plain, seeds } = promptsOf(run, { repeat, limit });
	const pictures = await model.draw(prompts, seeds);
	const plainPictures = plain === undefined ? undefined : await model.draw(plain, seeds);
	const scores = { ...scorePictures(run, prompts, pictures, plainPictures, judge), pictures: pictures.length };
	if (others) {
		const asked = otherPrompts(limit);
		const drawn = await model.draw(
			asked,
			asked.map((_, i) => OTHERS_SEED + i),
		);
		scores.other_prompts = obedience(drawn.map((picture, i) => judged(judge, picture, asked[i])));
	}
	return scores;
}

async function main() {
	const { values } = parseArgs({
		options: {
			run: { type: 'string' },
			lora: { type: 'string' },
			embedding: { type: 'string' },
			scale: { type: 'string', default: '0,0.5,1' },
			repeat: { type: 'string', default: '1' },
			limit: { type: 'string', default: '128' },
			others: { type: 'boolean', default: false },
			engine: { type: 'string', default: 'onnx' },
			json: { type: 'string' },
		},
	});
	const { run } = values;
	if (!(run in RUNS)) {
		console.error(`--run ${run} is none of ${Object.keys(RUNS).join(', ')}`);
		process.exit(2);
	}
	const given = values.lora !== undefined || values.embedding !== undefined;
	const { lora, embedding } = given ? values : RECORDED[run];
	const model = await openShapesModel(values.engine);
	const judge = openClassifier();
	const results = {};
	await model.useEmbeddings(embedding);
	const scales = lora === undefined ? ['1'] : values.scale.split(',');
	for (const scale of scales) {
		const options = { lora, scale: Number(scale), repeat: Number(values.repeat), limit: Number(values.limit), others: values.others };
		results[scale] = await score(model, run, options, judge);
		console.log(`${run} scale ${scale}: ${JSON.stringify(results[scale])}`);
		const recorded = RUNS[run].scales[lora === undefined ? 'after' : scale];
		if (!given && recorded !== undefined) console.log(`  recorded: ${JSON.stringify(recorded)}`);
	}
	await model.close();
	if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ run, lora, embedding, results }, null, 1)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
