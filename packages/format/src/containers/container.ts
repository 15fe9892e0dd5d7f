/** How much a reader fetches. */
export interface ReadOptions {
	/**
	 * Whether the values of small tensors (alpha, scale, ...) are read with the header.
	 * Default: yes, unless the source is remote.
	 */
	readonly values?: boolean | undefined;
}

/** Where a writer puts bytes, in order. A promise that it returns is awaited before the next call. */
export interface ByteSink {
	/** The sink must not keep `bytes` after the call (or its promise) is done. */
	write(bytes: Uint8Array): Promise<void> | void;
}
