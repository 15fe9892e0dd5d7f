import type { RunEvent, StepEvent } from '@lorakit/trainer';
import type { Output } from '../output.js';
import { sizeText } from '../progress.js';

/** Told how a training goes: a line on a terminal; elsewhere a remark now and then. */
export interface TrainProgress {
	/** Work before the first step: `reading pictures`, `computing latents`. */
	work(what: string, done: number, total: number, unit: 'bytes' | 'count'): void;
	event(event: RunEvent): void;
	end(): void;
}

const REDRAW_MS = 100;
/** Where nothing can be drawn, a step is remarked on at most this often. */
const REMARK_MS = 60_000;
/** Weight of the past in the loss that is shown: single batches jump. */
const SMOOTHING = 0.9;

export function trainProgress(output: Output, now: () => number = () => performance.now()): TrainProgress {
	const drawn = output.canDrawProgress;
	let last = Number.NEGATIVE_INFINITY;
	let steps = 0;
	let mean: number | undefined;
	let held: string | undefined;
	const due = (wait: number): boolean => {
		const time = now();
		if (time - last < wait) return false;
		last = time;
		return true;
	};
	return {
		work(what, done, total, unit) {
			if (!drawn || !due(REDRAW_MS)) return;
			const amount = unit === 'bytes' ? `${sizeText(done)} of ${sizeText(total)}` : `${done} of ${total}`;
			output.progress(`${what}: ${amount}`);
		},
		event(event) {
			switch (event.type) {
				case 'start':
					steps = event.steps;
					if (event.step > 0) output.note(`going on at step ${event.step} of ${event.steps}`);
					// The first step is drawn at once.
					last = drawn ? Number.NEGATIVE_INFINITY : now();
					return;
				case 'step':
					mean = mean === undefined ? event.loss : SMOOTHING * mean + (1 - SMOOTHING) * event.loss;
					if (drawn && (due(REDRAW_MS) || event.step === steps)) output.progress(stepLine(event, steps, mean, held, true));
					else if (!drawn && due(REMARK_MS)) output.talk(stepLine(event, steps, mean, held, false));
					return;
				case 'validation':
					held = `held-out ${event.loss.toPrecision(4)}${event.best ? ', the best' : ''}`;
					output.talk(`step ${event.step}: held-out loss ${event.loss.toPrecision(4)}${event.best ? ', the best so far' : ''}`);
					return;
				case 'pictures':
					output.talk(`step ${event.step}: ${event.pictures.length} validation picture${event.pictures.length === 1 ? '' : 's'}`);
					return;
				case 'checkpoint':
					output.talk(`step ${event.step}: saved ${event.name}`);
					return;
				case 'overflow':
					output.note(`step ${event.step + 1}: float16 overflowed, the loss is scaled by ${event.scale} from now on`);
					return;
				case 'end':
					return;
			}
		},
		end: () => output.progress(''),
	};
}

function stepLine(event: StepEvent, steps: number, loss: number, held: string | undefined, bar: boolean): string {
	const share = steps > 0 ? Math.min(1, event.step / steps) : 0;
	const filled = Math.floor(share * 24);
	const parts = [
		bar ? `[${'='.repeat(filled)}${' '.repeat(24 - filled)}] ${event.step} of ${steps}` : `step ${event.step} of ${steps}`,
		`loss ${loss.toPrecision(4)}`,
		...(held === undefined ? [] : [held]),
		`rate ${Object.values(event.rates)
			.map((rate) => rate.toPrecision(3).replace(/\.?0+(?=e|$)/, ''))
			.join(', ')}`,
		`${durationText(event.remainingSeconds)} left`,
	];
	return parts.join('  ');
}

/** `42 s`, `3 min 05 s`, `2 h 07 min`, `3 d 04 h`. */
export function durationText(seconds: number): string {
	if (!Number.isFinite(seconds)) return 'unknown';
	const whole = Math.max(0, Math.ceil(seconds));
	if (whole < 60) return `${whole} s`;
	const two = (n: number): string => String(n).padStart(2, '0');
	if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
	if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
	return `${Math.floor(whole / 86_400)} d ${two(Math.floor((whole % 86_400) / 3600))} h`;
}
