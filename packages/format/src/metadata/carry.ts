/**
 * How header entries travel through a layout whose readers would obey them, and how what one layout cannot say
 * comes back. Both use our own names, which no reader in the field knows.
 */

/** Prefix of an entry that belongs to another layout than the one the file is in. */
export const CARRIED_PREFIX: string = 'lorakit.carried.';
/** Entry with `Adapter.form` as sorted JSON. */
export const FORM_KEY: string = 'lorakit.form';

/** Header as read -> entries under their own names, and the form. Broken form JSON is kept as an ordinary entry. */
export function unpackMetadata(metadata: ReadonlyMap<string, string>): {
	readonly metadata: ReadonlyMap<string, string>;
	readonly form: ReadonlyMap<string, string>;
} {
	const out = new Map<string, string>();
	let form: ReadonlyMap<string, string> = new Map();
	for (const [key, value] of metadata) {
		if (key === FORM_KEY) {
			const parsed = parseForm(value);
			if (parsed === undefined) out.set(key, value);
			else form = parsed;
		} else if (key.startsWith(CARRIED_PREFIX)) {
			const name = key.slice(CARRIED_PREFIX.length);
			// An entry of ours inside one would be obeyed at the next reading: it stays wrapped, as text.
			if (name === FORM_KEY || name.startsWith(CARRIED_PREFIX)) {
				out.set(key, value);
				continue;
			}
			// A live entry of the same name is the truth of this file: keep both.
			if (metadata.has(name)) out.set(key, value);
			else out.set(name, value);
		} else out.set(key, value);
	}
	return { metadata: out, form };
}

/**
 * Entries of an adapter -> header entries of a layout: those for which `reserved` says that the layout's readers
 * would obey them are put under `lorakit.carried.`; the form goes in as `lorakit.form` when it is not empty.
 */
export function packMetadata(
	metadata: ReadonlyMap<string, string>,
	form: ReadonlyMap<string, string>,
	reserved: (key: string) => boolean,
): Map<string, string> {
	const out = new Map<string, string>();
	for (const [key, value] of metadata) {
		const wrap = reserved(key) || (key === FORM_KEY && form.size > 0);
		let name = wrap ? `${CARRIED_PREFIX}${key}` : key;
		// A file may hold the wrapped name too: neither is lost.
		while (wrap && (metadata.has(name) || out.has(name))) name = `${CARRIED_PREFIX}${name}`;
		out.set(name, value);
	}
	if (form.size > 0) out.set(FORM_KEY, JSON.stringify(Object.fromEntries([...form].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))));
	return out;
}

function parseForm(text: string): ReadonlyMap<string, string> | undefined {
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch {
		return undefined;
	}
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
	const form = new Map<string, string>();
	for (const [key, entry] of Object.entries(value)) {
		if (typeof entry !== 'string') return undefined;
		form.set(key, entry);
	}
	return form;
}
