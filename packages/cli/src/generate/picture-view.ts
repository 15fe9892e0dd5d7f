/** What of a run a file shows. */
export interface PictureView {
	/**
	 * `picture`: one picture. `edits`: the source and its edits side by side. `attention`: where the model looks at for
	 * words, of every picture of the run.
	 */
	readonly shows: 'picture' | 'edits' | 'attention';
	/** Which, for `picture`: 0 the source, n the nth edit. */
	readonly picture: number;
}

export const VIEWS: readonly ['picture', 'edits', 'attention'] = ['picture', 'edits', 'attention'];

/** The picture of a run without edits. */
export const ONE_PICTURE: PictureView = { shows: 'picture', picture: 0 };
