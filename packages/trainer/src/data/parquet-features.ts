import { FormatError, quote } from '@lorakit/format';
import { unreadParquet } from './parquet-error.js';
import type { ParquetFooter, ParquetLeaf } from './parquet-footer.js';
import { MAX_FEATURES_CHARS } from './parquet-limits.js';

/** Which columns of a table are read. */
export interface ParquetColumns {
	/** Bytes of encoded pictures. */
	readonly picture: ParquetLeaf;
	/** UTF-8; a list of them where `maxRepetition` is 1. Undefined where captions are not asked for. */
	readonly caption: ParquetLeaf | undefined;
}

/** How columns are chosen. */
export interface ColumnOptions {
	/** Default: the only feature of type Image, `image` where there are several or none is named. */
	readonly imageColumn?: string | undefined;
	/** Default: `text`, `caption`, else the only column of texts. */
	readonly captionColumn?: string | undefined;
}

/**
 * The columns of pictures and captions of a table in the form that `datasets` writes: a picture is a struct of `bytes` and
 * `path`, or bytes alone, a caption a text or a list of texts. Defaults go by the features that the file's metadata name.
 * Source: huggingface/datasets features/image.py `Image`, diffusers examples/text_to_image/train_text_to_image_lora.py
 * `DATASET_NAME_MAPPING`.
 *
 * @param withCaptions false: no column of captions is looked for
 * @throws {FormatError} `E_USAGE` where a column has to be named or the named one is not there; `E_PARQUET` for one of another kind
 */
export function chooseColumns(file: string, footer: ParquetFooter, options: ColumnOptions, withCaptions: boolean): ParquetColumns {
	const names = [...new Set(footer.leaves.map(({ path }) => path[0] ?? ''))];
	const list = names.length === 0 ? 'none' : names.slice(0, 20).map(quote).join(', ');
	const known = (column: string, option: string): string => {
		if (names.includes(column)) return column;
		throw new FormatError('E_USAGE', `${file} has no column ${quote(column)}; its columns are ${list}: name one with ${option}.`);
	};

	const image = options.imageColumn ?? defaultImage(file, footer, names, list);
	const picture = pictureLeaf(file, footer, known(image, 'imageColumn'));
	if (!withCaptions) return { picture, caption: undefined };
	const caption = options.captionColumn ?? defaultCaption(file, footer, names, image, list);
	return { picture, caption: captionLeaf(file, footer, known(caption, 'captionColumn')) };
}

function defaultImage(file: string, footer: ParquetFooter, names: readonly string[], list: string): string {
	const images = imageFeatures(footer.huggingface).filter((name) => names.includes(name));
	const [only] = images;
	if (only !== undefined && images.length === 1) return only;
	if (names.includes('image')) return 'image';
	const why = images.length > 1 ? `has ${images.length} columns of pictures` : 'names no column of pictures';
	throw new FormatError('E_USAGE', `${file} ${why}; its columns are ${list}: name one with imageColumn.`);
}

function defaultCaption(file: string, footer: ParquetFooter, names: readonly string[], image: string, list: string): string {
	for (const usual of ['text', 'caption']) if (names.includes(usual) && usual !== image) return usual;
	const images = new Set([image, ...imageFeatures(footer.huggingface)]);
	const texts = new Set(
		footer.leaves.filter(({ type, path }) => type === 'BYTE_ARRAY' && !images.has(path[0] ?? '')).map(({ path }) => path[0] ?? ''),
	);
	const [only] = texts;
	if (only !== undefined && texts.size === 1) return only;
	throw new FormatError('E_USAGE', `${file}: which column has the captions? Its columns are ${list}: name one with captionColumn.`);
}

function pictureLeaf(file: string, footer: ParquetFooter, column: string): ParquetLeaf {
	const own = footer.leaves.filter(({ path }) => path[0] === column);
	const leaf = own.find(({ path }) => path.length === 1 || (path.length === 2 && path[1] === 'bytes'));
	if (leaf?.type === 'BYTE_ARRAY' && leaf.maxRepetition === 0) return leaf;
	throw unreadParquet(
		file,
		`column ${quote(column)} holds no encoded pictures (bytes, or a struct with bytes and path)`,
		'cast it with datasets.Image() and write it again, or name another with imageColumn',
	);
}

function captionLeaf(file: string, footer: ParquetFooter, column: string): ParquetLeaf {
	const own = footer.leaves.filter(({ path }) => path[0] === column);
	const [leaf] = own;
	if (own.length === 1 && leaf?.type === 'BYTE_ARRAY' && leaf.maxRepetition <= 1) return leaf;
	throw unreadParquet(file, `column ${quote(column)} holds neither texts nor lists of texts`, 'name another with captionColumn');
}

/** Names of the features of type Image in `{"info": {"features": {NAME: {"_type": "Image"}}}}`; none when it cannot be read. */
function imageFeatures(text: string | undefined): readonly string[] {
	if (typeof text !== 'string' || text.length > MAX_FEATURES_CHARS) return [];
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch {
		return [];
	}
	const features = member(member(value, 'info'), 'features');
	if (typeof features !== 'object' || features === null) return [];
	return Object.entries(features)
		.filter(([, feature]) => member(feature, '_type') === 'Image')
		.map(([name]) => name);
}

function member(value: unknown, key: string): unknown {
	return typeof value === 'object' && value !== null ? Object.entries(value).find(([name]) => name === key)?.[1] : undefined;
}
