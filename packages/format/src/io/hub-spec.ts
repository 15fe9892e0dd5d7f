import { escapeControls, FormatError } from '../errors.js';

/** `hf://owner/repo[@revision][/path/in/repo]`, taken apart. */
export interface HubSpec {
	/** `owner/name`. */
	readonly repo: string;
	/** Branch, tag, commit or `refs/pr/N`; `main` when not given. */
	readonly revision: string;
	/** Path in the repository; '' when only the repository was named. */
	readonly path: string;
}

/** Names that the Hub gives: no leading dot, no separators; so they are safe in cache paths too. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,95}$/;
/** Revisions with slashes are ambiguous in an address; these the Hub makes itself (huggingface_hub hf_file_system.py reads them so). */
const SPECIAL_REVISION = /^(refs\/(?:pr\/\d+|convert\/[A-Za-z0-9._-]+))(?:\/|$)/;

/**
 * Take an `hf://` address apart. A slash in a revision is written `%2F`, except in `refs/pr/N` and `refs/convert/X`.
 * @throws {FormatError} `E_HUB` with the form that was expected.
 */
export function parseHubSpec(spec: string): HubSpec {
	const rest = spec.slice('hf://'.length).replace(/\/+$/, '');
	const [owner = '', ...after] = rest.split('/');
	const [named = '', ...tail] = after.join('/').split('@');
	const hasRevision = tail.length > 0;
	// Only an @ before the first slash after the owner begins a revision: file names may hold one.
	const slash = named.indexOf('/');
	if (!hasRevision || slash >= 0) {
		const whole = after.join('/');
		const cut = whole.indexOf('/');
		return checked(spec, owner, cut < 0 ? whole : whole.slice(0, cut), 'main', cut < 0 ? '' : whole.slice(cut + 1));
	}
	const afterAt = tail.join('@');
	const special = SPECIAL_REVISION.exec(afterAt)?.[1];
	if (special !== undefined) return checked(spec, owner, named, special, afterAt.slice(special.length + 1));
	const cut = afterAt.indexOf('/');
	const revision = decode(cut < 0 ? afterAt : afterAt.slice(0, cut), spec);
	return checked(spec, owner, named, revision, cut < 0 ? '' : afterAt.slice(cut + 1));
}

/** The address as people write it; the inverse of `parseHubSpec`. */
export function formatHubSpec({ repo, revision, path }: HubSpec): string {
	const at = revision === 'main' ? '' : `@${SPECIAL_REVISION.test(revision) ? revision : encodeURIComponent(revision)}`;
	return `hf://${repo}${at}${path === '' ? '' : `/${path}`}`;
}

/**
 * A page of the Hub's site that shows or serves a file (`.../owner/repo/blob/main/x`, `/resolve/`, `/tree/`, or the
 * repository itself), as the spec it means; undefined for any other URL.
 */
export function hubSpecOfUrl(url: URL, endpoint: string): HubSpec | undefined {
	const base = new URL(endpoint);
	const here = url.host === base.host || (base.host === 'huggingface.co' && url.host === 'hf.co');
	if (!here || !url.pathname.startsWith(base.pathname)) return undefined;
	const parts = url.pathname
		.slice(base.pathname.length)
		.split('/')
		.filter((part) => part !== '');
	const [owner = '', name = '', verb, revision = '', ...path] = parts;
	if (!NAME.test(owner) || !NAME.test(name) || owner === 'datasets' || owner === 'spaces' || owner === 'api') return undefined;
	try {
		if (verb === undefined) return { repo: `${owner}/${name}`, revision: 'main', path: '' };
		if (verb !== 'blob' && verb !== 'resolve' && verb !== 'tree') return undefined;
		return checked(url.href, owner, name, decodeURIComponent(revision), path.map(decodeURIComponent).join('/'));
	} catch {
		return undefined;
	}
}

function checked(spec: string, owner: string, name: string, revision: string, path: string): HubSpec {
	const fine =
		NAME.test(owner) &&
		NAME.test(name) &&
		/^[^\p{Cc}\\]{1,255}$/u.test(revision) &&
		revision.split('/').every(isSegment) &&
		(path === '' || (/^[^\p{Cc}\\]{1,1024}$/u.test(path) && path.split('/').every(isSegment)));
	if (!fine) {
		throw new FormatError(
			'E_HUB',
			`"${escapeControls(spec.slice(0, 200))}" is no Hub address; it has the form hf://owner/repo[@revision][/file].`,
		);
	}
	return { repo: `${owner}/${name}`, revision, path };
}

function isSegment(part: string): boolean {
	return part !== '' && part !== '.' && part !== '..';
}

function decode(text: string, spec: string): string {
	try {
		return decodeURIComponent(text);
	} catch {
		throw new FormatError('E_HUB', `"${escapeControls(spec.slice(0, 200))}" holds a broken % code in its revision.`);
	}
}
