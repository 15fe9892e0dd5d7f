import { quote } from '@lorakit/format';

/** Longest caption. The text encoder reads 77 tokens; a caption of thousands of characters is some other file. */
export const MAX_CAPTION_CHARS: number = 20_000;
/** Longest line of a metadata.jsonl. */
export const MAX_LINE_BYTES: number = 1024 * 1024;
/** Captions of one picture. */
export const MAX_CAPTIONS: number = 1000;

/** A line of metadata.jsonl that names a picture. */
export interface MetadataEntry {
	/** Counted from 1. */
	readonly line: number;
	readonly fileName: string;
	/** None where the line has no caption. */
	readonly captions: readonly string[];
}

/** A line that is none. */
export interface BadLine {
	readonly line: number;
	readonly reason: 'bad-line' | 'bad-caption';
	/** One sentence without the file's name. */
	readonly message: string;
}

/**
 * The lines of a `metadata.jsonl` in the form of Hugging Face's image folders: one JSON object each with `file_name` and a
 * caption, a string or a list of them. Lines are read one by one, so that a bad one costs only itself.
 * @param column the caption's key, `text` by the field's custom
 */
export function metadataLines(bytes: Uint8Array, column: string): readonly (MetadataEntry | BadLine)[] {
	const out: (MetadataEntry | BadLine)[] = [];
	let line = 0;
	for (let at = 0; at < bytes.length; ) {
		const found = bytes.indexOf(0x0a, at);
		const end = found < 0 ? bytes.length : found;
		line++;
		const read = readLine(bytes.subarray(at, end), line, column);
		if (read !== undefined) out.push(read);
		at = end + 1;
	}
	return out;
}

function readLine(bytes: Uint8Array, line: number, column: string): MetadataEntry | BadLine | undefined {
	const bad = (message: string, reason: BadLine['reason'] = 'bad-line'): BadLine => ({ line, reason, message });
	if (bytes.length > MAX_LINE_BYTES) return bad(`has ${bytes.length} bytes; the limit for a line is ${MAX_LINE_BYTES}.`);
	const text = utf8(bytes);
	if (text === undefined) return bad('is not UTF-8; save the file as UTF-8.', 'bad-caption');
	if (text.trim() === '') return undefined;
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch {
		return bad(`is no JSON: ${quote(text)}.`);
	}
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return bad('is no JSON object with file_name.');
	const record = value as Readonly<Record<string, unknown>>;
	const fileName = Object.hasOwn(record, 'file_name') ? record['file_name'] : undefined;
	if (typeof fileName !== 'string' || fileName === '') return bad('has no file_name that is a text.');
	const given = Object.hasOwn(record, column) ? record[column] : undefined;
	const texts = given === undefined || given === null ? [] : Array.isArray(given) ? given : [given];
	if (texts.length > MAX_CAPTIONS) return bad(`has ${texts.length} captions; the limit is ${MAX_CAPTIONS}.`, 'bad-caption');
	const captions: string[] = [];
	for (const caption of texts as readonly unknown[]) {
		if (typeof caption !== 'string') return bad(`has a ${quote(column)} that is no text.`, 'bad-caption');
		const wrong = wrongCaption(caption);
		if (wrong !== undefined) return bad(`has a caption that ${wrong}`, 'bad-caption');
		if (caption.trim() !== '') captions.push(caption);
	}
	return { line, fileName, captions };
}

/** A caption file beside a picture: every line that is not blank is a caption, as kohya's wildcard captions. */
export function captionLines(bytes: Uint8Array): { readonly captions: readonly string[] } | { readonly wrong: string } {
	const text = utf8(bytes);
	if (text === undefined) return { wrong: 'is not UTF-8; save it as UTF-8.' };
	const captions = text
		.split(/\r\n|\r|\n/)
		.map((caption) => caption.trim())
		.filter((caption) => caption !== '');
	if (captions.length > MAX_CAPTIONS) return { wrong: `has ${captions.length} captions; the limit is ${MAX_CAPTIONS}.` };
	for (const caption of captions) {
		const wrong = wrongCaption(caption);
		if (wrong !== undefined) return { wrong: `has a caption that ${wrong}` };
	}
	return { captions };
}

function wrongCaption(caption: string): string | undefined {
	if (caption.length > MAX_CAPTION_CHARS) return `has ${caption.length} characters; the limit is ${MAX_CAPTION_CHARS}.`;
	if (caption.includes('\0')) return 'holds a NUL character; that is no text.';
	return /\p{Surrogate}/u.test(caption) ? 'holds half of a surrogate pair; that is no text.' : undefined;
}

/** undefined for what is not UTF-8. A mark at the start is dropped. */
function utf8(bytes: Uint8Array): string | undefined {
	try {
		return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
	} catch {
		return undefined;
	}
}
