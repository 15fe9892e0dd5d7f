import type { RunPlan } from './plan-run.js';

const GROUPS = { unet: 'UNet', text_encoder: 'text encoder', tokens: 'token' } as const;

/** A plan for people, one fact a line. Estimates are called so. */
export function planText(plan: RunPlan): string {
	const { parameters, files, pictures, phases, checkpoints, memory, seconds } = plan;
	const groups = (['unet', 'text_encoder', 'tokens'] as const).flatMap((group) =>
		parameters[group] === undefined ? [] : [`${GROUPS[group]} ${digits(parameters[group])}`],
	);
	const lines: (readonly [string, string])[] = [
		['Trains', `${digits(parameters.total)} numbers (${groups.join(', ')})`],
		['File', `${bytes(files.F32.bytes)} in float32, ${bytes(files.F16.bytes)} in float16, exact; ${files.dtype} is written`],
		[
			'Pictures',
			[
				`${pictures.train} to train on`,
				pictures.classes > 0 ? `${pictures.classes} of the class` : '',
				pictures.heldOut > 0 ? `${pictures.heldOut} held out` : '',
			]
				.filter((t) => t !== '')
				.join(', '),
		],
		...phases.map(
			({ name, optimizerSteps, epochs, stepsPerEpoch, picturesPerStep, rates }) =>
				[
					name === 'inversion' ? 'Inversion' : 'Training',
					`${digits(optimizerSteps)} steps of ${picturesPerStep} pictures, ${round(stepsPerEpoch)} an epoch, ${round(epochs)} epochs; rate ${Object.entries(
						rates,
					)
						.map(([group, rate]) => `${rate} (${GROUPS[group as keyof typeof GROUPS]})`)
						.join(', ')}`,
				] as const,
		),
		['Checkpoints', `${checkpoints.count}, ${checkpoints.kept} kept, about ${bytes(checkpoints.bytes)} each`],
		[
			'Memory',
			memory === null
				? 'not estimated'
				: `about ${bytes(memory.total)} (estimate: ${bytes(memory.weights)} weights, ${bytes(memory.training)} training, ${bytes(memory.activations)} values of a step, ${bytes(memory.process)} process)${memory.measured === null ? '' : `; ${bytes(memory.measured)} measured with a micro-batch`}`,
		],
		[
			'Time',
			seconds === null
				? 'not estimated: nothing was measured'
				: `about ${duration(seconds)} (estimate from a measured micro-batch; without validation)`,
		],
	];
	return lines.map(([name, text]) => `${name.padEnd(12)}${text}\n`).join('');
}

function digits(count: number): string {
	return String(count).replaceAll(/\B(?=(\d{3})+$)/g, ',');
}

function round(count: number): string {
	return String(Number(count.toFixed(2)));
}

function bytes(count: number): string {
	if (count < 1_000_000) return `${digits(Math.round(count))} bytes`;
	return count < 1e9 ? `${(count / 1e6).toFixed(2)} MB` : `${(count / 1e9).toFixed(2)} GB`;
}

function duration(seconds: number): string {
	if (seconds < 90) return `${Math.round(seconds)} s`;
	const minutes = Math.round(seconds / 60);
	return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}
