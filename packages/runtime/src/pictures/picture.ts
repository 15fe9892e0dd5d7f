/** A decoded picture. */
export interface Picture {
	readonly width: number;
	readonly height: number;
	/** 1: grey, 3: RGB. */
	readonly channels: 1 | 3;
	/** (height, width, channels), 8 bits each. */
	readonly data: Uint8Array;
}
