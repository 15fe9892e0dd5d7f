/** Sides in pixels, upright (after EXIF orientation). */
export interface PictureSize {
	readonly width: number;
	readonly height: number;
}

/** An encoded picture (PNG, JPEG, WebP, ...) whose header was read and whose bytes were hashed when the data set was opened. */
export interface DatasetPicture extends PictureSize {
	/** Of the encoded bytes, lower-case hex: what a cache of latents keys on. */
	readonly sha256: string;
	/**
	 * The encoded bytes, read anew at each call: a set is larger than memory.
	 * @throws {FormatError} `E_INPUT_CHANGED` when they are no longer those that were hashed, `E_IO` when they cannot be read
	 */
	read(): Promise<Uint8Array>;
}

/** One picture to learn from. */
export interface DatasetItem extends DatasetPicture {
	/**
	 * Unique in its set and the same on every machine: the path below the set's folder with `/` between its parts, or for a
	 * table `FILE#ROW`. What messages, logs and caches call it.
	 */
	readonly name: string;
	/** At least one; a run that finds several draws one. A DreamBooth item has its instance or class prompt. */
	readonly captions: readonly string[];
	/** What of the picture counts: a second picture, white where it counts fully. */
	readonly mask?: DatasetPicture | undefined;
}

/** Why a picture is not in the set. */
export type SkipReason =
	| 'empty'
	| 'corrupt'
	| 'unreadable'
	| 'not-a-picture'
	| 'huge'
	| 'animated'
	| 'duplicate'
	| 'no-caption'
	| 'no-picture'
	| 'bad-caption'
	| 'bad-mask'
	| 'bad-line'
	| 'unsafe-path'
	| 'too-small';

/** Something that was found and is not in the set. */
export interface SkippedPicture {
	/** As `DatasetItem.name` would be; for a line of metadata.jsonl `metadata.jsonl:LINE`. */
	readonly name: string;
	readonly reason: SkipReason;
	/** One sentence: what, where, what to do. */
	readonly message: string;
}

/** What to do about pictures that cannot be used: name them and go on, or refuse the set. */
export type OnBad = 'skip' | 'refuse';

/**
 * Pictures with captions, opened: every header read, every byte hashed; what was decoded, to see
 * whether it can be, is not kept. A folder's items are sorted by
 * name, so that the order is the same on every machine; a table's stand in the order of its rows.
 */
export interface Dataset {
	/** How it was named: a folder, a Parquet file, a Hub data set. */
	readonly name: string;
	readonly items: readonly DatasetItem[];
	/** `datasetDigest(items)`. */
	readonly digest: string;
	readonly skipped: readonly SkippedPicture[];
	/** What else is to be known of pictures that are in the set: one sentence each. */
	readonly notes?: readonly string[] | undefined;
	/** Release what reading holds open. */
	close(): Promise<void>;
}
