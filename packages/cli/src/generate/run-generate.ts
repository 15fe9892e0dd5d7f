import { loadKernel, type Warning } from '@lorakit/format';
import { createTorchGenerator, type EncodedPrompt, type Engine, generate, type StableDiffusion } from '@lorakit/runtime';
import type { Output } from '../output.js';
import { type AdaptedModel, createAdaptedModel } from './adapted-model.js';
import { type BaseIdentity, identifyBase, modelHash } from './base-identity.js';
import type { GenerateRequest } from './generate-request.js';
import { type GenerationInputs, openInputs } from './generation-inputs.js';
import { type GenerationProgress, generationProgress } from './generation-progress.js';
import { drawSheet, putPicture, type SheetLayout, sheetLayout } from './grid-sheet.js';
import { gridCells } from './grid-spec.js';
import { DEVICES, openEngine } from './open-engine.js';
import { type OutputPlan, planOutputs } from './output-plan.js';
import { adaptersByJob, type JobAdapters, type PictureJob, pictureJobs } from './picture-jobs.js';
import type { PictureRecord } from './picture-record.js';
import { checkSettings, idleSettings } from './picture-settings.js';
import type { Rgb } from './png.js';
import { encodePrompts } from './prompt-language.js';
import { writePicture } from './write-picture.js';

/** Replaced by the bundler with the version of package.json. */
declare const LORAKIT_VERSION: string;

/** One file that was written, or would be. */
export interface GeneratedFile {
	/** undefined: compared only. */
	readonly path: string | undefined;
	readonly record: PictureRecord;
	/** undefined under `--dry-run`. The picture itself only of the first file: a thousand would fill the memory. */
	readonly made: { readonly picture: Rgb | undefined; readonly bytes: number | undefined; readonly seconds: number } | undefined;
}

export interface GenerateResult {
	readonly files: readonly GeneratedFile[];
	readonly architecture: string;
	/** Labels of the sheet. */
	readonly grid: { readonly rows: readonly string[]; readonly columns: readonly string[] } | undefined;
	/** The ends of texts that the text encoder did not see. */
	readonly truncated: readonly string[];
	readonly notes: readonly string[];
	readonly warnings: readonly Warning[];
}

/** Everything that making pictures needs. */
interface Run {
	readonly request: GenerateRequest;
	readonly inputs: GenerationInputs;
	readonly jobs: readonly PictureJob[];
	readonly engine: Engine;
	readonly adaptersOf: (job: Pick<PictureJob, 'scale' | 'lora'>) => JobAdapters;
	readonly plan: OutputPlan;
	readonly layout: SheetLayout | undefined;
	readonly identity: BaseIdentity;
	readonly adapted: AdaptedModel;
	readonly progress: GenerationProgress;
	/** Told what is to be known of adapters; what was said already is said once. */
	readonly warn: (warnings: readonly Warning[]) => void;
}

/**
 * Make the pictures of a request, each written whole as soon as it is there.
 * @throws {FormatError} of every part. What was written before stays, and is whole.
 */
export async function runGenerate(request: GenerateRequest, output: Output): Promise<GenerateResult> {
	await loadKernel();
	let jobs: readonly PictureJob[] = [];
	const inputs = await openInputs(
		request,
		(base, init) => {
			jobs = pictureJobs(request, base, init);
			for (const job of jobs) checkSettings(base, job.settings);
		},
		(text) => output.note(text),
	);
	try {
		return await runOpened(request, inputs, jobs, output);
	} finally {
		await inputs.close();
	}
}

async function runOpened(
	request: GenerateRequest,
	inputs: GenerationInputs,
	jobs: readonly PictureJob[],
	output: Output,
): Promise<GenerateResult> {
	const { base, tokenizers } = inputs;
	const [first] = jobs;
	if (first === undefined) throw new TypeError('nothing to make');
	const seeds = jobs.map(({ settings }) => settings.seed);
	const plan = planOutputs(request.out, seeds, request.grid !== undefined, request.force, inputs.files);
	const grid = request.grid === undefined ? undefined : gridCells(request.grid.axes);
	const { width, height } = first.settings;
	const layout = grid === undefined ? undefined : sheetLayout(grid.rows, grid.columns, width, height);
	const engine = await openEngine(request.engine);
	const progress = generationProgress(output, base.architecture, jobs.length);
	const adapted = createAdaptedModel({
		base,
		engine,
		tokenizers,
		embeddings: inputs.embeddings.flatMap((e) => e.embeddings),
		fused: request.fused,
		onProgress: progress.loading,
	});
	const adaptersOf = adaptersByJob(inputs.adapters);
	try {
		const said = new Map<string, Warning>();
		const warn = (warnings: readonly Warning[]): void => {
			for (const warning of warnings) said.set(JSON.stringify([warning.code, warning.message]), warning);
		};
		// What adapters are refused for is said before anything is loaded, those of every cell of a grid.
		const byLora = new Map(jobs.map((job) => [job.lora, job]));
		byLora.delete(first.lora);
		for (const job of [...byLora.values(), first]) warn((await adapted.use(adaptersOf(job).uses)).warnings);
		const identity = await identifyBase(base);
		const run: Run = { request, inputs, jobs, engine, adaptersOf, plan, layout, identity, adapted, progress, warn };
		const made = request.dryRun ? wouldMake(run, first) : await makeAll(run);
		return {
			...made,
			architecture: base.architecture,
			grid: grid === undefined ? undefined : { rows: grid.rows, columns: grid.columns },
			notes: [
				...inputs.prompts.notes,
				...idleSettings(
					base,
					jobs.map(({ settings }) => settings),
				),
			],
			warnings: [...base.warnings, ...said.values()],
		};
	} finally {
		progress.end();
		await adapted.close();
	}
}

function wouldMake(run: Run, first: PictureJob): Pick<GenerateResult, 'files' | 'truncated'> {
	const { jobs, plan, layout, inputs } = run;
	const wanted = layout === undefined ? jobs.map((job) => recordOf(run, job)) : [sheetRecord(run)];
	return {
		truncated: truncatedTexts(inputs, first),
		files: wanted.map((record, i) => ({ path: plan.paths[i], record, made: undefined })),
	};
}

async function makeAll(run: Run): Promise<Pick<GenerateResult, 'files' | 'truncated'>> {
	const { jobs, plan, layout } = run;
	const files: GeneratedFile[] = [];
	const sheet = layout === undefined ? undefined : drawSheet(layout);
	const encode = promptEncoder(run.inputs);
	let truncated: readonly string[] = [];
	const began = performance.now();
	for (const [n, job] of jobs.entries()) {
		const start = performance.now();
		const { picture, prompt } = await makeOne(run, job, n, encode);
		if (n === 0) truncated = prompt.truncated;
		if (layout !== undefined && sheet !== undefined && job.cell !== undefined) {
			putPicture(sheet, layout, job.cell.row, job.cell.column, picture.data);
		} else files.push(await put(run, plan.paths[n], recordOf(run, job), picture, performance.now() - start, n === 0));
	}
	if (sheet !== undefined) files.push(await put(run, plan.paths[0], sheetRecord(run), sheet, performance.now() - began, true));
	return { files, truncated };
}

async function makeOne(
	{ adapted, inputs, progress, adaptersOf, warn }: Run,
	job: PictureJob,
	n: number,
	encode: PromptEncoder,
): Promise<{ readonly picture: Rgb; readonly prompt: EncodedPrompt }> {
	const { settings } = job;
	const { width, height, strength } = settings;
	const adapters = adaptersOf(job);
	const { model, warnings } = await adapted.use(adapters.uses);
	warn(warnings);
	const prompt = await encode(model, job, adapters);
	const { init } = inputs;
	const loop = generate(model, {
		prompt,
		scheduler: settings.scheduler,
		schedulerConfig: settings.schedulerOptions,
		steps: settings.steps,
		guidance: settings.guidance,
		guidanceRescale: settings.guidanceRescale,
		eta: settings.eta,
		height,
		width,
		generators: [createTorchGenerator(settings.seed)],
		init: init === undefined || strength === undefined ? undefined : { pixels: init.pixels, strength },
	});
	const halvings = model.base.vae.blockOutChannels.length - 1;
	for (;;) {
		const { value, done } = await loop.next();
		if (done === true) {
			const [data] = value.pictures;
			if (data === undefined) throw new TypeError('a run without a picture');
			return { picture: { width, height, data }, prompt };
		}
		progress.step(n, value.call, value.calls, value.latents, height >> halvings, width >> halvings);
		// Ctrl-C is heard here also under engines that never let go of the thread.
		await new Promise((resolve) => setImmediate(resolve));
	}
}

type PromptEncoder = (model: StableDiffusion, job: PictureJob, adapters: JobAdapters) => Promise<EncodedPrompt>;

/** The last prompt is kept: a grid over seeds encodes it once. */
function promptEncoder({ prompts }: GenerationInputs): PromptEncoder {
	let last: { readonly key: string; readonly adapters: JobAdapters; readonly prompt: EncodedPrompt } | undefined;
	return async (model, { settings }, adapters) => {
		const key = JSON.stringify([settings.clipSkip, settings.width, settings.height]);
		if (last !== undefined && last.key === key && last.adapters === adapters) return last.prompt;
		last = { key, adapters, prompt: await encodePrompts(model, prompts, settings) };
		return last.prompt;
	};
}

/** What diffusers' way of reading cuts off, without running anything. */
function truncatedTexts({ tokenizers, prompts }: GenerationInputs, { settings }: PictureJob): readonly string[] {
	if (prompts.weighting !== 'none') return [];
	return [settings.prompt, settings.negative ?? ''].flatMap((text) => tokenizers[0]?.encode(text).truncated ?? []);
}

/** @param keep hold on to the picture: it may be compared */
async function put(
	run: Run,
	path: string | undefined,
	record: PictureRecord,
	picture: Rgb,
	milliseconds: number,
	keep: boolean,
): Promise<GeneratedFile> {
	const { request, identity, inputs, plan } = run;
	const bytes =
		path === undefined
			? undefined
			: await writePicture(path, picture, record, {
					modelHash: modelHash(identity),
					force: request.force,
					inputs: inputs.files,
					folder: plan.folder,
				});
	return { path, record, made: { picture: keep ? picture : undefined, bytes, seconds: milliseconds / 1000 } };
}

/** A sheet is recorded with the settings of the command line; its axes say the rest. */
function sheetRecord(run: Run): PictureRecord {
	const { jobs, request, inputs } = run;
	const { width, height } = jobs[0]?.settings ?? { width: 0, height: 0 };
	const settings = { ...request.settings, width, height };
	const record = recordOf(run, { settings, scale: undefined, lora: undefined, cell: undefined });
	return { ...record, adapters: inputs.adapters.map((adapter) => adapter.record), grid: request.grid?.text ?? null };
}

function recordOf({ request, inputs, identity, engine, adaptersOf }: Run, job: PictureJob): PictureRecord {
	const { settings } = job;
	const { base, reading } = request;
	return {
		schema: 'lora.picture/1',
		version: LORAKIT_VERSION,
		engine: { id: request.engine.engine, device: DEVICES.find((d) => d === engine.device) ?? 'cpu', threads: request.engine.threads },
		base: {
			path: base.path,
			variant: base.variant ?? null,
			config: base.config ?? null,
			tokenizer: base.tokenizer ?? null,
			files: [...identity.files],
			configuration: identity.configuration,
		},
		adapters: [...adaptersOf(job).records],
		reading: { from: reading.from ?? null, order: reading.order ?? null, repair: reading.repair },
		embeddings: inputs.embeddings.map(({ path, sha256, token }) => ({ path, sha256, token: token ?? null })),
		init: inputs.init === undefined ? null : { path: inputs.init.path, sha256: inputs.init.sha256 },
		settings: {
			prompt: settings.prompt,
			negative: settings.negative ?? null,
			seed: String(settings.seed),
			steps: settings.steps,
			scheduler: settings.scheduler,
			schedulerOptions: { ...settings.schedulerOptions },
			guidance: settings.guidance,
			guidanceRescale: settings.guidanceRescale,
			eta: settings.eta,
			clipSkip: settings.clipSkip,
			width: settings.width,
			height: settings.height,
			strength: settings.strength ?? null,
			weighting: request.weighting,
			fused: request.fused,
		},
		grid: null,
	};
}
