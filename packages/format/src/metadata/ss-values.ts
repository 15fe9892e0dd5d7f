/**
 * Reading Python's `str()` of a value: every `ss_*` entry is one (kohya-ss/sd-scripts@48d368f train_network.py).
 * Nothing here throws; "None", "" and unreadable text give undefined.
 */

const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/;

/** A finite number, or undefined. */
export function ssNumber(text: string | undefined): number | undefined {
	if (text === undefined) return undefined;
	const trimmed = text.trim();
	if (!NUMBER.test(trimmed)) return undefined;
	const value = Number(trimmed);
	return Number.isFinite(value) ? value : undefined;
}

/** A safe integer, or undefined. `"4.0"` is 4: some tools write floats. */
export function ssInteger(text: string | undefined): number | undefined {
	const value = ssNumber(text);
	return value !== undefined && Number.isSafeInteger(value) ? value : undefined;
}

/** `True` and `False`, in any case. */
export function ssBoolean(text: string | undefined): boolean | undefined {
	const lower = text?.trim().toLowerCase();
	return lower === 'true' ? true : lower === 'false' ? false : undefined;
}

/** Text that says something: not "None", not empty. */
export function ssText(text: string | undefined): string | undefined {
	const trimmed = text?.trim();
	return trimmed === undefined || trimmed === '' || trimmed === 'None' ? undefined : trimmed;
}

/** JSON in a string. `broken` when there is text that is no JSON (NaN and Python literals included). */
export function ssJson(text: string | undefined): { readonly value: unknown; readonly broken: boolean } {
	const said = ssText(text);
	if (said === undefined) return { value: undefined, broken: false };
	try {
		return { value: JSON.parse(said), broken: false };
	} catch {
		return { value: undefined, broken: true };
	}
}

/** An object with values of any kind as a Map; undefined for everything else. Names come from the file: never a property look-up. */
export function asRecord(value: unknown): ReadonlyMap<string, unknown> | undefined {
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
	return new Map(Object.entries(value));
}

/** `(512, 768)`, `512,768`, `512x768`, `512`: width and height in pixels. */
export function ssResolution(text: string | undefined): { readonly width: number; readonly height: number } | undefined {
	const said = ssText(text);
	if (said === undefined || said.length > 40) return undefined;
	const numbers = said
		.replace(/[()[\]\s]/g, '')
		.split(/[,x]/i)
		.map((part) => ssInteger(part));
	const [width, height] = numbers;
	if (width === undefined || width <= 0 || numbers.length > 2) return undefined;
	if (numbers.length === 1) return { width, height: width };
	return height === undefined || height <= 0 ? undefined : { width, height };
}
