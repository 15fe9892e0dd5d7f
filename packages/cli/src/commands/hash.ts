import { type FileHashes, FormatError, fileHashes, openStateDict, type StateDict } from '@lorakit/format';
import { createNodeSha256, openSource, resolveInput } from '@lorakit/format/node';
import { type CliCommand, examples } from '../command.js';
import { countingSource } from '../counting-source.js';
import { eachFile, type FileTask } from '../each-file.js';
import { needFiles, outputOptions } from '../options.js';
import type { Output, OutputMode } from '../output.js';
import { createProgress } from '../progress.js';
import { printSchema } from '../schema.js';

interface HashFlags extends OutputMode {
	readonly schema?: boolean | undefined;
}

/** `lora hash FILE…` */
export const hashCommand: CliCommand = {
	define(command, context) {
		outputOptions(command.argument('[files...]', 'files, folders, globs, addresses, or -'))
			.addHelpText(
				'after',
				`${examples('lora hash my-lora.safetensors', 'lora hash loras/ --json')}
AutoV2 and SHA-256 are of the whole file (Civitai, A1111 checkpoints); AutoV3 and sshs_model_hash are of the
tensors alone (A1111 LoRAs, kohya); --quiet prints "SHA-256  FILE" lines, as sha256sum does.
`,
			)
			.action(async (files: readonly string[], flags: HashFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'hash');
				await eachFile(needFiles(files, 'hash'), output, async (task) => {
					const { main } = await resolveInput(task.spec, { list: task.list });
					const opened = await openSource(main);
					const progress = createProgress(output, task.spec);
					try {
						const source = countingSource(opened, progress.update);
						print(await fileHashes(source, await stateOf(source, task, output), createNodeSha256), task, output);
					} finally {
						progress.end();
						await opened.close();
					}
				});
			});
	},
};

/** A file that is no sound tensor file has hashes too: those of all its bytes. */
async function stateOf(source: Parameters<typeof openStateDict>[0], task: FileTask, output: Output): Promise<StateDict | undefined> {
	try {
		return await openStateDict(source, { values: false });
	} catch (error) {
		if (!(error instanceof FormatError) || error.code === 'E_IO' || error.code === 'E_HTTP' || error.code === 'E_HUB') throw error;
		const where = task.scope === undefined ? '' : `${task.scope}: `;
		output.note(`${where}no hash of the tensors (${error.code}: ${error.message})`);
		return undefined;
	}
}

function print(hashes: FileHashes, task: FileTask, output: Output): void {
	if (output.mode.json === true) output.document(hashes, task.alone);
	else if (output.mode.quiet === true) output.line(`${hashes.sha256}  ${task.spec}`);
	else {
		const rows: (readonly [string, string | null])[] = [
			['SHA-256', hashes.sha256],
			['AutoV1', hashes.autoV1],
			['AutoV2', hashes.autoV2],
			['AutoV3', hashes.autoV3],
			['AutoV3, short', hashes.autoV3Short],
			['sshs_model_hash', hashes.sshsModelHash],
			['sshs_legacy_hash', hashes.sshsLegacyHash],
		];
		if (!task.alone) output.line(task.spec);
		for (const [name, value] of rows) if (value !== null) output.line(`${task.alone ? '' : '  '}${name.padEnd(16)}  ${value}`);
	}
	output.warn(
		hashes.stale.map((key) => ({
			code: 'W_METADATA_HASH',
			message: `The header says ${key} is ${hashes.recorded[key] ?? ''}, which is not the hash of this file; "lora meta set" writes it anew.`,
		})),
		task.scope,
	);
}
