import { escapeMarkdown, inlineCode } from './escape-markdown.js';
import type { TrainedModule } from './trained-adapter.js';
import type { TrainingFacts } from './training-facts.js';
import { pictureCount, trainingRecord } from './training-record.js';

const OBJECTIVES: Readonly<Record<TrainingFacts['objective'], string>> = {
	'text-to-image': 'text-to-image fine-tuning',
	dreambooth: 'DreamBooth',
	'textual-inversion': 'textual inversion',
	pivotal: 'pivotal tuning: textual inversion, then LoRA with the learned token',
};

/** The settings of a training as a Markdown table; what does not apply has no row. */
export function settingsTable(facts: TrainingFacts, modules: readonly TrainedModule[]): string {
	const { run, base } = facts;
	const rows: (readonly [string, string])[] = [];
	const put = (name: string, value: string | number | undefined): void => {
		if (value !== undefined) rows.push([name, escapeMarkdown(String(value))]);
	};
	put('objective', OBJECTIVES[facts.objective]);
	for (const group of trainingRecord(facts, modules).network) {
		const scaling = group.rsLora ? ', rsLoRA' : '';
		put(`${group.component.replaceAll('_', ' ')} modules`, `${group.modules} of rank ${group.rank}, alpha ${group.alpha}${scaling}`);
	}
	put('prediction', base.predictionType.replace('_prediction', ''));
	put('steps', run.steps === run.maxSteps ? run.steps : `${run.steps} of ${run.maxSteps}`);
	put('epochs', Math.round(run.epochs * 100) / 100);
	put('batch', run.accumulation === 1 ? run.batchSize : `${run.batchSize} x ${run.accumulation} accumulated`);
	put('resolution', `${run.width} x ${run.height}${(facts.data.buckets?.length ?? 0) > 1 ? ', in buckets' : ''}`);
	for (const [group, rate] of Object.entries(run.learningRates)) put(`learning rate, ${group.replaceAll('_', ' ')}`, rate);
	put('rate schedule', run.warmupSteps > 0 ? `${run.rateSchedule}, ${run.warmupSteps} steps of warm-up` : run.rateSchedule);
	put('optimizer', run.optimizer);
	for (const [name, value] of Object.entries(run.optimizerArguments ?? {})) put(name, String(value));
	put('largest gradient norm', run.maxGradNorm);
	put('min-SNR gamma', run.minSnrGamma);
	put('noise offset', run.noiseOffset);
	put('prior preservation weight', run.priorWeight);
	put('caption drop-out', run.captionDropout);
	put('token drop-out', run.tokenDropout);
	put('clip skip', run.clipSkip);
	put('EMA decay', run.emaDecay);
	put('masked loss', run.maskedLoss === true ? 'yes' : undefined);
	put('mirrored at random', run.flip === true ? 'yes' : undefined);
	put('mixed precision', run.mixedPrecision === 'no' ? 'none, float32' : run.mixedPrecision);
	put('seed', run.seed);
	put('computed by', `${run.engine} on ${run.device}`);
	put('final loss', run.loss === undefined ? undefined : run.loss.toPrecision(4));
	put('held-out loss', run.validationLoss === undefined ? undefined : run.validationLoss.toPrecision(4));
	const lines = rows.map(([name, value]) => `| ${escapeMarkdown(name)} | ${value} |`);
	return ['| setting | value |', '| --- | --- |', ...lines].join('\n');
}

/** What it was trained on, a sentence or two. */
export function dataText(facts: TrainingFacts): string {
	const { data } = facts;
	const pictures = pictureCount(data.folders);
	const parts = [`${pictures} picture${pictures === 1 ? '' : 's'}`];
	const classes = pictureCount(data.classFolders ?? []);
	if (classes > 0) parts.push(`${classes} class pictures for prior preservation`);
	if ((data.validationPictures ?? 0) > 0) parts.push(`${data.validationPictures} held out to measure the loss`);
	const from = data.repo === undefined ? '' : ` of [${escapeMarkdown(data.repo)}](https://huggingface.co/datasets/${data.repo})`;
	return `${parts.join(', ')}${from}. Digest of names, pictures and captions: ${inlineCode(data.digest)}.`;
}
