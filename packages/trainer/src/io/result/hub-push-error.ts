import { escapeControls, FormatError } from '@lorakit/format';

/** What was being done when the Hub said no. */
export interface PushContext {
	readonly repo: string;
	readonly endpoint: string;
	/** "creating the repository", "uploading", "committing" */
	readonly doing: string;
	/** Never told. */
	readonly token: string;
}

/**
 * Anything that the Hub's client throws, as a refusal: what was being done, what the Hub answered, what to do. The token is in none of
 * it, and the error of the client, whose texts come from a server, is not kept as its cause.
 */
export function hubPushError(error: unknown, context: PushContext): FormatError {
	if (error instanceof FormatError) return error;
	const { repo, endpoint, doing } = context;
	const what = `${repo}: ${doing} on ${endpoint} failed`;
	if (isAbort(error)) {
		return new FormatError(
			'E_INTERRUPTED',
			`${repo}: the upload was interrupted; nothing was committed, and what has arrived is not sent again.`,
		);
	}
	const status = statusOf(error);
	const said = redact(messageOf(error), context.token);
	if (status === undefined) {
		return new FormatError('E_HTTP', `${what}: ${said}; check the network and HF_ENDPOINT, and try again.`);
	}
	const why =
		WHY.get(status) ?? (status >= 500 ? `the Hub has a trouble of its own (${status}); try again later` : `the Hub answered ${status}`);
	return new FormatError('E_HUB', `${what}: ${why}. The Hub says: ${said === '' ? 'nothing' : said}.`);
}

const WHY: ReadonlyMap<number, string> = new Map([
	[401, 'the Hub does not take the token (401); make one with the right to write, and set HF_TOKEN'],
	[403, 'the token may not write there (403); it needs the right to write to this owner\u2019s repositories'],
	[404, 'the Hub has no such owner or repository, or the token may not see it (404)'],
	[409, 'something with this name is there already, or was changed meanwhile (409)'],
	[412, 'the repository was changed by somebody else meanwhile (412); look at it, then push again'],
	[413, 'a file is too large for it (413)'],
	[429, 'too many requests (429); wait, and push again'],
]);

/** `HubApiError.statusCode` of `@huggingface/hub`, by its form: there may be two copies of the package. */
export function statusOf(error: unknown): number | undefined {
	const has = typeof error === 'object' && error !== null && 'statusCode' in error && typeof error.statusCode === 'number';
	return has ? (error.statusCode as number) : undefined;
}

function messageOf(error: unknown): string {
	// undici says "fetch failed" and keeps the reason in `cause`.
	const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
	const code = typeof inner === 'object' && inner !== null && 'code' in inner && typeof inner.code === 'string' ? ` (${inner.code})` : '';
	return `${inner instanceof Error ? inner.message : String(inner)}${code}`;
}

/** One short line without the token and without addresses' queries, where storages put signatures. */
function redact(text: string, token: string): string {
	const line = text
		.replaceAll(token, '***')
		.replace(/\bhf_[A-Za-z0-9]+/g, '***')
		.replace(/(https?:\/\/[^\s?]+)\?\S*/g, '$1')
		.replace(/\s+/g, ' ')
		.trim();
	return escapeControls(line.slice(0, 300)).replace(/\.+$/, '');
}

function isAbort(error: unknown): boolean {
	return error instanceof Error && error.name === 'AbortError';
}
