/**
 * Text of a user as Markdown that shows it and does nothing: one line, every character that Markdown, HTML, a table or a formula
 * could take for its own behind a backslash or as an entity. Control and direction characters are left out.
 */
export function escapeMarkdown(text: string): string {
	return oneLine(text)
		.replace(/[\\`*_{}[\]|~$]/g, '\\$&')
		.replaceAll('&', '&amp;')
		.replaceAll('<', '&lt;')
		.replaceAll('>', '&gt;')
		.replace(/^(?:[#+=-]|\d+[.)])/, (start) => `${start.slice(0, -1)}\\${start.slice(-1)}`);
}

/** Text as inline code, whatever backticks are in it. A table's bar is escaped. */
export function inlineCode(text: string): string {
	const line = oneLine(text).replaceAll('|', '\\|');
	const fence = '`'.repeat(longestRun(line) + 1);
	const pad = line.startsWith('`') || line.endsWith('`') || line === '' ? ' ' : '';
	return `${fence}${pad}${line}${pad}${fence}`;
}

/** Lines of code between fences that nothing in them can close. */
export function codeBlock(language: string, code: string): string {
	const fence = '`'.repeat(Math.max(3, longestRun(code) + 1));
	return `${fence}${language}\n${code}\n${fence}`;
}

/** A path inside the repository as the address of a link or picture. */
export function linkPath(path: string): string {
	return path
		.split('/')
		.map((part) => encodeURIComponent(part).replace(/[()'*!]/g, (c) => `%${c.charCodeAt(0).toString(16)}`))
		.join('/');
}

/** A string literal of Python. */
export function pythonString(text: string): string {
	// JSON's escapes are Python's too, once surrogate pairs stand as themselves.
	return JSON.stringify(oneLine(text));
}

/** An argument of a POSIX shell. */
export function shellWord(text: string): string {
	const line = oneLine(text);
	return /^[A-Za-z0-9_./:=@%+-]+$/.test(line) ? line : `'${line.replaceAll("'", "'\\''")}'`;
}

/** White space as single spaces; control, bidi and zero-width characters and half surrogates away. */
export function oneLine(text: string): string {
	return (
		text
			.replace(/\s+/g, ' ')
			// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
			.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/gu, '')
			.trim()
	);
}

function longestRun(text: string): number {
	return Math.max(0, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
}
