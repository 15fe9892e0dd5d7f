import { type applyOverrides, CONFIG_FLAGS, parseSet } from '@lorakit/trainer';
import { type Command, Option } from 'commander';
import { outputOptions } from '../options.js';
import type { OutputMode } from '../output.js';

type ConfigFlag = (typeof CONFIG_FLAGS)[number];
type ConfigOverride = Parameters<typeof applyOverrides>[1][number];

/** Options of `lora train OBJECTIVE` that are no keys of the configuration, as commander hands them over. */
export interface TrainFlags extends OutputMode {
	readonly schema?: boolean | undefined;
	readonly config?: string | undefined;
	readonly set?: readonly string[] | undefined;
	/** true: the newest checkpoint; a text: that one. */
	readonly resume?: boolean | string | undefined;
	readonly resumeChanged?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
	/** false: the plan has no time. */
	readonly measure?: boolean | undefined;
	readonly configSchema?: boolean | undefined;
	readonly force?: boolean | undefined;
	readonly baseModel?: string | undefined;
	readonly title?: string | undefined;
	readonly author?: string | undefined;
	readonly description?: string | undefined;
	readonly privateData?: boolean | undefined;
	readonly pushToHub?: string | undefined;
	readonly privateRepo?: boolean | undefined;
	readonly overwrite?: boolean | undefined;
}

/** A key of the configuration, for people. */
export interface KeyHelp {
	readonly text: string;
	readonly choices: readonly string[] | undefined;
}

/** What stands for the argument of a flag in the help, by the last word of its name. */
const PLACEHOLDERS: ReadonlyMap<string, string> = new Map([
	['base', 'path'],
	['data', 'path'],
	['out', 'dir'],
	['init-adapter', 'file'],
	['class-data', 'dir'],
	['instance-prompt', 'text'],
	['class-prompt', 'text'],
	['validation-prompt', 'text'],
	['placeholder-token', 'token'],
	['initializer-token', 'word'],
]);

/**
 * Add the options: one for each key of the configuration that has a flag (their texts are the configuration's own), `--set` for
 * all others, and what is no key.
 * @param about what a key means, from the schema of the configuration
 */
export function trainOptions(command: Command, about: (key: string) => KeyHelp): Command {
	command.option('-c, --config <file>', 'configuration of the run, YAML or JSON; flags stand over it');
	for (const { flag, key, kind } of CONFIG_FLAGS) {
		const argument = kind === 'switch' ? '' : ` <${PLACEHOLDERS.get(flag) ?? 'value'}>`;
		const { text, choices } = about(key);
		const option = new Option(`--${flag}${argument}`, `${text} (${key})`);
		if (kind === 'list') option.argParser(several);
		else if (kind === 'value' && choices !== undefined) option.choices(choices);
		command.addOption(option);
	}
	command
		.option('--set <key=value>', 'any key of the configuration, such as train.lr_power=2; may come several times', several)
		.option('--resume [checkpoint]', 'go on from the newest checkpoint of the output folder, or from the one named')
		.option('--resume-changed', 'go on although the configuration, the data or the base has changed since')
		.option('--base-model <owner/name>', 'the base on the Hugging Face Hub, for the model card, where --base is a path')
		.option('--title <text>', 'what the adapter is called (default: the name of the output folder)')
		.option('--author <name>', 'who made it, for the header of the file')
		.option('--description <text>', 'what it is, for the card and the header of the file')
		.option('--private-data', 'tell neither captions nor folder names in the header of the file')
		.option('--push-to-hub <owner/name>', 'publish the result, with the token in HF_TOKEN; needs a base that is on the Hub')
		.option('--private-repo', 'with --push-to-hub: a new repository is private')
		.option('--overwrite', 'with --push-to-hub: replace files that the repository has')
		.option('-f, --force', 'replace the result of an earlier run in the output folder')
		.option('-n, --dry-run', 'check everything and print the plan: sizes, steps, memory, time; write nothing')
		.option('--no-measure', 'with --dry-run: load nothing and compute no micro-batch, so estimate no time')
		.option('--config-schema', 'print the JSON Schema of --config and stop');
	return outputOptions(command);
}

function several(value: string, before: readonly string[] | undefined): readonly string[] {
	return [...(before ?? []), value];
}

/** The flags that were given, in the order of the table, then `--set` in the order given: later ones win. @throws {FormatError} `E_USAGE` */
export function overridesOf(flags: Readonly<Record<string, unknown>> & TrainFlags): readonly ConfigOverride[] {
	const given = CONFIG_FLAGS.flatMap((flag) => {
		const value = flags[camelCase(flag.flag)];
		return value === undefined ? [] : [overrideOf(flag, value)];
	});
	return [...given, ...(flags.set ?? []).map(parseSet)];
}

function overrideOf({ flag, key, kind, value: said }: ConfigFlag, value: unknown): ConfigOverride {
	// A switch that says something else than true: --train-text-encoder.
	const own = kind === 'switch' ? (said ?? true) : kind === 'list' ? (value as readonly string[]) : String(value);
	return { flag: `--${flag}`, key, value: own };
}

/** As commander names it. */
function camelCase(flag: string): string {
	return flag.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}
