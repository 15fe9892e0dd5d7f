import { FormatError } from '@lorakit/format';
import { readModelCard } from '@lorakit/runtime/node';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { TrainableTensor } from '../../src/model/trainable-tensor.js';
import { escapeMarkdown, inlineCode, oneLine, pythonString, shellWord } from '../../src/result/escape-markdown.js';
import { type ModelCardInput, modelCard } from '../../src/result/model-card.js';
import { planResult } from '../../src/result/plan-result.js';
import { repositoryName } from '../../src/result/repository-name.js';
import { trainedAdapter } from '../../src/result/trained-adapter.js';
import type { TrainingFacts } from '../../src/result/training-facts.js';
import { attentionOf, NARROW, someFacts } from './support.js';

const { modules, tensors } = attentionOf(NARROW, 2);
const rows: TrainableTensor = { name: 'added_rows', group: 'tokens', shape: [1, 12], values: new Float32Array(12) };
const tokens = [{ token: '<s1>', vectors: 1 }];
const plan = planResult(trainedAdapter(tensors, { name: 'card', architecture: 'sd1', modules }));
const pivotal = planResult(trainedAdapter([...tensors, rows], { name: 'card', architecture: 'sd1', modules, tokens }));
const inversion = planResult(trainedAdapter([rows], { name: 'card', architecture: 'sd1', modules: [], tokens }));

function card(changes: Partial<TrainingFacts> = {}, input: Partial<ModelCardInput> = {}): string {
	return modelCard({ facts: someFacts(changes), modules, plan, ...input });
}

function codeOf(run: () => unknown): string | undefined {
	try {
		run();
		return undefined;
	} catch (error) {
		return error instanceof FormatError ? error.code : 'no FormatError';
	}
}

describe("read by the runtime's own reader", () => {
	test('everything that is in it', () => {
		const samples = [
			{ path: 'samples/0.png', prompt: 'a striped "star": yes', caption: 'scale 1' },
			{ path: 'samples/1 b.png', prompt: 'two' },
		];
		const read = readModelCard(card({}, { samples }));
		expect(read).toMatchObject({
			baseModels: ['somebody/tiny-shapes'],
			baseModelRelation: 'adapter',
			baseInText: 'somebody/tiny-shapes',
			instancePrompt: 'striped',
			license: 'cc0-1.0',
			libraryName: 'diffusers',
			pipelineTag: 'text-to-image',
			warnings: [],
			examples: samples.map(({ path, prompt }) => ({ text: prompt, picture: path })),
		});
		expect(read.tags).toEqual(expect.arrayContaining(['stable-diffusion', 'text-to-image', 'diffusers', 'lora', 'lorakit', 'shapes']));
	});

	test('a base that is only here: no base_model, and the card says so', () => {
		const { repo: _, ...base } = someFacts().base;
		const text = card({ base });
		expect(readModelCard(text).baseModels).toEqual([]);
		expect(text).toContain('no model of the Hub');
	});

	test('learned tokens: tag, trigger, how to load them', () => {
		const { triggerPhrase: _, ...facts } = someFacts();
		const text = modelCard({ facts, modules, plan: pivotal, repo: 'me/card' });
		expect(readModelCard(text).tags).toContain('textual_inversion');
		expect(text).toContain('pipeline.load_textual_inversion("me/card", weight_name="learned_embeds.safetensors", token="<s1>")');
		expect(text).toContain('pipeline.load_lora_weights("me/card", weight_name="pytorch_lora_weights.safetensors")');
		expect(text).toContain('`<s1>`');
		const alone = modelCard({ facts, modules: [], plan: inversion });
		expect(alone).toContain('This is a textual inversion');
		expect(readModelCard(alone).tags).not.toContain('lora');
		expect(alone).not.toContain('load_lora_weights');
	});

	// Whatever a user types comes back as it was, but for white space and characters that cannot be seen.
	test('any text of a user', () => {
		const nasty = fc.oneof(
			fc.string({ unit: 'binary', maxLength: 60 }),
			fc.constantFrom(
				'---\nbase_model: evil/base\n---',
				'<script>alert(1)</script>',
				'![x](y)',
				'| a | b |',
				'yes',
				'no',
				'1e3',
				'2026-01-01',
				'1:20',
				'~',
				'null',
				'`` ` ```',
				'{a: 1}',
				'# x',
				'- a',
				'&a *a',
				'@x',
				'%TAG',
				"it's",
				'a: b',
				'"',
				'\\',
				'$x$',
				'0x1f',
				'!!js/function x',
			),
		);
		fc.assert(
			fc.property(nasty, nasty, nasty, nasty, (title, trigger, prompt, license) => {
				const text = card(
					{ title, triggerPhrase: trigger, license, description: title, tags: [prompt] },
					{ samples: [{ path: 'a.png', prompt }] },
				);
				const read = readModelCard(text);
				expect(read.warnings).toEqual([]);
				expect(read.baseModels).toEqual(['somebody/tiny-shapes']);
				expect(read.instancePrompt ?? '').toBe(oneLine(trigger));
				expect(read.license ?? '').toBe(oneLine(license));
				expect(read.examples.map((e) => e.text)).toEqual(oneLine(prompt) === '' ? [] : [oneLine(prompt)]);
				if (oneLine(prompt) !== '') expect(read.tags).toContain(oneLine(prompt));
				// YAML 1.1 readers (the Hub's, Python's) must see texts too.
				const front = text.slice(4, text.indexOf('\n---\n', 4));
				const old = parse(front, { version: '1.1' }) as { readonly instance_prompt?: unknown; readonly license?: unknown };
				for (const value of [old.instance_prompt, old.license]) expect(['string', 'undefined']).toContain(typeof value);
			}),
			{ numRuns: 300 },
		);
	});
});

describe('text of users as Markdown', () => {
	test.each([
		['a <b> & c', 'a &lt;b&gt; &amp; c'],
		['[x](y)', '\\[x\\](y)'],
		['a|b', 'a\\|b'],
		['# x', '\\# x'],
		['1. x', '1\\. x'],
		['- x', '\\- x'],
		['*a* _b_ `c` ~d~ $e$', '\\*a\\* \\_b\\_ \\`c\\` \\~d\\~ \\$e\\$'],
		['a\n\n# b', 'a # b'],
		['a\u202eb\u0000', 'ab'],
	])('%j', (text, escaped) => expect(escapeMarkdown(text)).toBe(escaped));

	test('code spans and words of shells and Python', () => {
		expect(inlineCode('a ` b')).toBe('``a ` b``');
		expect(inlineCode('`a`')).toBe('`` `a` ``');
		expect(shellWord("it's")).toBe("'it'\\''s'");
		expect(shellWord('a/b.c')).toBe('a/b.c');
		expect(pythonString('say "hi" \\')).toBe('"say \\"hi\\" \\\\"');
	});

	test('a picture with a prompt that is Markdown stays a picture', () => {
		const text = card({}, { samples: [{ path: 'samples/a (1).png', prompt: '](evil) <img src=x>' }] });
		expect(text).toContain('![\\](evil) &lt;img src=x&gt;](samples/a%20%281%29.png)');
	});
});

describe('what is refused', () => {
	test.each([
		'/models/sd15',
		'./sd15',
		'../sd15',
		'~/sd15',
		'C:\\sd15',
		'sd15.safetensors',
		'models/sd15.ckpt',
		'sd15',
		'a/b/c',
		'a/b--c',
		'a/-b',
		'a/b.git',
		'',
		'a/',
		'https://huggingface.co/a/b',
	])('base_model %j', (repo) => {
		expect(codeOf(() => repositoryName(repo, 'base_model'))).toBe('E_HUB');
		expect(codeOf(() => card({ base: { ...someFacts().base, repo } }))).toBe('E_HUB');
	});

	test.each(['CompVis/stable-diffusion-v1-4', 'stable-diffusion-v1-5/stable-diffusion-v1-5', 'a/b', 'a_b/c.d-e'])('not %j', (repo) => {
		expect(repositoryName(repo, 'base_model')).toBe(repo);
	});

	test.each(['../a.png', '/a.png', 'a//b.png', 'a\\b.png', './a.png', 'a\u202e.png', ''])('the sample %j', (path) => {
		expect(codeOf(() => card({}, { samples: [{ path, prompt: 'x' }] }))).toBe('E_NAME');
	});
});
