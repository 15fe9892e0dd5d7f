/**
 * Shell patterns for one name: `*` any characters, `?` one, `[abc]`, `[a-z]`, `[!abc]`; a backslash makes the next
 * character plain. Time is at most name times pattern: no regular expression is built.
 */
export function matchName(pattern: string, name: string): boolean {
	const tokens = tokenize(pattern);
	const chars = [...name];
	// A leading dot must be spelled out, as in every shell.
	if (chars[0] === '.' && tokens[0]?.text !== '.') return false;
	let t = 0;
	let c = 0;
	let starT = -1;
	let starC = 0;
	while (c < chars.length) {
		const token = tokens[t];
		if (token?.star === true) {
			starT = t++;
			starC = c;
		} else if (token?.accepts(chars[c] ?? '') === true) {
			t++;
			c++;
		} else if (starT >= 0) {
			// Let the last star take one more character.
			t = starT + 1;
			c = ++starC;
		} else {
			return false;
		}
	}
	while (tokens[t]?.star === true) t++;
	return t === tokens.length;
}

/** True when a path has pattern characters (escaped ones do not count). */
export function isGlob(path: string): boolean {
	return /(?:^|[^\\])(?:\\\\)*[*?[]/.test(path);
}

/** The plain text of a pattern segment without pattern characters: backslashes taken off. */
export function unescapeGlob(segment: string): string {
	return segment.replace(/\\(.)/g, '$1');
}

interface Token {
	readonly star: boolean;
	/** The one character it stands for, when it is plain. */
	readonly text: string | undefined;
	readonly accepts: (char: string) => boolean;
}

function tokenize(pattern: string): Token[] {
	const tokens: Token[] = [];
	const chars = [...pattern];
	for (let i = 0; i < chars.length; i++) {
		const char = chars[i] ?? '';
		const set = char === '[' ? readSet(chars, i) : undefined;
		if (set !== undefined) {
			tokens.push(set.token);
			i = set.end;
		} else if (char === '*') {
			if (tokens.at(-1)?.star !== true) tokens.push({ star: true, text: undefined, accepts: () => true });
		} else if (char === '?') {
			tokens.push({ star: false, text: undefined, accepts: () => true });
		} else {
			const plain = char === '\\' && i + 1 < chars.length ? (chars[++i] ?? '') : char;
			tokens.push({ star: false, text: plain, accepts: (c) => c === plain });
		}
	}
	return tokens;
}

/** `[...]` from `start`; undefined when it is never closed: then `[` is a plain character. */
function readSet(chars: readonly string[], start: number): { token: Token; end: number } | undefined {
	let i = start + 1;
	const not = chars[i] === '!' || chars[i] === '^';
	if (not) i++;
	const ranges: [string, string][] = [];
	// A ] that comes first is a member.
	for (let first = true; chars[i] !== ']' || first; first = false) {
		const from = chars[i];
		if (from === undefined) return undefined;
		const to = chars[i + 2];
		if (chars[i + 1] === '-' && to !== undefined && to !== ']') {
			ranges.push([from, to]);
			i += 3;
		} else {
			ranges.push([from, from]);
			i++;
		}
	}
	const accepts = (char: string) => ranges.some(([from, to]) => char >= from && char <= to) !== not;
	return { token: { star: false, text: undefined, accepts }, end: i };
}
