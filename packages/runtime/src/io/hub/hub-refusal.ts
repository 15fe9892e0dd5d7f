import { FormatError } from '@lorakit/format';
import type { HubSession } from './hub-session.js';

/** `E_HUB` for an answer that means no; the status, for callers that know a way out. */
export class HubRefusal extends FormatError {
	readonly status: number;

	constructor(status: number, message: string) {
		super('E_HUB', message);
		this.status = status;
	}
}

/**
 * The refusal as a sentence. The Hub says why in `X-Error-Code`; without a token it answers 401 also for repositories that
 * do not exist. Source: huggingface_hub utils/_http.py `hf_raise_for_status`.
 */
export function hubRefusal(response: Response, what: string, session: HubSession): HubRefusal {
	const { status } = response;
	return new HubRefusal(status, `${what}: ${reason(status, response.headers, session)}.`);
}

function reason(status: number, headers: Headers, session: HubSession): string {
	const code = headers.get('x-error-code') ?? '';
	const token =
		session.settings.token === undefined ? 'set HF_TOKEN to a token of yours' : 'check that the account of your token may read it';
	if (code === 'GatedRepo') return `the repository is gated; accept its terms on its page at ${session.settings.endpoint}, then ${token}`;
	if (code === 'RevisionNotFound') return 'the repository has no such branch, tag or commit';
	if (code === 'EntryNotFound') return 'the repository has no such file';
	if (status === 401 && headers.get('x-error-message') === BAD_TOKEN) {
		return 'the Hub does not take your token (401); make a new one and set HF_TOKEN, or unset it';
	}
	if (status === 401 || code === 'RepoNotFound') {
		return `the Hub has no such repository, or it is private (${status}); check its spelling; for a private one, ${token}`;
	}
	if (status === 403) return `the Hub does not allow access (403); ${token}`;
	if (status === 404) return 'the Hub has no such repository, revision or file (404); check its spelling';
	if (status === 451) return 'the Hub may not give it out, for legal reasons (451)';
	return `the Hub answered ${status}`;
}

/** What the Hub says about a token that it does not know. */
const BAD_TOKEN = 'Invalid credentials in Authorization header';
