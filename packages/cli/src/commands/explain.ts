import { type Code, ERROR_CODES, type Explanation, explain, FormatError, isCode, nearestName, quote, WARNING_CODES } from '@lorakit/format';
import { type CliCommand, examples } from '../command.js';
import type { Output, OutputMode } from '../output.js';
import { printSchema } from '../schema.js';

interface ExplainFlags extends OutputMode {
	readonly schema?: boolean | undefined;
}

/** `lora explain [CODE…]` */
export const explainCommand: CliCommand = {
	define(command, context) {
		command
			.argument('[codes...]', 'codes such as E_AMBIGUOUS; none: list all')
			.option('--json', 'print JSON: one document, or one a line for several codes')
			.option('--schema', 'print the JSON Schema of --json and stop')
			.option('-q, --quiet', 'print the codes only')
			.addHelpText('after', examples('lora explain E_AMBIGUOUS', 'lora explain'))
			.action(async (codes: readonly string[], flags: ExplainFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'explain');
				const all: readonly Code[] = [...ERROR_CODES, ...WARNING_CODES];
				const wanted = codes.length === 0 ? all : codes.map(toCode);
				const alone = wanted.length === 1;
				for (const [i, code] of wanted.entries()) {
					const text = await explain(code);
					if (flags.json === true) output.document({ schema: 'lora.explain/1', code, ...text }, alone);
					else if (flags.quiet === true) output.line(code);
					else if (codes.length === 0) output.line(`${code.padEnd(26)}  ${text.title}`);
					else printOne(code, text, output, i > 0);
				}
			});
	},
};

function printOne(code: Code, { title, meaning, whatToDo, example }: Explanation, output: Output, gap: boolean): void {
	output.text(`${gap ? '\n' : ''}${code}: ${title}\n\n${meaning}\n\nWhat to do: ${whatToDo}\n\nExample: ${example}\n`);
}

function toCode(text: string): Code {
	const code = text.toUpperCase();
	if (isCode(code)) return code;
	const near = nearestName(code, [...ERROR_CODES, ...WARNING_CODES]);
	throw new FormatError(
		'E_USAGE',
		`${quote(text)} is no code${near === undefined ? '; "lora explain" lists them' : `; did you mean ${near}?`}${near === undefined ? '.' : ''}`,
	);
}
