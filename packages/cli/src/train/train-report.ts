import type { Warning } from '@lorakit/format';
import type { Objective } from '@lorakit/trainer';
import type { Pushed, TrainOutcome } from '@lorakit/trainer/node';
import { sizeText } from '../progress.js';

/** What a training came to, and what was said on the way. */
export interface TrainReport {
	readonly objective: Objective;
	readonly outcome: TrainOutcome;
	readonly pushed: Pushed | undefined;
	readonly notes: readonly string[];
	readonly warnings: readonly Warning[];
}

/** `lora.train/1`, schema/train.schema.json. */
export function trainDocument({ objective, outcome, pushed, notes, warnings }: TrainReport): unknown {
	const { folder, reason, step, steps, best, saved, plan, facts, truncated } = outcome;
	return {
		schema: 'lora.train/1',
		objective,
		folder,
		reason,
		step,
		steps,
		best: best === undefined ? null : { step: best.step, loss: best.loss },
		layout: plan.layout,
		files: saved?.files ?? [],
		base: { name: facts.base.name, repo: facts.base.repo ?? null, files: facts.base.files },
		data: { digest: facts.data.digest, pictures: facts.data.folders.reduce((sum, folder) => sum + folder.pictures, 0) },
		pushed: pushed ?? null,
		truncated,
		notes: [...notes, ...plan.notes],
		warnings,
	};
}

/** What people read. */
export function trainText({ outcome, pushed }: TrainReport): string {
	const { folder, reason, step, steps, best, saved } = outcome;
	const lines = [
		`${folder}  ${ENDS[reason]} after ${step} of ${steps} steps${best === undefined ? '' : `, best held-out loss ${best.loss.toPrecision(4)} at step ${best.step}`}`,
	];
	for (const { path, bytes } of saved?.files ?? []) lines.push(`  ${path}  ${sizeText(bytes)}`);
	if (pushed !== undefined) lines.push(`  published at ${pushed.url}, commit ${pushed.commit.slice(0, 10)}`);
	return `${lines.join('\n')}\n`;
}

const ENDS = { steps: 'done', patience: 'ended: nothing became better', stopped: 'stopped' } as const;
