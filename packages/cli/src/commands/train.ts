import { FormatError } from '@lorakit/format';
import { type Objective, runConfigJsonSchema } from '@lorakit/trainer';
import { type CliCommand, examples } from '../command.js';
import { reportFailure } from '../each-file.js';
import { printSchema } from '../schema.js';
import { printPlan, trainAndPrint } from '../train/run-train.js';
import { type KeyHelp, type TrainFlags, trainOptions } from '../train/train-flags.js';
import { trainRequest } from '../train/train-request.js';

interface ObjectiveHelp {
	readonly objective: Objective;
	readonly summary: string;
	readonly examples: readonly string[];
}

const OBJECTIVES: readonly ObjectiveHelp[] = [
	{
		objective: 'text-to-image',
		summary: 'a style or a subject from captioned pictures',
		examples: [
			'lora train text-to-image --base sd15/ --data pictures/ --out my-style --steps 1000',
			'lora train text-to-image --config run.yaml --lr 5e-5 --dry-run',
		],
	},
	{
		objective: 'dreambooth',
		summary: 'one subject from a few pictures, with pictures of its class to keep the rest',
		examples: [
			'lora train dreambooth --base sd15/ --data dog/ --instance-prompt "a photo of zqx dog" --class-prompt "a photo of a dog" --train-text-encoder --out dog-lora',
		],
	},
	{
		objective: 'textual-inversion',
		summary: 'a new word, the model itself unchanged',
		examples: [
			'lora train textual-inversion --base sd15/ --data cat/ --placeholder-token "<cat-toy>" --initializer-token toy --out cat-toy',
		],
	},
	{
		objective: 'pivotal',
		summary: 'a new word first, then an adapter that goes with it',
		examples: ['lora train pivotal --base sd15/ --data cat/ --placeholder-token "<s1>" --initializer-token toy --out cat-toy'],
	},
];

/** `lora train text-to-image|dreambooth|textual-inversion|pivotal` */
export const trainCommand: CliCommand = {
	define(command, context) {
		const about = keyTexts();
		command.addHelpText(
			'after',
			`${examples('lora train text-to-image --base sd15/ --data pictures/ --out my-style --steps 1000', 'lora train text-to-image --config run.yaml --dry-run', 'lora train text-to-image --config run.yaml --resume')}
Pictures with captions (metadata.jsonl or .txt files beside them), a Parquet file, or a data set of the Hub. The result is a
folder with the adapter, a model card and sample pictures; checkpoints in it can be used and resumed. Ctrl-C saves.
`,
		);
		for (const { objective, summary, examples: lines } of OBJECTIVES) {
			trainOptions(command.command(objective).summary(summary).description(`Learn ${summary}.`), about)
				.addHelpText('after', `${examples(...lines)}\nEvery key of --config, with its default: lora train ${objective} --config-schema\n`)
				.action(async (flags: Readonly<Record<string, unknown>> & TrainFlags) => {
					const output = context.open(flags);
					if (flags.configSchema === true) return output.text(`${JSON.stringify(runConfigJsonSchema(), undefined, '\t')}\n`);
					if (flags.schema === true) return printSchema(output, 'train');
					try {
						const request = trainRequest(objective, flags);
						if (flags.dryRun === true) await printPlan(request, flags, output);
						else await trainAndPrint(request, flags, output);
					} catch (error) {
						// Under --json a refusal is a document too.
						if (flags.json !== true || !(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
						reportFailure(output, String(flags.config ?? flags['out'] ?? ''), error, true);
					}
				});
		}
	},
};

/** What a key of the configuration means, in its schema's words, and what it may be. */
function keyTexts(): (key: string) => KeyHelp {
	const schema = runConfigJsonSchema();
	return (key) => {
		let node: unknown = schema;
		for (const name of key.split('.')) node = below(node, name);
		const text = field(node, 'description');
		return {
			text: typeof text === 'string' ? lowered(text.replace(/\.$/, '')) : key.slice(key.lastIndexOf('.') + 1).replaceAll('_', ' '),
			choices: choicesOf(node) ?? kindsOf(schema, key),
		};
	};
}

/** The words of an enumeration; `null` is one where it may be none. */
function choicesOf(node: unknown): readonly string[] | undefined {
	const values = field(node, 'enum');
	return Array.isArray(values) ? values.map(String) : undefined;
}

/** `optimizer.kind`: each kind has keys of its own. */
function kindsOf(schema: unknown, key: string): readonly string[] | undefined {
	const [parent = '', name] = key.split('.');
	const options = field(field(field(schema, 'properties'), parent), 'oneOf');
	if (!Array.isArray(options) || name === undefined) return undefined;
	const found = options.map((option) => field(below(option, name), 'const')).filter((value) => typeof value === 'string');
	return found.length === 0 ? undefined : found;
}

/** Under a key, through what may be null and through the kinds of a thing. */
function below(node: unknown, key: string): unknown {
	const own = field(field(node, 'properties'), key);
	if (own !== undefined) return own;
	for (const list of [field(node, 'anyOf'), field(node, 'oneOf')]) {
		if (!Array.isArray(list)) continue;
		for (const option of list) {
			const found = below(option, key);
			if (found !== undefined) return found;
		}
	}
	return undefined;
}

function field(node: unknown, key: string): unknown {
	return typeof node === 'object' && node !== null ? (node as Readonly<Record<string, unknown>>)[key] : undefined;
}

/** Options begin in lower case; names such as UNet stay. */
function lowered(text: string): string {
	return /^[A-Z](?:[a-z]| )/.test(text) && !/^[A-Z][a-z]+[A-Z]/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text;
}
