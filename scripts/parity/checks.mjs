import { createHash } from 'node:crypto';

/** Counts checks and prints those that fail. A check is one sentence that is true or not. */
export class Checks {
	passed = 0;
	failed = 0;
	/** Failures printed per case before the rest is only counted. */
	#shown = new Map();

	/**
	 * @param {string} where part and case
	 * @param {string} what the sentence
	 * @param {string | undefined} wrong undefined: it holds; else what was found instead
	 */
	check(where, what, wrong) {
		if (wrong === undefined) {
			this.passed++;
			return;
		}
		this.failed++;
		const shown = this.#shown.get(where) ?? 0;
		this.#shown.set(where, shown + 1);
		if (shown < 12) console.log(`FAIL ${where}: ${what}: ${wrong}`);
		else if (shown === 12) console.log(`FAIL ${where}: ... more of this case are only counted`);
	}

	/** Run one check that may throw; a throw is a failure. @param {string} where @param {string} what @param {() => Promise<string | undefined> | string | undefined} run */
	async run(where, what, run) {
		try {
			this.check(where, what, await run());
		} catch (error) {
			this.check(where, what, describe(error));
		}
	}
}

/** Collects what is wrong over many items of one check: the first few, and how many. */
export class Wrongs {
	#all = [];

	/** @param {string} text */
	add(text) {
		this.#all.push(text);
	}

	/** @returns {string | undefined} */
	get text() {
		if (this.#all.length === 0) return undefined;
		const rest = this.#all.length > 2 ? ` (and ${this.#all.length - 2} more)` : '';
		return this.#all.slice(0, 2).join('; ') + rest;
	}
}

/** @param {unknown} error */
export function describe(error) {
	if (!(error instanceof Error)) return String(error);
	const code = 'code' in error ? `${error.code} ` : '';
	return error.name === 'FormatError' ? `${code}${error.message}` : (error.stack ?? error.message).split('\n').slice(0, 4).join(' | ');
}

/** @param {Uint8Array} bytes */
export function sha256(bytes) {
	return createHash('sha256').update(bytes).digest('hex');
}

/** @param {unknown} a @param {unknown} b */
export function same(a, b) {
	return JSON.stringify(a) === JSON.stringify(b);
}
