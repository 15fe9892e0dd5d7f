import type { ByteSource } from '@lorakit/format';
import { MAX_CAPTION_CHARS, MAX_CAPTIONS } from './metadata-lines.js';
import { brokenParquet } from './parquet-error.js';
import type { ParquetGroup, ParquetLeaf } from './parquet-footer.js';
import { readDataPage, readDictionary } from './parquet-page.js';
import { parquetPages } from './parquet-pages.js';

/** The captions of a row; or what is wrong with them. */
export type RowCaptions =
	| { readonly captions: readonly string[] }
	| { readonly reason: 'no-caption' | 'bad-caption'; readonly why: string };

/**
 * The captions of all rows of a row group. Empty texts, and texts of white space alone, are none.
 * @throws {FormatError} `E_PARQUET`, `E_LIMIT`, and what reading throws
 */
export async function readCaptions(source: ByteSource, leaf: ParquetLeaf, group: ParquetGroup): Promise<readonly RowCaptions[]> {
	const chunk = group.chunk(leaf);
	const rows: RowCaptions[] = [];
	// Rows of a list can go on behind the end of a page.
	let open: { readonly captions: string[]; wrong: string | undefined } | undefined;
	const close = (): void => {
		if (open === undefined) return;
		const { captions, wrong } = open;
		if (wrong !== undefined) rows.push({ reason: 'bad-caption', why: wrong });
		else if (captions.length === 0) rows.push({ reason: 'no-caption', why: 'has no caption' });
		else rows.push({ captions });
		open = undefined;
	};

	let dictionary: readonly Uint8Array[] | undefined;
	for await (const page of parquetPages(source, leaf, chunk)) {
		if (page.kind === 'dictionary') {
			dictionary = await readDictionary(source, chunk.codec, page);
			continue;
		}
		const { values, repetitions } = await readDataPage(source, leaf, chunk.codec, page, dictionary);
		for (const [i, value] of values.entries()) {
			if (repetitions === undefined || repetitions[i] === 0) {
				close();
				open = { captions: [], wrong: undefined };
			}
			if (open === undefined) throw brokenParquet(source.name, 'the first row of a row group goes on from nowhere');
			const text = textOf(value);
			if (text === undefined) open.wrong ??= `has a caption that is no UTF-8 text of at most ${MAX_CAPTION_CHARS} characters without NUL`;
			else if (open.captions.length >= MAX_CAPTIONS) open.wrong ??= `has more than ${MAX_CAPTIONS} captions`;
			else if (text.trim() !== '') open.captions.push(text);
		}
	}
	close();
	if (rows.length !== group.rows) throw brokenParquet(source.name, `a row group of ${group.rows} rows has captions for ${rows.length}`);
	return rows;
}

function textOf(value: Uint8Array | undefined): string | undefined {
	if (value === undefined) return '';
	// A character has four bytes at most.
	if (value.byteLength > 4 * MAX_CAPTION_CHARS) return undefined;
	try {
		const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value);
		return text.length > MAX_CAPTION_CHARS || text.includes('\0') ? undefined : text;
	} catch {
		return undefined;
	}
}
