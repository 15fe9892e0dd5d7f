import { FormatError } from '@lorakit/format';
import type { ParameterGroup } from '../model/trainable-tensor.js';
import { learningRateSchedule } from '../optimizers/learning-rate-schedule.js';
import type { LrSchedulerName, Objective, RunConfig } from './config/run-config.js';
import type { Rates } from './run-events.js';
import { optimizerSteps, type StepTiming, stepsPerEpoch } from './step-rule.js';

/** One phase of a run: how long, in what rhythm, at which rates. Pivotal tuning has two, the others one. */
export interface Phase {
	readonly name: 'inversion' | 'training';
	/** What the configuration calls steps: optimizer steps, under cloneofsimo's rule micro-batches. */
	readonly steps: number;
	/** `TrainRunOptions.steps`. */
	readonly optimizerSteps: number;
	readonly timing: StepTiming;
	readonly epochs: number;
	readonly stepsPerEpoch: number;
	/** `TrainRunOptions.rates`. */
	readonly rates: (index: number) => Rates;
	/** Rates before the schedule. */
	readonly baseRates: Rates;
	readonly maxGradNorm: number | null;
	/** Timesteps stay below this; null: all. */
	readonly maxTimestep: number | null;
}

/** Part of the timesteps that pivotal tuning's second phase draws from (cloneofsimo/lora, `t_mutliplier` 0.8). */
const PIVOTAL_TIMESTEPS = 0.8;

/**
 * The phases of a configuration.
 * @param batchesPerEpoch micro-batches of one epoch
 * @param trainTimesteps of the base's noise schedule
 * @param groups that have something to train, where the base is known; left out: those that the configuration may mean
 * @throws {FormatError} `E_CONFIG` for a warm-up as long as the phase, rates that the schedule cannot have, or timesteps that the base has not
 */
export function runPhases(
	config: RunConfig,
	objective: Objective,
	batchesPerEpoch: number,
	trainTimesteps: number,
	groups?: ReadonlySet<ParameterGroup>,
): readonly Phase[] {
	const { train, inversion, loss } = config;
	const timing: StepTiming = { rule: train.step_rule, accumulation: train.gradient_accumulation_steps };
	const perEpoch = stepsPerEpoch(timing, batchesPerEpoch);
	const steps = train.max_train_steps ?? Math.ceil(train.num_train_epochs * (timing.rule === 'cloneofsimo' ? batchesPerEpoch : perEpoch));
	const pivotal = objective === 'pivotal' && inversion !== null;
	const phases: Phase[] = [];
	if (pivotal) {
		const first: StepTiming = { rule: train.step_rule, accumulation: inversion.gradient_accumulation_steps };
		phases.push(
			phase(
				'inversion',
				inversion.steps,
				first,
				batchesPerEpoch,
				{ tokens: inversion.learning_rate },
				inversion.lr_scheduler,
				inversion.lr_warmup_steps,
				config,
				{
					maxGradNorm: null,
					maxTimestep: loss.max_timestep,
				},
			),
		);
	}
	const second = pivotal
		? (loss.max_timestep ?? inversion.max_timestep_after ?? Math.floor(trainTimesteps * PIVOTAL_TIMESTEPS))
		: loss.max_timestep;
	phases.push(
		phase(
			'training',
			steps,
			timing,
			batchesPerEpoch,
			mainRates(config, objective, groups),
			train.lr_scheduler,
			train.lr_warmup_steps,
			config,
			{
				maxGradNorm: train.max_grad_norm,
				maxTimestep: second,
			},
		),
	);
	for (const { name, maxTimestep } of phases) checkTimesteps(config, name, maxTimestep, trainTimesteps);
	return phases;
}

/** What is drawn must be there, and something must be drawn. */
function checkTimesteps({ loss, inversion }: RunConfig, name: Phase['name'], below: number | null, there: number): void {
	const { min_timestep: from, max_timestep: most } = loss;
	const after = most === null && inversion !== null && inversion.max_timestep_after !== null;
	const key = after ? 'inversion.max_timestep_after' : 'loss.max_timestep';
	if (below !== null && below > there) {
		throw new FormatError('E_CONFIG', `${key} is ${below}, but the base has ${there} timesteps; make it ${there} or less.`, { at: key });
	}
	if (from >= (below ?? there)) {
		throw new FormatError(
			'E_CONFIG',
			`loss.min_timestep is ${from}, but timesteps of the ${name} stay below ${below ?? there}, so none would be drawn; make it smaller.`,
			{ at: 'loss.min_timestep' },
		);
	}
}

/** Rates of what is trained: another one would be told of, in logs and cards, as if it were. */
function mainRates({ train, inversion, adapter }: RunConfig, objective: Objective, groups: ReadonlySet<ParameterGroup> | undefined): Rates {
	const { learning_rate, text_encoder_learning_rate, token_learning_rate } = train;
	if (objective === 'textual-inversion') return { tokens: token_learning_rate ?? learning_rate };
	// Which modules `include` names only the base can tell.
	const may = (group: ParameterGroup, preset: string | null): boolean =>
		groups === undefined ? preset !== null || adapter.include.length > 0 : groups.has(group);
	const rates = {
		...(may('unet', adapter.targets) ? { unet: learning_rate } : {}),
		...(may('text_encoder', adapter.text_encoder) ? { text_encoder: text_encoder_learning_rate ?? learning_rate } : {}),
	};
	if (objective !== 'pivotal' || inversion?.continue_inversion !== true) return rates;
	return { ...rates, tokens: token_learning_rate ?? inversion.learning_rate };
}

function phase(
	name: Phase['name'],
	steps: number,
	timing: StepTiming,
	batchesPerEpoch: number,
	baseRates: Rates,
	kind: LrSchedulerName,
	warmupSteps: number,
	{ train }: RunConfig,
	rest: Pick<Phase, 'maxGradNorm' | 'maxTimestep'>,
): Phase {
	if (kind !== 'constant' && warmupSteps >= steps) {
		throw new FormatError(
			'E_CONFIG',
			`The ${name} has ${steps} steps and a warm-up of ${warmupSteps}: it would end before the rate is reached; shorten the warm-up.`,
		);
	}
	const { lr_num_cycles: cycles, lr_power: power } = train;
	const factors = Object.entries(baseRates).map(
		([group, rate]) =>
			[group as ParameterGroup, rate, learningRateSchedule({ kind, warmupSteps, totalSteps: steps, cycles, power, rate })] as const,
	);
	const count = optimizerSteps(timing, steps);
	const perEpoch = stepsPerEpoch(timing, batchesPerEpoch);
	return {
		name,
		steps,
		optimizerSteps: count,
		timing,
		epochs: count / perEpoch,
		stepsPerEpoch: perEpoch,
		rates: (index) => Object.fromEntries(factors.map(([group, rate, factor]) => [group, rate * factor(index)])),
		baseRates,
		...rest,
	};
}
