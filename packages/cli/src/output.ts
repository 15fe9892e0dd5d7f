import { escapeControls, FormatError, type Warning } from '@lorakit/format';
import { isTerminal, paints, wantsColour } from './terminal.js';
import { writeDescriptor } from './write-descriptor.js';

/** How a command was asked to speak. */
export interface OutputMode {
	/** Only the results that scripts want (paths); no notes, no summary. Codes still go to stderr. */
	readonly quiet?: boolean | undefined;
	/** Results as JSON. */
	readonly json?: boolean | undefined;
	/** Warnings make the exit code 1. */
	readonly strict?: boolean | undefined;
	/** false: never draw a progress line. */
	readonly progress?: boolean | undefined;
}

/** Findings of one code that are printed one by one; the rest is counted. `--json` has them all. */
const MAX_PER_CODE = 20;

/**
 * The only place that prints. Results go to standard output; codes, notes and progress go to standard error. All
 * text is escaped: a tensor name cannot move the cursor. Keeps count of what decides the exit code.
 */
export class Output {
	readonly mode: OutputMode;
	#failed = false;
	#warned = false;
	#usage = false;
	#stdoutGone = false;
	/** Something is drawn on the last line of the terminal. */
	#progressDrawn = false;
	/** Lines of a picture under the progress line. */
	#linesBelow = 0;

	/** Whether a descriptor is a coloured terminal is asked when the first code is printed, if ever. */
	#colours: ReturnType<typeof paints> | undefined;

	constructor(mode: OutputMode) {
		this.mode = mode;
	}

	/** The exit code so far: 2 for wrong usage, 1 for a refusal (or a warning under `--strict`), else 0. */
	get exitCode(): number {
		if (this.#usage) return 2;
		return this.#failed || (this.#warned && this.mode.strict === true) ? 1 : 0;
	}

	/** True when nobody reads standard output any more: a command that only prints may stop. */
	get stdoutGone(): boolean {
		return this.#stdoutGone;
	}

	/** One line of results. */
	line(text: string): void {
		this.text(`${escapeControls(text)}\n`);
	}

	/** Results of several lines, as they are but for control characters. */
	text(text: string): void {
		this.#stdout(escapeLines(text));
	}

	/** One JSON document: indented when it is the only one, one line when there are several. */
	document(value: unknown, alone: boolean): void {
		this.text(`${JSON.stringify(value, undefined, alone ? 2 : undefined)}\n`);
	}

	/** A remark for people; silent under `--quiet`. */
	note(text: string): void {
		if (this.mode.quiet !== true) this.#stderr(`note: ${escapeControls(text)}\n`);
	}

	/** A summary for people, on standard error; silent under `--quiet`. */
	talk(text: string): void {
		if (this.mode.quiet !== true) this.#stderr(escapeLines(`${text}\n`));
	}

	/** A refusal: one line, and the command will fail. A stack only with LORAKIT_DEBUG=1. */
	fail(error: unknown, scope?: string): void {
		const refusal = toRefusal(error);
		if (refusal.code === 'E_USAGE') this.#usage = true;
		else this.#failed = true;
		this.#finding(refusal.code, refusal.message, scope);
		if (process.env['LORAKIT_DEBUG'] === '1' && error instanceof Error) this.#stderr(`${escapeLines(debugStack(error))}\n`);
	}

	/** Findings that do not fail the command (unless `--strict`): a line each, at most twenty of a code. */
	warn(findings: Iterable<Pick<Warning, 'message'> & { readonly code: string }>, scope?: string): void {
		const counts = new Map<string, number>();
		for (const { code, message } of findings) {
			this.#warned = true;
			const n = (counts.get(code) ?? 0) + 1;
			counts.set(code, n);
			if (n <= MAX_PER_CODE) this.#finding(code, message, scope);
		}
		for (const [code, n] of counts) {
			if (n > MAX_PER_CODE) this.#finding(code, `and ${n - MAX_PER_CODE} more like this; --json lists them all.`, scope);
		}
	}

	/** Findings that make the file invalid: printed like warnings, and the command fails. */
	refuse(findings: readonly { readonly code: string; readonly message: string }[], scope?: string): void {
		if (findings.length === 0) return;
		this.warn(findings, scope);
		this.#failed = true;
	}

	/** The command has failed for a reason that was said already. */
	failQuietly(): void {
		this.#failed = true;
	}

	/**
	 * Draw over the last line of the terminal; the empty text removes it. The caller has checked that it is one.
	 * @param picture lines below, written as they are: only colours and blocks that we made ourselves
	 */
	progress(text: string, picture: readonly string[] = []): void {
		if (text === '' && !this.#progressDrawn) return;
		this.#progressDrawn = text !== '';
		const up = this.#linesBelow > 0 ? `\u001b[${this.#linesBelow}A` : '';
		this.#linesBelow = picture.length;
		writeDescriptor(2, `${up}\r\u001b[J${escapeControls(text)}${picture.map((line) => `\n${line}`).join('')}`);
	}

	/** Whether a progress line may be drawn. */
	get canDrawProgress(): boolean {
		return this.mode.quiet !== true && this.mode.progress !== false && isTerminal(2);
	}

	#finding(code: string, message: string, scope: string | undefined): void {
		this.#colours ??= paints(wantsColour(2));
		const painted = code.startsWith('E_') ? this.#colours.red(code) : this.#colours.yellow(code);
		const where = scope === undefined || message.includes(scope) ? '' : `${escapeControls(scope)}: `;
		this.#stderr(`${painted}: ${where}${escapeControls(message)}\n`);
	}

	#stdout(text: string): void {
		if (this.#stdoutGone) return;
		this.progress('');
		const code = writeDescriptor(1, text);
		if (code === undefined) return;
		this.#stdoutGone = true;
		// The reader of the pipe has all it wanted: that is no failure.
		if (code !== 'EPIPE') this.fail(new FormatError('E_IO', `Standard output cannot be written: the system says ${code}.`));
	}

	#stderr(text: string): void {
		this.progress('');
		// Nowhere is left to complain.
		writeDescriptor(2, text);
	}
}

/** Anything thrown, as a refusal. What is none of ours is a bug, and says so. */
export function toRefusal(error: unknown): FormatError {
	if (error instanceof FormatError) return error;
	const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
	return new FormatError(
		'E_INTERNAL',
		`This should not happen (${what.replace(/\s+/g, ' ').slice(0, 300)}); please report it. LORAKIT_DEBUG=1 shows where.`,
		{ cause: error },
	);
}

function debugStack(error: Error): string {
	const cause = error.cause instanceof Error ? `\ncaused by ${error.cause.stack ?? ''}` : '';
	return `${error.stack ?? ''}${cause}`;
}

/** Line feeds and tabs stay; every other control character is escaped. */
function escapeLines(text: string): string {
	// Most text is plain, and a report over a million tensors is long: look before splitting.
	if (!/[^\n\t\u0020-\u007e]/.test(text)) return text;
	return text
		.split(/([\n\t])/)
		.map((part) => (part === '\n' || part === '\t' ? part : escapeControls(part)))
		.join('');
}
