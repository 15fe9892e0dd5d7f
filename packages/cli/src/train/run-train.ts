import { FormatError, loadKernel, type Warning } from '@lorakit/format';
import { planText } from '@lorakit/trainer';
import { planTraining, pushToHub, type TrainHooks, trainFromConfig } from '@lorakit/trainer/node';
import type { Output } from '../output.js';
import { type EndSignal, endBySignal, holdSignals } from '../signals.js';
import type { TrainFlags } from './train-flags.js';
import { type TrainProgress, trainProgress } from './train-progress.js';
import { type TrainReport, trainDocument, trainText } from './train-report.js';
import type { TrainRequest } from './train-request.js';

/** Print the plan of a run. @throws {FormatError} what would be refused when it runs */
export async function printPlan({ config, options }: TrainRequest, flags: TrainFlags, output: Output): Promise<void> {
	await loadKernel();
	const told = listener(output);
	try {
		const plan = await planTraining(config, { ...options, measure: flags.measure !== false }, told.hooks);
		if (output.mode.json === true) output.document(plan, true);
		else output.text(planText(plan));
		output.warn(told.warnings);
	} finally {
		told.progress.end();
	}
}

/**
 * Train, print what came of it, and publish it where that was asked for. The first signal saves the run and ends it in order.
 * @throws {FormatError} of every part
 */
export async function trainAndPrint({ config, options }: TrainRequest, flags: TrainFlags, output: Output): Promise<void> {
	await loadKernel();
	const told = listener(output);
	const stop = new AbortController();
	let signal: EndSignal | undefined;
	const release = holdSignals((name) => {
		signal = name;
		stop.abort();
		told.progress.end();
		output.note('stopping: this step is given up and the run is saved; again to end at once');
	});
	try {
		const outcome = await trainFromConfig(config, options, { ...told.hooks, signal: stop.signal });
		const saved = outcome.saved;
		const pushed =
			flags.pushToHub === undefined || saved === undefined
				? undefined
				: await pushToHub(outcome.folder, {
						repo: flags.pushToHub,
						paths: saved.files.map(({ path }) => path),
						private: flags.privateRepo,
						overwrite: flags.overwrite,
						title: `Upload ${outcome.facts.title}, trained with lorakit`,
						signal: stop.signal,
						onProgress: (path, done) => told.progress.work(`uploading ${path}`, Math.round(done * 100), 100, 'count'),
					});
		told.progress.end();
		if (outcome.truncated.length > 0)
			output.note(`${outcome.truncated.length} captions are longer than the text encoder reads; their ends were not seen`);
		for (const note of outcome.plan.notes) output.note(note);
		const report: TrainReport = {
			objective: options.objective,
			outcome,
			pushed,
			notes: told.notes,
			warnings: [...told.warnings, ...outcome.plan.warnings, ...(saved?.warnings ?? [])],
		};
		if (output.mode.json === true) output.document(trainDocument(report), true);
		else if (output.mode.quiet === true) for (const { path } of saved?.files ?? []) output.line(`${outcome.folder}/${path}`);
		else output.text(trainText(report));
		output.warn(report.warnings);
		if (signal !== undefined && outcome.reason === 'stopped') endBySignal(signal, `step ${outcome.step} is saved; go on with --resume`);
	} catch (error) {
		told.progress.end();
		if (signal !== undefined && error instanceof FormatError && error.code === 'E_INTERRUPTED')
			endBySignal(signal, 'the run had not begun; what is in its caches stays');
		throw error;
	} finally {
		release();
		told.progress.end();
	}
}

/** What a run says goes to the progress line, to notes, and is kept for the report. */
function listener(output: Output): {
	readonly hooks: TrainHooks;
	readonly progress: TrainProgress;
	readonly notes: readonly string[];
	readonly warnings: readonly Warning[];
} {
	const progress = trainProgress(output);
	const notes: string[] = [];
	const warnings: Warning[] = [];
	return {
		progress,
		notes,
		warnings,
		hooks: {
			onEvent: progress.event,
			onWork: progress.work,
			note(text) {
				notes.push(text);
				output.note(text);
			},
			warn: (more) => void warnings.push(...more),
		},
	};
}
