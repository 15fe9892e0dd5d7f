import { Scalar, stringify } from 'yaml';
import { dataText, settingsTable } from './card-settings.js';
import { triggerText, usageText } from './card-usage.js';
import { escapeMarkdown, inlineCode, linkPath, oneLine } from './escape-markdown.js';
import type { ResultPlan } from './plan-result.js';
import { checkBesidePath, repositoryName } from './repository-name.js';
import type { TrainedModule } from './trained-adapter.js';
import type { TrainingFacts } from './training-facts.js';
import { pictureCount } from './training-record.js';

/** A picture that the result drew. */
export interface SamplePicture {
	/** Path beside the card: `samples/0.png`. */
	readonly path: string;
	readonly prompt: string;
	/** For people: `scale 0.5, seed 7`. */
	readonly caption?: string | undefined;
}

export interface ModelCardInput {
	readonly facts: TrainingFacts;
	readonly modules: readonly TrainedModule[];
	readonly plan: ResultPlan;
	readonly samples?: readonly SamplePicture[] | undefined;
	/** `owner/name` it will be published under; commands then name it. */
	readonly repo?: string | undefined;
}

/** Most pictures shown in a card; the Hub's gallery of a model shows about as many. */
export const MAX_CARD_PICTURES = 24;

/**
 * The README.md of a result: YAML front matter that the Hub reads, then what it is, pictures, how to use it, how it was
 * trained, its licence and limits. Text of users is shown, never obeyed: YAML by the `yaml` package, Markdown escaped.
 *
 * Without `facts.base.repo` there is no `base_model`: the card says so, and it cannot be published. Front matter fields:
 * huggingface_hub src/huggingface_hub/repocard_data.py `ModelCardData`; tags as diffusers' training scripts write them.
 *
 * @throws {FormatError} `E_HUB` for a base, a data set or a repository that is a path or no `owner/name`; `E_NAME` for a picture's
 *   path that leaves the card's folder
 */
export function modelCard(input: ModelCardInput): string {
	const { facts, modules, plan, samples = [] } = input;
	const { base } = facts;
	if (base.repo !== undefined) repositoryName(base.repo, 'base_model');
	if (facts.data.repo !== undefined) repositoryName(facts.data.repo, 'The data set');
	const repo = input.repo === undefined ? undefined : repositoryName(input.repo, 'The repository');
	for (const { path } of samples) checkBesidePath(path);
	const title = oneLine(facts.title) || 'LoRA';
	const prompt = oneLine(samples[0]?.prompt ?? facts.triggerPhrase ?? plan.files.flatMap((file) => file.tokens)[0] ?? 'a picture');
	const trigger = triggerText({ facts, plan });
	const blocks = [
		frontMatter(input),
		`# ${escapeMarkdown(title)}`,
		introduction(input),
		...(oneLine(facts.description ?? '') === '' ? [] : [escapeMarkdown(facts.description ?? '')]),
		...(trigger === undefined ? [] : [trigger]),
		...pictures(samples),
		'## How to use',
		usageText({ facts, plan, repo, prompt }),
		'## Training',
		settingsTable(facts, modules),
		dataText(facts),
		baseFiles(facts),
		'## Licence and limits',
		limits(facts),
	];
	return `${blocks.join('\n\n')}\n`;
}

function frontMatter({ facts, plan, samples = [] }: ModelCardInput): string {
	const lora = plan.main !== undefined;
	const tokens = [...new Set(plan.files.flatMap((file) => file.tokens))];
	const xl = facts.base.architecture === 'sdxl';
	const ours = [
		xl ? 'stable-diffusion-xl' : 'stable-diffusion',
		xl ? 'stable-diffusion-xl-diffusers' : 'stable-diffusion-diffusers',
		'text-to-image',
		'diffusers',
		...(lora ? ['lora', 'template:sd-lora'] : []),
		...(tokens.length > 0 ? ['textual_inversion'] : []),
		...(facts.objective === 'dreambooth' ? ['dreambooth'] : []),
		'lorakit',
	];
	const theirs = (facts.tags ?? []).map(oneLine).filter((tag) => tag !== '');
	const phrase = oneLine(facts.triggerPhrase ?? tokens.join(' '));
	const fields: Record<string, unknown> = {};
	if (facts.base.repo !== undefined) Object.assign(fields, { base_model: facts.base.repo, base_model_relation: 'adapter' });
	Object.assign(fields, { library_name: 'diffusers', pipeline_tag: 'text-to-image' });
	if (facts.license !== undefined && oneLine(facts.license) !== '') fields['license'] = quoted(facts.license);
	if (facts.data.repo !== undefined) fields['datasets'] = [facts.data.repo];
	if (phrase !== '') fields['instance_prompt'] = quoted(phrase);
	fields['tags'] = [...new Set([...ours, ...theirs])].map((tag) => (ours.includes(tag) ? tag : quoted(tag)));
	if (samples.length > 0) {
		fields['widget'] = samples
			.slice(0, MAX_CARD_PICTURES)
			.map(({ prompt, path }) => ({ text: quoted(prompt), output: { url: quoted(path) } }));
	}
	return `---\n${stringify(fields, { lineWidth: 0 })}---`;
}

/** A text of a user in quotes: `2026-01-01`, `yes` and `1e3` are dates, flags and numbers to readers of YAML 1.1, which are most. */
function quoted(text: string): Scalar<string> {
	const scalar = new Scalar(oneLine(text));
	scalar.type = 'QUOTE_DOUBLE';
	return scalar;
}

function introduction({ facts, plan }: ModelCardInput): string {
	const { base } = facts;
	const name =
		base.repo === undefined
			? `${inlineCode(base.name)}, which is no model of the Hub; before you publish this, set ${inlineCode('base_model')} above`
			: `[${base.repo}](https://huggingface.co/${base.repo})`;
	const tokens = plan.files.some((file) => file.tokens.length > 0);
	if (plan.main === undefined) return `This is a textual inversion, learned over ${name}. It changes no weight of the model.`;
	// The sentence by which readers of older cards find the base.
	return `These are LoRA adapter weights for ${name}. They are added to the model when it is loaded; the model itself is not changed.${tokens ? ' A learned token belongs to them.' : ''}`;
}

function pictures(samples: readonly SamplePicture[]): string[] {
	if (samples.length === 0) return [];
	const shown = samples
		.slice(0, MAX_CARD_PICTURES)
		.map(
			({ path, prompt, caption }) =>
				`![${escapeMarkdown(prompt)}](${linkPath(path)})\n*${escapeMarkdown(prompt)}${caption === undefined ? '' : ` (${escapeMarkdown(caption)})`}*`,
		);
	return ['## Pictures', ...shown];
}

function baseFiles({ base }: TrainingFacts): string {
	if (base.files.length === 0) return 'The files of the base were not hashed.';
	const lines = base.files.map(({ path, bytes, sha256 }) => `| ${inlineCode(path)} | ${bytes} | ${inlineCode(sha256)} |`);
	return ['| file of the base | bytes | SHA-256 |', '| --- | --- | --- |', ...lines].join('\n');
}

function limits({ license, base, data }: TrainingFacts): string {
	const own =
		license === undefined || oneLine(license) === ''
			? 'The author has stated no licence for these weights.'
			: `These weights are given under ${inlineCode(license)}.`;
	const from = base.repo === undefined ? 'the base model' : `[${base.repo}](https://huggingface.co/${base.repo})`;
	const pictures = pictureCount(data.folders);
	return [
		`${own} They work only with ${from} or models derived from it, whose own licence and limits hold as well.`,
		`They were trained on ${pictures} picture${pictures === 1 ? '' : 's'}: expect them to repeat what was seen, and to change prompts that do not ask for it, the more so at a higher scale.`,
	].join('\n\n');
}
