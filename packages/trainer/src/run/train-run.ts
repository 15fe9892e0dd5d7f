import { FormatError } from '@lorakit/format';
import type { TrainingBatch } from '../model/training-batch.js';
import type { TrainingModel } from '../model/training-model.js';
import { clipGradients } from '../optimizers/clip-gradients.js';
import type { EmaModel } from '../optimizers/ema-model.js';
import type { LossScaler } from '../optimizers/loss-scaler.js';
import type { Optimizer } from '../optimizers/optimizer.js';
import type { BatchSource } from './batch-source.js';
import { type CheckpointOptions, createCheckpointer } from './checkpointer.js';
import { type Gathered, gatherer } from './gather-step.js';
import { isInterruption } from './interruption.js';
import { type NonFinite, nonFiniteError, valuesAreFinite } from './non-finite.js';
import { parameterCounts } from './parameter-counts.js';
import type { EndReason, Rates, RunEvent, ValidationPicture } from './run-events.js';
import type { BestMeasured, RunSnapshot } from './run-snapshot.js';
import { restoreRun, snapshotOf } from './run-state.js';
import { type StepTiming, scheduleIndexOf } from './step-rule.js';
import { createStopwatch } from './stopwatch.js';

export interface ValidationOptions {
	/** Optimizer steps between measurements; also before the first step and after the last. */
	readonly every: number;
	/** The same batches each time; left out: nothing is measured. */
	readonly batches?: (() => AsyncIterable<TrainingBatch> | Iterable<TrainingBatch>) | undefined;
	/** Pictures with the values of now. */
	readonly pictures?: ((step: number) => Promise<readonly ValidationPicture[]>) | undefined;
	/** The result is the best measured step. */
	readonly keepBest: boolean;
	/** End after so many measurements without a better one. */
	readonly patience?: number | undefined;
}

/** A run: everything it needs, already made. */
export interface TrainRunOptions {
	readonly model: TrainingModel;
	/** Over `model.tensors`. */
	readonly optimizer: Optimizer;
	readonly batches: BatchSource;
	/** Optimizer steps of the whole run (`optimizerSteps`). */
	readonly steps: number;
	readonly timing: StepTiming;
	/** Learning rates by entry of the schedule (`scheduleIndexOf`). */
	readonly rates: (index: number) => Rates;
	/** Largest norm of all gradients together; null: they are only measured. */
	readonly maxGradNorm: number | null;
	/** After each step, with its rates: the norm prior of a token. May change values. */
	readonly afterStep?: ((rates: Rates) => void) | undefined;
	readonly average?: EmaModel | undefined;
	/** Scales the weights of batches, and with them loss and gradients, where the engine computes in float16. */
	readonly scaler?: LossScaler | undefined;
	readonly validation?: ValidationOptions | undefined;
	readonly checkpoints?: CheckpointOptions | undefined;
	/** Where to go on. The model's tensors, optimizer, average, scaler and batches are brought there. */
	readonly resume?: RunSnapshot | undefined;
	/** Aborted: the step that is being computed is given up, a checkpoint is written, the run ends. */
	readonly signal?: AbortSignal | undefined;
	/** Milliseconds; for tests. */
	readonly now?: (() => number) | undefined;
}

/** What a run came to. */
export interface TrainRunResult {
	/** Optimizer steps that were made, those before a resume included. */
	readonly step: number;
	readonly reason: EndReason;
	/** The adapter: the best measured one where that is kept, else the moving mean where there is one, else the values. Copies. */
	readonly adapter: ReadonlyMap<string, Float32Array>;
	readonly best: BestMeasured | undefined;
}

/** Below this scale float16 is not what overflows. */
const LEAST_SCALE = 1;

/**
 * The training loop: micro-batches, accumulation, clipping, optimizer, moving mean, validation, checkpoints. What it
 * does it yields as events; a consumer that stops asking stops it. Everything that decides later steps is in
 * `RunSnapshot`, so a resumed run has the same bits as one that never stopped (same engine, threads and machine).
 *
 * @throws {FormatError} `E_NONFINITE` for a loss or gradient that is no number (a checkpoint of the state before that step is
 *   kept), `E_CONFIG` for a snapshot that does not fit; those of model, batches and of writing checkpoints, whose
 *   sentence then names the last good one
 */
export async function* trainRun(options: TrainRunOptions): AsyncGenerator<RunEvent, TrainRunResult, undefined> {
	const { model, optimizer, batches, steps, timing, rates, validation, average, scaler, signal } = options;
	const watch = createStopwatch(options.now ?? (() => performance.now()));
	const run = restoreRun(options);
	const checkpointer = createCheckpointer(options.checkpoints, run.step, options.resume !== undefined);
	const gather = gatherer(model, batches, timing, scaler, signal);
	yield { type: 'start', step: run.step, steps, parameters: parameterCounts(model.tensors) };

	let reason: EndReason = 'steps';
	for (;;) {
		if (validation !== undefined && run.validationDue && !(yield* validate())) {
			reason = 'stopped';
			yield* save('stopped', batches.state());
			break;
		}
		if (checkpointer.isDue(run.step) && run.step > 0 && run.step < steps) yield* save('every', batches.state());
		if (run.step >= steps) break;
		// Two measurements may lie behind a resume; the patience counts those of before.
		if (validation?.patience !== undefined && (run.best?.since ?? 0) >= validation.patience) {
			reason = 'patience';
			break;
		}
		const before = batches.state();
		if (signal?.aborted === true) {
			reason = 'stopped';
			yield* save('stopped', before);
			break;
		}
		watch.begin();
		const gathered = await gather(run.step);
		if (gathered === 'stopped') {
			reason = 'stopped';
			yield* save('stopped', before);
			break;
		}
		if ('overflow' in gathered && scaler !== undefined && scaler.scale > LEAST_SCALE) {
			scaler.update(false);
			yield { type: 'overflow', step: run.step, scale: scaler.scale };
			continue;
		}
		const bad = 'overflow' in gathered ? gathered.overflow : undefined;
		if (bad !== undefined) return yield* stopAt(bad, before);
		const done = gathered as Gathered;
		const { norm, nonFinite } = clipGradients(done.gradients, options.maxGradNorm);
		if (nonFinite !== undefined) return yield* stopAt({ ...done, what: 'gradient', tensor: nonFinite }, before);
		const used = rates(scheduleIndexOf(timing, run.step));
		optimizer.step(done.gradients, used);
		options.afterStep?.(used);
		average?.step();
		scaler?.update(true);
		run.step++;
		const { loss, epoch, samples } = done;
		yield { type: 'step', step: run.step, epoch, loss, rates: used, gradientNorm: norm, samples, ...watch.end(steps - run.step) };
		run.validationDue = validation !== undefined && (run.step % validation.every === 0 || run.step === steps);
	}
	// A stopped run is saved already.
	if (reason !== 'stopped') yield* save('end', batches.state());
	yield { type: 'end', step: run.step, reason };
	return { step: run.step, reason, adapter: resultOf(), best: run.best };

	/** @returns whether it came to its end; an interrupted one changes nothing, and is done again after a resume */
	async function* validate(): AsyncGenerator<RunEvent, boolean, undefined> {
		const began = watch.now();
		const measure = async (): Promise<readonly [number | undefined, readonly ValidationPicture[] | undefined]> => [
			validation?.batches === undefined ? undefined : await lossOver(model, validation.batches()),
			await validation?.pictures?.(run.step),
		];
		let measured: Awaited<ReturnType<typeof measure>>;
		try {
			measured = average === undefined ? await measure() : await average.withAverage(measure);
		} catch (error) {
			if (isInterruption(error, signal)) return false;
			throw error;
		}
		const [loss, pictures] = measured;
		run.validationDue = false;
		if (loss !== undefined) {
			// A loss that is no number is never the best.
			const best = loss < (run.best?.loss ?? Number.POSITIVE_INFINITY);
			run.best = best ? { step: run.step, loss, since: 0 } : run.best && { ...run.best, since: run.best.since + 1 };
			if (best && validation?.keepBest === true) run.bestValues = copyOf(adapterNow());
			yield { type: 'validation', step: run.step, loss, best, seconds: (watch.now() - began) / 1000 };
		}
		if (pictures !== undefined && pictures.length > 0) yield { type: 'pictures', step: run.step, pictures };
		const isBest = loss !== undefined && run.best?.step === run.step;
		if (isBest && validation?.keepBest === true && run.step > 0 && run.step < steps) yield* save('best', batches.state());
		return true;
	}

	async function* save(why: Parameters<typeof checkpointer.save>[1], state: unknown): AsyncGenerator<RunEvent, void, undefined> {
		const name = await checkpointer.save(() => snapshotOf(options, run, state, adapterNow()), why, run.step);
		if (name !== undefined) yield { type: 'checkpoint', step: run.step, reason: why, name };
	}

	async function* stopAt(bad: NonFinite, before: unknown): AsyncGenerator<RunEvent, never, undefined> {
		let kept: string | undefined;
		let failed: unknown;
		// Values that are no numbers themselves are worth nothing: then the last one stays the last good one.
		if (valuesAreFinite(model.tensors)) {
			try {
				for await (const event of save('nonfinite', before)) yield event;
				kept = checkpointer.last;
			} catch (error) {
				failed = error;
			}
		}
		throw nonFiniteError(bad, run.step + 1, kept ?? checkpointer.last, failed);
	}

	function adapterNow(): ReadonlyMap<string, Float32Array> {
		return average?.values ?? new Map(model.tensors.map(({ name, values }) => [name, values]));
	}

	function resultOf(): ReadonlyMap<string, Float32Array> {
		return validation?.keepBest === true && run.bestValues !== undefined ? run.bestValues : copyOf(adapterNow());
	}
}

async function lossOver(model: TrainingModel, batches: AsyncIterable<TrainingBatch> | Iterable<TrainingBatch>): Promise<number> {
	let sum = 0;
	let count = 0;
	for await (const batch of batches) {
		const { errors } = await model.loss(batch);
		for (const error of errors) sum += error;
		count += errors.length;
	}
	if (count === 0) throw new FormatError('E_CONFIG', 'There is no held-out picture to measure.');
	return sum / count;
}

function copyOf(values: ReadonlyMap<string, Float32Array>): ReadonlyMap<string, Float32Array> {
	return new Map([...values].map(([name, data]) => [name, data.slice()]));
}
