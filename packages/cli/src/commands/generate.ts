import { FormatError } from '@lorakit/format';
import { SCHEDULER_KINDS } from '@lorakit/runtime';
import { readPictureFile } from '@lorakit/runtime/node';
import { Option } from 'commander';
import { type CliCommand, examples } from '../command.js';
import { DORA_STRENGTH_HELP, DORA_STRENGTHS } from '../dora-strength.js';
import { reportFailure } from '../each-file.js';
import { compareWithRecord, type RepeatReport } from '../generate/compare-record.js';
import { EDIT_KINDS } from '../generate/edit-request.js';
import { generateDocument, generateText } from '../generate/generate-report.js';
import { type GenerateFlags, requestOf, requestOfRecord } from '../generate/generate-request.js';
import { GRID_AXES } from '../generate/grid-spec.js';
import { DEVICES, ENGINES, PRECISIONS } from '../generate/open-engine.js';
import { readRecord } from '../generate/picture-record.js';
import { WEIGHTINGS } from '../generate/prompt-language.js';
import { readPng } from '../generate/read-png.js';
import { runGenerate } from '../generate/run-generate.js';
import { outputOptions, readingOptions } from '../options.js';
import type { Output } from '../output.js';
import { printSchema } from '../schema.js';

/** Options that may come several times. */
function several(value: string, before: readonly string[] | undefined): readonly string[] {
	return [...(before ?? []), value];
}

/** `lora generate --base BASE --prompt TEXT …` */
export const generateCommand: CliCommand = {
	define(command, context) {
		command
			.option('--base <path>', 'base model: a diffusers folder or a single-file checkpoint')
			.option('--lora <file@scale>', 'adapter over the base: FILE[@scale][:unet=0.5,te=0,lbw=...]; may come several times', several)
			.option(
				'--from-hub <owner/lora@scale>',
				'adapter of the Hugging Face Hub, over the base that its card names, both kept in the cache of the Hub',
			)
			.option('--offline', 'with --from-hub: only what is in the cache')
			.option('--prompt <text>', 'what to draw')
			.option('--negative <text>', 'what not to draw')
			.option('--seed <n>', 'seed of the noise, as torch takes it on a CPU (default: a random one, printed)')
			.option('--steps <n>', 'steps of the scheduler (default: 20)')
			.addOption(new Option('--scheduler <name>', 'sampler (default: dpmsolver++)').choices([...SCHEDULER_KINDS]))
			.option(
				'--scheduler-option <name=value>',
				"an option by diffusers' name, such as use_karras_sigmas=true; may come several times",
				several,
			)
			.option('--guidance <g>', 'classifier-free guidance; 1 or less: none (default: 7.5)')
			.option('--guidance-rescale <r>', 'rescale the guided noise, 0 to 1 (default: 0)')
			.option('--eta <eta>', 'of ddim: 0 draws no noise, 1 as much as ddpm (default: 0)')
			.option('--clip-skip <n>', 'last layers of the text encoder to leave out (default: 0; A1111 says one more)')
			.option('--size <widthxheight>', 'in pixels, multiples of 8 (default: that of --init-image, else what the base was trained at)')
			.option('--num <n>', 'pictures, of the seeds n, n+1, ...; each is that of its seed alone (default: 1)')
			.option('--init-image <file>', 'start from this picture (PNG, JPEG, WebP, ...; any size) instead of noise')
			.option('--strength <s>', 'how far to go from --init-image, above 0 to 1 (default: 0.8)')
			.option('-o, --out <path>', 'a .png file, or a folder that gets picture-SEED.png (default: the current folder)')
			.option(
				'--grid <axes>',
				`one labelled sheet, such as "scale=0,0.5,1 x seed=1..4"; axes: ${GRID_AXES.join(', ')}; values with commas in double quotes`,
			)
			.option('--repeat <file.png>', 'make a picture again from what is written in it, and name what differs')
			.addOption(
				new Option(
					'--weighting <language>',
					'how prompts are read; a1111: (word:1.2), [from:to:0.5], [a|b], AND, BREAK, any length, <lora:name:0.8>',
				).choices([...WEIGHTINGS]),
			)
			.option('--edit <prompt>', 'draw this too, keeping the layout of the picture (Prompt-to-Prompt); may come several times', several)
			.addOption(
				new Option(
					'--edit-kind <kind>',
					'replace words, refine (words added or taken away), or reweight (default: replace where both have as many words, else refine)',
				).choices([...EDIT_KINDS]),
			)
			.option(
				'--edit-cross <share>',
				'while the source decides where words are: 0.8, 0.2..0.8, or WORD=0.4 for one word (default: 0.8); may come several times',
				several,
			)
			.option('--edit-self <share>', 'while the source decides the layout: 0.4, 0.2..0.8 (default: 0.4)')
			.option(
				'--edit-word <word=factor>',
				'attention to a word of the edits, times this; without --edit of the prompt itself; may come several times',
				several,
			)
			.option('--edit-local <word>', 'change only where these words of source and edits are; may come several times', several)
			.option('--edit-threshold <t>', 'of --edit-local: share of the largest attention from which a place may change (default: 0.3)')
			.option('--edit-start <share>', 'of --edit-local: part of the run before it begins (default: 0.2)')
			.option(
				'--attention-maps <word>',
				'write a sheet of where the model looks at for a word, or for "all" tokens, as OUT-attention.png; may come several times',
				several,
			)
			.option('--lora-dir <dir>', 'where <lora:name> of the prompt is looked for (default: the current folder)')
			.option('--embedding <file=token>', 'learned tokens, FILE or FILE=token; may come several times', several)
			.option('--fused', 'fuse the adapters into the weights, in memory, instead of computing them over the base')
			.addOption(new Option('--dora-strength <how>', `${DORA_STRENGTH_HELP} (default: interpolate)`).choices([...DORA_STRENGTHS]))
			.option('--tokenizer <dir>', 'folder with vocab.json and merges.txt, where the base has none')
			.option('--config <dir>', 'for a single file: folder with the config.json files of its components')
			.option('--variant <name>', 'which weights of a folder, such as fp16')
			.addOption(new Option('--engine <engine>', 'what computes (default: onnx)').choices([...ENGINES]))
			.addOption(
				new Option(
					'--device <device>',
					'where it computes (default: cpu; for tfjs the best there is); "lora doctor" says what works here',
				).choices([...DEVICES]),
			)
			.option('--threads <n>', 'threads on the CPU (default: all cores)')
			.addOption(
				new Option(
					'--precision <type>',
					'fp16: products in float16 and the rest in float32, by --engine onnx on a device that has it (default: fp32)',
				).choices([...PRECISIONS]),
			);
		readingOptions(command)
			.option('-f, --force', 'replace files that are there')
			.option('-n, --dry-run', 'check everything and say what would be made; compute and write nothing');
		outputOptions(command)
			.addHelpText(
				'after',
				`${examples(
					'lora generate --base sd15/ --lora style.safetensors@0.8 --prompt "a red fox" --seed 7 --out fox.png',
					'lora generate --base sd15/ --prompt "a red fox" --num 4 --seed 7 --out foxes/',
					'lora generate --base sd15/ --lora style.safetensors --prompt "a red fox" --grid "scale=0,0.5,1 x seed=1..4" --out sheet.png',
					'lora generate --base sd15/ --prompt "a (red:1.3) fox <lora:style:0.8>" --weighting a1111 --lora-dir loras/',
					'lora generate --from-hub sayakpaul/sd-model-finetuned-lora-t4@0.8 --prompt "a blue pokemon" --out pokemon.png',
					'lora generate --base sd15/ --prompt "a red fox in the snow" --edit "a red wolf in the snow" --out foxes/',
					'lora generate --base sd15/ --prompt "a red fox" --attention-maps fox --out fox.png',
					'lora generate --repeat fox.png',
				)}
The noise is that of torch on a CPU, and the numbers are diffusers': the same base, adapter, seed and settings give the
same picture to within one grey level. Adapters stay outside the base, whose files are never changed. Every PNG says how
it was made: as A1111 and ComfyUI write it, and exactly, for --repeat.
`,
			)
			.action(async (flags: GenerateFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'generate');
				try {
					await generateAndPrint(flags, output);
				} catch (error) {
					// Under --json a refusal is a document too.
					if (flags.json !== true || !(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
					reportFailure(output, flags.base ?? flags.repeat ?? '', error, true);
				}
			});
	},
};

async function generateAndPrint(given: GenerateFlags, output: Output): Promise<void> {
	// What is wrong with the flags is said before gigabytes are fetched.
	if (given.fromHub !== undefined && given.repeat === undefined) requestOf({ ...given, base: given.base ?? '.' });
	if (given.fromHub !== undefined && given.repeat !== undefined) {
		throw new FormatError(
			'E_USAGE',
			'--repeat takes everything that makes the picture from the file, so --from-hub cannot stand beside it.',
		);
	}
	const hub = given.fromHub === undefined ? undefined : await hubOf(given.fromHub, given, output);
	const flags = hub?.flags ?? given;
	for (const note of hub?.notes ?? []) output.note(note);
	output.warn(hub?.warnings ?? []);
	const before = flags.repeat === undefined ? undefined : await readRepeated(flags.repeat);
	const request = before === undefined ? requestOf(flags) : requestOfRecord(before.record, flags);
	const result = await runGenerate(request, output);
	const [file] = result.files;
	let repeat: RepeatReport | undefined;
	if (before !== undefined && flags.repeat !== undefined && file?.made?.picture !== undefined) {
		repeat = compareWithRecord(flags.repeat, before, { record: file.record, picture: file.made.picture });
	}
	if (flags.json === true) output.document(generateDocument(result, repeat), true);
	else if (flags.quiet === true) for (const { path } of result.files) output.line(path ?? '');
	else output.text(generateText(result, repeat));
	if (before === undefined && flags.seed === undefined && request.grid?.axes.some(({ name }) => name === 'seed') !== true) {
		output.note(`The seed was drawn: --seed ${request.settings.seed} makes the same again.`);
	}
	for (const note of result.notes) output.note(note);
	output.warn(result.warnings);
	if (repeat?.equal === false) {
		const why =
			repeat.differences.length === 0
				? 'although nothing that is recorded differs: another machine'
				: `${repeat.differences.length} thing(s) differ`;
		output.refuse([{ code: 'E_VERIFY', message: `${repeat.file} came out otherwise (${why}).` }]);
	}
}

async function readRepeated(path: string) {
	const png = readPng(await readPictureFile(path), path);
	return { record: readRecord(png.texts, path), picture: png };
}

/** Loaded when it is asked for: the client of the Hub and YAML. */
async function hubOf(spec: string, flags: GenerateFlags, output: Output) {
	const { fromHub } = await import('../generate/from-hub.js');
	return fromHub(spec, flags, output);
}
