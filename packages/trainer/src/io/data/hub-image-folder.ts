import { FormatError, quote } from '@lorakit/format';
import type { SplitOptions } from '../../data/parquet-shards.js';

/** Files of an image folder in a repository. */
export interface FolderChoice {
	/** The folder of pictures, '' for the whole repository. */
	readonly root: string;
	readonly files: readonly string[];
}

const PICTURE = /\.(?:png|apng|jpe?g|jfif|webp|gif|tiff?|avif|bmp)$/i;
const CAPTION = /(?:^|\/)metadata\.jsonl$|\.txt$/i;

/**
 * The pictures of a repository and what captions them: the folder that `metadata.jsonl` is in, the one of the split where there
 * are several; without any, pictures that have `.txt` files of the same name beside them.
 *
 * @returns undefined where there are none
 * @throws {FormatError} `E_AMBIGUOUS` for several folders of which none is the split's
 */
export function chooseImageFolder(
	paths: readonly string[],
	place: string,
	{ split = 'train', config }: SplitOptions,
): FolderChoice | undefined {
	const visible = paths.filter((path) => !path.split('/').some((part) => part.startsWith('.')));
	const pictures = visible.filter((path) => PICTURE.test(path));
	const roots = visible.filter((path) => /(?:^|\/)metadata\.jsonl$/.test(path)).map(folderOf);
	const root = roots.length > 0 ? chooseRoot(roots, place, split, config) : captionedRoot(pictures, visible);
	if (root === undefined) return undefined;
	const below = (path: string): boolean => root === '' || path.startsWith(`${root}/`);
	const own = pictures.filter(below);
	if (own.length === 0) return undefined;
	return { root, files: [...own, ...visible.filter((path) => CAPTION.test(path) && below(path))] };
}

function chooseRoot(roots: readonly string[], place: string, split: string, config: string | undefined): string {
	const own = config === undefined ? roots : roots.filter((root) => root.split('/').includes(config));
	const [only] = own;
	if (only !== undefined && own.length === 1) return only;
	const ofSplit = own.filter((root) => root.split('/').includes(split));
	const [chosen] = ofSplit;
	if (chosen !== undefined && ofSplit.length === 1) return chosen;
	throw new FormatError(
		'E_AMBIGUOUS',
		`${place} has metadata.jsonl in ${roots.length} folders, ${roots.slice(0, 8).map(quote).join(', ')}; name the one that is meant with split or config.`,
	);
}

/** The repository, when a picture of it has a caption file. */
function captionedRoot(pictures: readonly string[], paths: readonly string[]): string | undefined {
	const texts = new Set(paths.filter((path) => /\.txt$/i.test(path)).map((path) => path.replace(/\.txt$/i, '')));
	return pictures.some((path) => texts.has(path.replace(/\.[^./]+$/, ''))) ? '' : undefined;
}

function folderOf(path: string): string {
	return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}
