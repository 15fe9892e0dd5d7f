import { FormatError, openForMetadata, quote, type StateDict, setMetadata, stripMetadata, writeWithMetadata } from '@lorakit/format';
import { createNodeSha256, openSource, resolveInput, writeFileAtomic, writeStdout } from '@lorakit/format/node';
import type { Command } from 'commander';
import { type CliCommand, examples } from '../command.js';
import { eachFile } from '../each-file.js';
import { needFiles } from '../options.js';
import type { Output, OutputMode } from '../output.js';
import { createProgress } from '../progress.js';
import { printSchema } from '../schema.js';

interface ShowFlags extends OutputMode {
	readonly schema?: boolean | undefined;
	readonly key?: string | undefined;
}

interface EditFlags extends ShowFlags {
	readonly inPlace?: boolean | undefined;
	readonly out?: string | undefined;
	readonly force?: boolean | undefined;
	readonly private?: boolean | undefined;
	readonly all?: boolean | undefined;
}

/** What an edit of the header comes to. */
interface Edit {
	readonly metadata: ReadonlyMap<string, string>;
	readonly removed: readonly string[];
	readonly set: readonly string[];
	readonly kept: readonly string[];
}

/** `lora meta show|set|strip` */
export const metaCommand: CliCommand = {
	define(command, context) {
		command.addHelpText(
			'after',
			examples(
				'lora meta show my-lora.safetensors',
				'lora meta set my-lora.safetensors modelspec.title="Ink wash" --in-place',
				'lora meta strip my-lora.safetensors --private --out clean.safetensors',
			),
		);
		modeOptions(command.command('show').summary('print the header entries').description('Print the header entries, values in full.'))
			.argument('[files...]', 'safetensors files, folders, globs, addresses, or -')
			.option('--key <key>', 'print the value of this entry alone')
			.addHelpText('after', examples('lora meta show my-lora.safetensors', 'lora meta show my-lora.safetensors --key ss_output_name'))
			.action(async (files: readonly string[], flags: ShowFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'meta');
				await show(needFiles(files, 'meta show'), flags, output);
			});
		editOptions(command.command('set').summary('set entries').description('Set header entries; tensor bytes stay as they are.'))
			.argument('[file]', 'safetensors file')
			.argument('[entries...]', 'KEY=VALUE')
			.addHelpText('after', examples('lora meta set my-lora.safetensors modelspec.title="Ink wash" --in-place'))
			.action(async (file: string | undefined, entries: readonly string[], flags: EditFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'meta');
				if (entries.length === 0) throw new FormatError('E_USAGE', 'Give at least one KEY=VALUE to set.');
				const pairs = entries.map(toPair);
				await edit(file, flags, output, ({ metadata }) => setMetadata(metadata, pairs));
			});
		editOptions(
			command.command('strip').summary('take entries away').description('Take header entries away; tensor bytes stay as they are.'),
		)
			.argument('[file]', 'safetensors file')
			.argument('[keys...]', 'entries to take away')
			.option('--private', 'captions, tags, folders, comments, names, dates, and every value that holds a path')
			.option('--all', 'everything but what the meaning of the tensors hangs on')
			.addHelpText('after', examples('lora meta strip my-lora.safetensors --private --out clean.safetensors'))
			.action(async (file: string | undefined, keys: readonly string[], flags: EditFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'meta');
				const ways = [flags.private === true, flags.all === true, keys.length > 0].filter(Boolean).length;
				if (ways !== 1) throw new FormatError('E_USAGE', 'Say what to take away: KEY..., --private or --all.');
				const which = flags.private === true ? 'private' : flags.all === true ? 'all' : keys;
				await edit(file, flags, output, ({ metadata }) => stripMetadata(metadata, which));
			});
	},
};

function modeOptions(command: Command): Command {
	return command
		.option('--json', 'print JSON')
		.option('--schema', 'print the JSON Schema of --json and stop')
		.option('-q, --quiet', 'print results only')
		.option('--strict', 'exit 1 on warnings too');
}

function editOptions(command: Command): Command {
	return modeOptions(command)
		.option('--in-place', 'replace the file itself, whole or not at all')
		.option('--out <file>', 'write to this file; - for standard output')
		.option('-f, --force', 'replace the output when it is there');
}

async function show(files: readonly string[], flags: ShowFlags, output: Output): Promise<void> {
	await eachFile(files, output, async (task) => {
		const source = await openSource((await resolveInput(task.spec, { list: task.list })).main);
		try {
			const { state, warnings } = await openForMetadata(source);
			const { metadata } = state;
			if (flags.key !== undefined) {
				const value = metadata.get(flags.key);
				if (value === undefined) throw new FormatError('E_METADATA', `${quote(task.spec)} has no header entry ${quote(flags.key)}.`);
				output.text(`${value}\n`);
			} else if (flags.json === true) output.document(document(source.name, metadata), task.alone);
			else if (flags.quiet === true) for (const key of metadata.keys()) output.line(key);
			else {
				if (!task.alone) output.line(task.spec);
				for (const [key, value] of metadata) output.line(`${task.alone ? '' : '  '}${key}=${value}`);
			}
			output.warn(warnings, task.scope);
		} finally {
			await source.close();
		}
	});
}

async function edit(file: string | undefined, flags: EditFlags, output: Output, change: (state: StateDict) => Edit): Promise<void> {
	if (file === undefined) throw new FormatError('E_USAGE', 'Name a file. See "lora meta --help".');
	const { inPlace, out } = flags;
	if ((inPlace === true) === (out !== undefined))
		throw new FormatError('E_USAGE', 'Say where the result goes: --in-place or --out FILE (one of them).');
	if (inPlace === true && (file === '-' || file.includes('://')))
		throw new FormatError('E_USAGE', '--in-place needs a file on this machine; give --out FILE.');
	const { main } = await resolveInput(file);
	const source = await openSource(main);
	const progress = createProgress(output, main);
	try {
		const { state, warnings } = await openForMetadata(source);
		const edited = change(state);
		const options = { hasher: createNodeSha256, onProgress: progress.update };
		const write = (sink: Parameters<typeof writeWithMetadata>[3]): Promise<void> =>
			writeWithMetadata(source, state, edited.metadata, sink, options);
		const target = inPlace === true ? main : (out ?? '');
		if (target === '-') await writeStdout(write);
		else if (inPlace === true) await writeFileAtomic(target, withCheck(write, source), { force: true });
		else await writeFileAtomic(target, write, { force: flags.force, inputs: [source] });
		progress.end();
		report(target, edited, output);
		output.warn(warnings);
	} finally {
		progress.end();
		await source.close();
	}
}

/** In place the input is the output, which the writer refuses as an input: so the check for changes is made here. */
function withCheck<S>(write: (sink: S) => Promise<void>, source: object): (sink: S) => Promise<void> {
	return async (sink) => {
		await write(sink);
		if ('assertUnchanged' in source && typeof source.assertUnchanged === 'function') source.assertUnchanged();
	};
}

function report(target: string, edit: Edit, output: Output): void {
	const text = `${target}: ${edit.set.length} set, ${edit.removed.length} removed, ${edit.metadata.size} entries now`;
	if (target === '-') output.talk(text);
	else if (output.mode.json === true) {
		output.document({ ...document(target, edit.metadata), edit: { set: edit.set, removed: edit.removed, kept: edit.kept } }, true);
	} else if (output.mode.quiet === true) output.line(target);
	else output.line(text);
	if (edit.kept.length > 0)
		output.note(`kept, because the tensors mean something else without: ${edit.kept.join(', ')}; name the key to remove it anyway.`);
}

/** Schema: schema/meta.schema.json. A list of pairs: a key of a file is never the name of a property. */
function document(file: string, metadata: ReadonlyMap<string, string>): object {
	return { schema: 'lora.meta/1', file, entries: Array.from(metadata, ([key, value]) => ({ key, value })) };
}

function toPair(text: string): readonly [string, string] {
	const at = text.indexOf('=');
	if (at <= 0) throw new FormatError('E_USAGE', `${quote(text)} is no KEY=VALUE.`);
	return [text.slice(0, at), text.slice(at + 1)];
}
