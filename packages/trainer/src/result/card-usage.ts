import { findLayout } from '@lorakit/format';
import { codeBlock, inlineCode, oneLine, pythonString, shellWord } from './escape-markdown.js';
import type { ResultPlan } from './plan-result.js';
import { cleanStem, EMBEDDINGS_STEM } from './result-names.js';
import type { TrainingFacts } from './training-facts.js';

export interface UsageInput {
	readonly facts: TrainingFacts;
	readonly plan: ResultPlan;
	/** `owner/name` that the card is for; undefined: the folder it lies in. */
	readonly repo: string | undefined;
	readonly prompt: string;
}

/** Markdown that says how to draw with the result: `lora generate`, diffusers, A1111 and ComfyUI. */
export function usageText(input: UsageInput): string {
	return [
		'With [lorakit](https://www.npmjs.com/package/lorakit):',
		codeBlock('sh', lorakitCommand(input)),
		'With [diffusers](https://github.com/huggingface/diffusers):',
		codeBlock('python', diffusersScript(input)),
		...otherInterfaces(input),
	].join('\n\n');
}

/** `learned_embeds*.safetensors` files with their tokens. */
function tokenFiles({ plan }: UsageInput): readonly { readonly name: string; readonly token: string }[] {
	return plan.files.flatMap(({ name, what, tokens: [token] }) => (what === 'embeddings' && token !== undefined ? [{ name, token }] : []));
}

function lorakitCommand(input: UsageInput): string {
	const { facts, plan, repo, prompt } = input;
	const words = ['lora', 'generate'];
	const base = facts.base.repo ?? facts.base.name;
	if (repo !== undefined && plan.main !== undefined && facts.base.repo !== undefined) words.push('--from-hub', repo);
	else {
		words.push('--base', base);
		if (plan.main !== undefined) words.push('--lora', plan.main);
	}
	// Tokens inside the adapter's file come with it.
	const inside = plan.layout === 'kohya' || plan.layout.startsWith('cloneofsimo');
	if (!inside || plan.main === undefined) for (const { name } of tokenFiles(input)) words.push('--embedding', name);
	words.push('--prompt', prompt, '--out', 'picture.png');
	return words.map(shellWord).join(' ');
}

function diffusersScript(input: UsageInput): string {
	const { facts, plan, repo, prompt } = input;
	const xl = facts.base.architecture === 'sdxl';
	const pipeline = xl ? 'StableDiffusionXLPipeline' : 'StableDiffusionPipeline';
	const where = pythonString(repo ?? '.');
	const tokens = tokenFiles(input);
	const lines = [`from diffusers import ${pipeline}`];
	if (xl && tokens.length > 0) {
		if (repo !== undefined) lines.push('from huggingface_hub import hf_hub_download');
		lines.push('from safetensors.torch import load_file');
	}
	lines.push('', `pipeline = ${pipeline}.from_pretrained(${pythonString(facts.base.repo ?? facts.base.name)}).to("cuda")`);
	if (plan.main !== undefined) lines.push(`pipeline.load_lora_weights(${where}, weight_name=${pythonString(plan.main)})`);
	for (const { name, token } of tokens) {
		if (!xl) {
			lines.push(`pipeline.load_textual_inversion(${where}, weight_name=${pythonString(name)}, token=${pythonString(token)})`);
			continue;
		}
		const file = repo === undefined ? pythonString(name) : `hf_hub_download(${where}, ${pythonString(name)})`;
		lines.push(`vectors = load_file(${file})`);
		for (const [leaf, n] of [
			['clip_l', ''],
			['clip_g', '_2'],
		] as const) {
			const encoder = `text_encoder=pipeline.text_encoder${n}, tokenizer=pipeline.tokenizer${n}`;
			lines.push(`pipeline.load_textual_inversion(vectors["${leaf}"], token=${pythonString(token)}, ${encoder})`);
		}
	}
	lines.push(`pipeline(${pythonString(prompt)}).images[0].save("picture.png")`);
	return lines.join('\n');
}

function otherInterfaces({ facts, plan }: UsageInput): string[] {
	if (plan.main === undefined) {
		const files = plan.files.map(({ name }) => inlineCode(name)).join(', ');
		return [`With A1111 and ComfyUI: put ${files} into their folder of embeddings; the file's name is the word that calls it.`];
	}
	const stem = cleanStem(facts.title) || 'lora';
	if (findLayout(plan.layout).id === 'kohya') {
		const file = inlineCode(plan.main);
		return [
			`With A1111 and ComfyUI: put ${file} into their folder of LoRAs; in A1111's prompts it is ${inlineCode(`<lora:${plan.main.replace(/\.[^.]+$/, '')}:1>`)}.`,
		];
	}
	const own = `${stem}.safetensors`;
	return [
		'With A1111 and ComfyUI: they read the layout of kohya, so convert it first,',
		codeBlock('sh', ['lora', 'convert', plan.main, own, '--to', 'kohya'].map(shellWord).join(' ')),
		`and put ${inlineCode(own)} into their folder of LoRAs; in A1111's prompts it is ${inlineCode(`<lora:${stem}:1>`)}.`,
	];
}

/** The words to write in a prompt, for people. */
export function triggerText({ facts, plan }: Pick<UsageInput, 'facts' | 'plan'>): string | undefined {
	const tokens = new Set(plan.files.flatMap((file) => file.tokens));
	if (facts.triggerPhrase !== undefined && oneLine(facts.triggerPhrase) !== '') {
		return `Write ${inlineCode(facts.triggerPhrase)} in the prompt.`;
	}
	if (tokens.size === 0) return undefined;
	const loaded = plan.main === undefined ? '' : `, with ${inlineCode(`${EMBEDDINGS_STEM}.safetensors`)} loaded`;
	return `Write ${[...tokens].map((token) => inlineCode(token)).join(' ')} in the prompt${loaded}.`;
}
