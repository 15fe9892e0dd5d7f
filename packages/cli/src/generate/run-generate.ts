import { loadKernel, type Warning } from '@lorakit/format';
import {
	createTorchGenerator,
	type EncodedPrompt,
	type Engine,
	generate,
	type HostTensor,
	pixelsPerLatent,
	type StableDiffusion,
} from '@lorakit/runtime';
import type { Rgb } from '@lorakit/runtime/node';
import { doraRule } from '../dora-strength.js';
import type { Output } from '../output.js';
import { type Guarded, signalsEndAtOnce } from '../signals.js';
import { type AdaptedModel, createAdaptedModel } from './adapted-model.js';
import { type BaseIdentity, identifyBase, modelHash } from './base-identity.js';
import type { GenerateRequest } from './generate-request.js';
import { type GenerationInputs, type KnownAdapter, openInputs } from './generation-inputs.js';
import { type GenerationProgress, generationProgress } from './generation-progress.js';
import { drawSheet, putPicture, type SheetLayout, sheetLayout } from './grid-sheet.js';
import { type GridAxis, gridCells } from './grid-spec.js';
import { DEVICES, openEngine } from './open-engine.js';
import { type OutputPlan, planOutputs } from './output-plan.js';
import { adaptersByJob, type JobAdapters, type PictureJob, pictureJobs } from './picture-jobs.js';
import type { PictureRecord } from './picture-record.js';
import { checkSettings, idleSettings } from './picture-settings.js';
import { ONE_PICTURE, type PictureView } from './picture-view.js';
import { type PromptEncoder, promptEncoder, truncatedTexts } from './prompt-encoder.js';
import { sourcePrompt } from './prompt-words.js';
import { type InitPicture, startPixels } from './read-init-picture.js';
import { type RunAttention, runAttention } from './run-attention.js';
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
	/** What `--init-image` gives, in the size that is drawn. */
	readonly start: HostTensor | undefined;
	readonly progress: GenerationProgress;
	/** Told what is to be known of adapters; what was said already is said once. */
	readonly warn: (warnings: readonly Warning[]) => void;
	/** Everything that writes a file runs in it. */
	readonly writing: Guarded;
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
		return await signalsEndAtOnce((writing) => runOpened(request, inputs, jobs, output, writing));
	} finally {
		await inputs.close();
	}
}

async function runOpened(
	request: GenerateRequest,
	inputs: GenerationInputs,
	jobs: readonly PictureJob[],
	output: Output,
	writing: Guarded,
): Promise<GenerateResult> {
	const { base, tokenizers } = inputs;
	const [first] = jobs;
	if (first === undefined) throw new TypeError('nothing to make');
	const seeds = jobs.map(({ settings }) => settings.seed);
	const plan = planOutputs(request.out, {
		seeds,
		grid: request.grid !== undefined,
		edits: request.edit?.edits.length ?? 0,
		attention: request.attention.length > 0,
		view: request.view,
		force: request.force,
		inputs: inputs.files,
	});
	const grid = request.grid === undefined ? undefined : labelsOf(request.grid.axes, request);
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
		doraStrength: doraRule(request.doraStrength),
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
		for (const job of [...byLora.values(), first]) {
			const { model, warnings } = await adapted.use(adaptersOf(job).uses);
			warn(warnings);
			attentionOf(request, model, job);
		}
		const identity = await identifyBase(base);
		const start = inputs.init === undefined ? undefined : startPixels(inputs.init, width, height);
		const run: Run = { request, inputs, jobs, engine, adaptersOf, plan, layout, identity, adapted, start, progress, warn, writing };
		const made = request.dryRun ? wouldMake(run, first) : await makeAll(run);
		return {
			...made,
			architecture: base.architecture,
			grid,
			notes: [
				...new Set(inputs.prompts.flatMap(({ notes }) => notes)),
				...(inputs.init?.notes ?? []),
				...(request.engine.precision === 'fp16' && engine.device === 'cpu' ? [NO_HALF] : []),
				...(request.doraStrength !== 'interpolate' && !inputs.adapters.some(hasDora)
					? ['No adapter here is a DoRA, so --dora-strength has no effect.']
					: []),
				...idleSettings(
					base,
					jobs.map(({ settings }) => settings),
					inputs.prompts.some(({ weighed }) => weighed),
				),
			],
			warnings: [...base.warnings, ...said.values(), ...made.truncated.map(truncatedWarning)],
		};
	} finally {
		progress.end();
		await adapted.close();
	}
}

/** The labels of a sheet: a column of an axis has one for the source and for each edit. */
function labelsOf(axes: readonly GridAxis[], { edit, settings }: GenerateRequest): NonNullable<GenerateResult['grid']> {
	const { rows, columns } = gridCells(axes);
	if (edit === undefined) return { rows, columns };
	const pictures = ['source', ...edit.edits.map(({ prompt }) => (prompt === settings.prompt ? 'reweighted' : prompt))];
	return { rows, columns: columns.flatMap((column) => pictures.map((picture) => `${column}: ${picture}`)) };
}

const NO_HALF = 'The cpu has no float16 of its own: --precision fp16 rounds to it and computes in float32, which takes longer.';

function hasDora({ use: { adapter } }: KnownAdapter): boolean {
	return adapter.modules.some(({ factors }) => factors.magnitude !== undefined);
}

function truncatedWarning(text: string): Warning {
	return {
		code: 'W_PROMPT_TRUNCATED',
		message: `The text encoder reads 77 tokens, so this end of a prompt has no effect: ${text.slice(0, 200)} (--weighting a1111 reads all).`,
	};
}

function wouldMake(run: Run, first: PictureJob): Pick<GenerateResult, 'files' | 'truncated'> {
	const { jobs, plan, layout, inputs, request } = run;
	return {
		truncated: truncatedTexts(inputs, jobs, request),
		files: plan.runs.flatMap((files, i) =>
			files.map(({ path, view }) => ({
				path,
				record: layout === undefined ? recordOf(run, jobs[i] ?? first, view) : sheetRecord(run),
				made: undefined,
			})),
		),
	};
}

async function makeAll(run: Run): Promise<Pick<GenerateResult, 'files' | 'truncated'>> {
	const { jobs, plan, layout } = run;
	const files: GeneratedFile[] = [];
	const sheet = layout === undefined ? undefined : drawSheet(layout);
	const encode = promptEncoder(run.request);
	const truncated = new Set<string>();
	const began = performance.now();
	for (const [n, job] of jobs.entries()) {
		const start = performance.now();
		const { pictures, attention, prompt } = await makeOne(run, job, n, encode);
		for (const text of prompt.truncated) truncated.add(text);
		if (layout !== undefined && sheet !== undefined && job.cell !== undefined) {
			const { row, column } = job.cell;
			for (const [i, picture] of pictures.entries()) putPicture(sheet, layout, row, column * pictures.length + i, picture);
			continue;
		}
		const seconds = performance.now() - start;
		for (const { path, view } of plan.runs[n] ?? []) {
			files.push(await put(run, path, recordOf(run, job, view), viewed(view, pictures, attention, job), seconds, files.length === 0));
		}
	}
	if (sheet !== undefined) files.push(await put(run, plan.runs[0]?.[0]?.path, sheetRecord(run), sheet, performance.now() - began, true));
	return { files, truncated: [...truncated] };
}

/** What of a run a file shows. */
function viewed({ shows, picture }: PictureView, pictures: readonly Uint8Array[], attention: RunAttention, { settings }: PictureJob): Rgb {
	if (shows === 'edits') return attention.editSheet(pictures);
	if (shows === 'attention') return attention.attentionSheet(pictures);
	const data = pictures[picture];
	if (data === undefined) throw new TypeError('a run without its picture');
	return { width: settings.width, height: settings.height, data };
}

function attentionOf({ attention, weighting }: GenerateRequest, model: StableDiffusion, { settings, edit }: PictureJob): RunAttention {
	return runAttention(model, sourcePrompt(weighting, settings), { edit, words: attention }, settings.width, settings.height);
}

interface MadeRun {
	/** (height, width, 3): the source, then its edits. */
	readonly pictures: readonly Uint8Array[];
	readonly attention: RunAttention;
	readonly prompt: EncodedPrompt;
}

async function makeOne(
	{ request, adapted, start, progress, adaptersOf, warn }: Run,
	job: PictureJob,
	n: number,
	encode: PromptEncoder,
): Promise<MadeRun> {
	const { settings } = job;
	const { width, height, strength } = settings;
	const adapters = adaptersOf(job);
	const { model, warnings } = await adapted.use(adapters.uses);
	warn(warnings);
	const prompt = await encode(model, job, adapters);
	const attention = attentionOf(request, model, job);
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
		// Edits begin with the noise of the source.
		generators: attention.prompts.map(() => createTorchGenerator(settings.seed)),
		count: attention.prompts.length,
		init: start === undefined || strength === undefined ? undefined : { pixels: start, strength },
		control: attention.control,
	});
	const factor = pixelsPerLatent(model.base.vae);
	for (;;) {
		const { value, done } = await loop.next();
		if (done === true) return { pictures: value.pictures, attention, prompt };
		progress.step(n, value, height / factor, width / factor);
	}
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
	const { request, identity, inputs, plan, writing } = run;
	const bytes =
		path === undefined
			? undefined
			: await writing(() =>
					writePicture(path, picture, record, {
						modelHash: modelHash(identity),
						force: request.force,
						inputs: inputs.files,
						folder: plan.folder,
					}),
				);
	return { path, record, made: { picture: keep ? picture : undefined, bytes, seconds: milliseconds / 1000 } };
}

/** A sheet is recorded with the settings of the command line; its axes say the rest. */
function sheetRecord(run: Run): PictureRecord {
	const { jobs, request, inputs } = run;
	const { width, height } = jobs[0]?.settings ?? { width: 0, height: 0 };
	const settings = { ...request.settings, width, height };
	const record = recordOf(run, { settings, scale: undefined, lora: undefined, edit: request.edit, cell: undefined }, ONE_PICTURE);
	return { ...record, adapters: inputs.adapters.map((adapter) => adapter.record), grid: request.grid?.text ?? null };
}

function recordOf({ request, inputs, identity, engine, adaptersOf }: Run, job: PictureJob, view: PictureView): PictureRecord {
	const { settings } = job;
	const { base, reading } = request;
	return {
		schema: 'lora.picture/1',
		version: LORAKIT_VERSION,
		engine: {
			id: request.engine.engine,
			device: DEVICES.find((d) => d === engine.device) ?? 'cpu',
			threads: request.engine.threads,
			precision: request.engine.precision,
		},
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
		init: inputs.init === undefined ? null : initRecord(inputs.init),
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
			doraStrength: request.doraStrength,
		},
		grid: null,
		edit: request.edit ?? null,
		attention: request.attention,
		view,
	};
}

function initRecord({ path, sha256, picture }: InitPicture): PictureRecord['init'] {
	return { path, sha256, width: picture.width, height: picture.height };
}
